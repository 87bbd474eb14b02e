"""Host operations of a run: everything between token ids and the chip, and between the chip and the next token."""

from __future__ import annotations

import numpy as np

from bispik.backends.counts.events import HostOperation
from bispik.compiler.program import QuantizedProgram


def host_operations(program: QuantizedProgram, tokens: int) -> dict[HostOperation, int]:
    """Return how many operations of each kind the host does for a number of tokens.

    With d channels, V tokens in the vocabulary and T steps, per token:

    - embedding: 2 d table entries read, d integer additions; d integer multiplications for each step gain other than 1;
    - d currents injected in every step;
    - final norm: d counts of the residual stream read from the chip in every step, d additions for each but the
      first; mean, deviations, squares and their mean (4 d), root and quotient (2), one product per logit (V),
      all in floating point;
    - head: V accumulators read, or V d integer multiply-accumulates if the head is on the host;
    - V additions if the final norm had a bias; V - 1 comparisons to choose the next token.
    """
    injection, readout = program.injection, program.readout
    channels, vocabulary, steps = injection.size, readout.size, program.steps_per_token
    scaled_steps = sum(gain != 1 for gain in injection.step_gain)
    per_token: dict[HostOperation, int] = {
        "embedding_reads": 2 * channels,
        "embedding_additions": channels,
        "embedding_multiplications": channels * scaled_steps,
        "injected_currents": channels * steps,
        "residual_reads": channels * steps,
        "residual_additions": channels * (steps - 1),
        "head_multiply_accumulates": 0 if readout.on_chip else vocabulary * channels,
        "accumulator_reads": vocabulary if readout.on_chip else 0,
        "norm_operations": 4 * channels + 2 + vocabulary,
        "bias_additions": vocabulary if np.any(readout.bias) else 0,
        "sampling_comparisons": vocabulary - 1,
    }
    return {operation: count * tokens for operation, count in per_token.items()}
