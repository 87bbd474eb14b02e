"""Where a student's training starts."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from bispik.models.bispikclm.checkpoint import load_checkpoint
from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.data import TokenText, random_batch
from bispik.models.bispikclm.initial_rates import set_initial_rates
from bispik.models.bispikclm.model import BiSpikCLM
from bispik.models.bispikclm.run_config import TrainingRun
from bispik.models.bispikclm.teacher import teacher_embeddings
from bispik.models.errors import BispikError

START_TOKENS = 8192
"""Tokens at most on which the initial firing rates are set: whole batches need not fit into memory at once."""


def initial_student(run: TrainingRun, teacher: nn.Module, text: TokenText, device: torch.device) -> BiSpikCLM:
    """Return the student that a run starts from, on a device: a checkpoint, or random weights and initial firing rates.

    Raises:
        BispikError: if the checkpoint cannot be read, or is of another network.
    """
    if run.start.checkpoint is not None:
        checkpoint = load_checkpoint(run.start.checkpoint)
        if checkpoint.config != run.model:
            raise BispikError(
                f"{run.start.checkpoint}: {_difference(checkpoint.config, run.model)}; a run starts from a network "
                "of its own [model] only"
            )
        return checkpoint.network().to(device)
    student = BiSpikCLM(run.model).to(device)
    if run.start.embeddings == "teacher":
        with torch.no_grad():
            tokens, positions = teacher_embeddings(teacher, run.model.max_positions)
            student.token_embedding.weight.copy_(tokens)
            student.position_embedding.weight.copy_(positions)
    sequences = max(1, min(run.student.batch, START_TOKENS // run.model.max_positions))
    first = random_batch(text, sequences, run.model.max_positions, np.random.default_rng(run.seed))
    set_initial_rates(student, torch.from_numpy(first[:, :-1]).to(device), run.start.rate, run.start.score_rate)
    return student


def _difference(found: BiSpikCLMConfig, wanted: BiSpikCLMConfig) -> str:
    theirs, ours = found.to_dict(), wanted.to_dict()
    name = next(name for name in ours if ours[name] != theirs[name])
    return f"{name} is {theirs[name]} there, and {ours[name]} in the run"
