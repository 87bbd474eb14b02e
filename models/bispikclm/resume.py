"""The state of a training on disk: all that a run that was killed needs in order to go on as if it had not been."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from bispik.models.bispikclm.data import TokenText
from bispik.models.bispikclm.run_config import TrainingRun
from bispik.models.errors import BispikError, first_line
from bispik.models.files import written_whole

FORMAT = "bispik-training-state"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a stage has come."""

    step: int = 0
    """Optimiser steps taken."""
    seconds: float = 0.0
    """Time that they took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """The file that holds one stage's state; an interrupted write leaves the one before."""

    path: Path
    stage: str
    digest: str
    """Of the settings that the steps depend on: a state is only resumed by the run that made it."""

    @classmethod
    def of(cls, run: TrainingRun, stage: Literal["teacher", "student"], text: TokenText) -> TrainingState:
        """Return the place of a run's stage: beside its checkpoint."""
        how = run.teacher.training if stage == "teacher" else (run.student, run.start, run.losses)
        settings = (how, run.seed, run.model, run.precision, len(text.ids), text.num_bytes)
        digest = hashlib.sha256(repr(settings).encode()).hexdigest()
        return cls(path=run.checkpoint.with_suffix(f".{stage}.state"), stage=stage, digest=digest)

    def save(self, module: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Write the state.

        Raises:
            BispikError: if it cannot be written; what was there before is then untouched.
        """
        stored = {
            "format": FORMAT,
            "version": VERSION,
            "digest": self.digest,
            "step": progress.step,
            "seconds": progress.seconds,
            "module": module.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        try:
            with written_whole(self.path) as temporary:
                torch.save(stored, temporary)
        except RuntimeError as error:  # how torch reports a full disk
            raise BispikError(f"{self.path}: the training's state cannot be written: {first_line(error)}") from error

    def load(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
        """Restore module and optimiser if there is a state; returns how far it had come.

        Raises:
            BispikError: if the file is damaged, or of a run with other settings.
        """
        if not self.path.is_file():
            return Progress()
        try:
            stored: Any = torch.load(self.path, map_location="cpu", weights_only=True)
            known = stored["format"] == FORMAT and stored["version"] == VERSION
        except Exception as error:  # a damaged file makes torch.load raise nearly anything
            raise BispikError(f"{self.path}: not a training's state: {first_line(error)}; {self._remove}") from error
        if not known or stored["digest"] != self.digest:
            raise BispikError(f"{self.path}: the state of a run with other settings or texts; {self._remove}")
        module.load_state_dict(stored["module"])
        optimizer.load_state_dict(stored["optimizer"])
        return Progress(step=stored["step"], seconds=stored["seconds"])

    def remove(self) -> None:
        """Remove the file: the stage is complete."""
        self.path.unlink(missing_ok=True)

    @property
    def _remove(self) -> str:
        return "remove it to begin afresh (or give --fresh), or restore the run that it belongs to"
