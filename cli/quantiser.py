"""The compiler's quantiser, for a training that asks it."""

from __future__ import annotations

from functools import partial

from bispik.compiler.quantize_options import QuantizeOptions
from bispik.compiler.training_scales import training_scales
from bispik.models.bispikclm.integer_scales import ScaleSource
from bispik.models.bispikclm.run_config import TrainingRun


def quantiser(run: TrainingRun) -> ScaleSource | None:
    """Return the quantiser with the options that the run's network will be compiled with; None if it does not ask."""
    if run.qat is None:
        return None
    options = QuantizeOptions(
        bits=run.qat.bits, neuron_program=run.qat.neurons, window=run.model.max_positions, seed=run.seed
    )
    return partial(training_scales, options=options)
