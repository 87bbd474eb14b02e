"""Quantisation-aware training as a phase of a run: from some step on, the student computes in integers."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

import numpy as np

from bispik.models.bispikclm.checkpoint import Checkpoint
from bispik.models.bispikclm.data import TokenText, random_batch
from bispik.models.bispikclm.integer_forward import integer_forward, put_on_lattice
from bispik.models.bispikclm.integer_scales import IntegerScales, ScaleSource
from bispik.models.bispikclm.model import BiSpikCLM
from bispik.models.bispikclm.run_config import IntegerTraining, TrainingRun

CALIBRATION_WINDOWS = 4
"""Windows of training text on which the quantiser chooses scales, as many as `bispik-compile` takes."""


class IntegerPhase:
    """Puts a student into integer mode at its step, and asks the quantiser for new scales now and then.

    It also asks wherever the training's state is saved, so that a run which goes on from there has the same scales.
    """

    def __init__(
        self, student: BiSpikCLM, qat: IntegerTraining, run: TrainingRun, text: TokenText, source: ScaleSource
    ) -> None:
        self.student, self.qat, self.run, self.source = student, qat, run, source
        self.first_step = math.ceil(qat.first * run.student.steps)
        generator = np.random.default_rng(run.seed)
        self.calibration = random_batch(text, CALIBRATION_WINDOWS, run.model.max_positions - 1, generator)
        self.mode = ExitStack()
        self.scales: IntegerScales | None = None

    def before(self, step: int) -> None:
        """Prepare step number ``step``, counted from 0.

        Raises:
            BispikError: if the network cannot be compiled with these widths.
        """
        if step < self.first_step:
            return
        due = (step - self.first_step) % self.qat.refresh == 0 or step % self.run.student.save_every == 0
        if self.scales is not None and not due:
            return
        self.close()
        self.scales = self.source(Checkpoint.of(self.student), self.calibration)
        self.mode.enter_context(integer_forward(self.student, self.scales, compiled=self.run.compile))

    def finish(self) -> None:
        """Leave the weights on the integers that were trained, so that the compiler finds these and no others."""
        if self.scales is not None:
            put_on_lattice(self.student, self.scales)

    def close(self) -> None:
        """Leave integer mode; harmless if repeated."""
        self.mode.close()
        self.scales = None


@contextmanager
def integers_of(
    run: TrainingRun, student: BiSpikCLM, text: TokenText, scales: ScaleSource | None
) -> Generator[Callable[[int], None]]:
    """Yield what is to be called before each step, so that the run's part in integers is; on leaving it is over."""
    if run.qat is None:
        yield lambda _step: None
        return
    if scales is None:
        raise ValueError("a run with qat needs the quantiser")
    phase = IntegerPhase(student, run.qat, run, text, scales)
    try:
        yield phase.before
        phase.finish()
    finally:
        phase.close()
