"""The language-model head in integers: one scale for all rows, so that accumulators rank as logits do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.calibrate import Rows, naive_scales, rounded_rows, row_scales
from bispik.compiler.deferred import numbers
from bispik.compiler.feedback import Feedback
from bispik.compiler.fixed_point import MEMBRANE_MAX
from bispik.compiler.graph import Readout
from bispik.compiler.program import IntegerReadout
from bispik.models.errors import BispikError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadInputs:
    """What the head receives."""

    counts: FloatArray
    """Sums over the steps of a token on text, in the source's integers: (samples, inputs)."""
    exponent: int
    """Their unit is 2^-exponent."""
    magnitude: int
    """Largest integer in one step."""
    steps: int
    """Per token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadChoice:
    """How the head is written."""

    bits: int
    on_chip: bool
    naive: bool
    """The largest weight is the end of the range."""
    feedback: bool
    """Weights are rounded with feedback, see `feedback`."""


def quantize_head(node: Readout, inputs: HeadInputs, choice: HeadChoice) -> IntegerReadout:
    """Fold gain and mean subtraction of the final LayerNorm into the head, and round it.

    Raises:
        BispikError: if accumulators could leave 24 bits, though the scale is a bit coarser.
    """
    stored = numbers(node.weight)

    def folded(some: slice) -> FloatArray:
        gained = stored[some].astype(np.float64) * node.gamma
        gained -= gained.mean(axis=1, keepdims=True)
        return gained

    rows = Rows(shape=(stored.shape[0], stored.shape[1]), some=folded)
    if choice.naive:
        finest = naive_scales(rows, choice.bits)
    else:
        finest = row_scales(rows, inputs.counts, choice.bits, per_row=False)
    epsilon = node.epsilon * 4.0**inputs.exponent
    feedback = Feedback(_normal(inputs, epsilon)) if choice.feedback else None
    scale, integers = _integers(node.name, rows, finest, inputs.magnitude * inputs.steps, choice, feedback)
    bias = node.scale * np.concatenate([stored[some].astype(np.float64) @ node.beta for some in rows.blocks()])
    return IntegerReadout(
        name=node.name,
        source=node.source,
        weight=integers,
        bits=choice.bits,
        on_chip=choice.on_chip,
        scale=node.scale / (float(scale[0]) * inputs.steps),
        epsilon=epsilon,
        bias=bias.astype(np.float32),
    )


def _normal(inputs: HeadInputs, epsilon: float) -> npt.NDArray[np.float32]:
    """Return what logits are proportional to: the counts, each token's over their deviation."""
    mean = inputs.counts / inputs.steps
    normal: FloatArray = mean / np.sqrt(mean.var(axis=1, keepdims=True) + epsilon)
    return normal.astype(np.float32)


def _integers(
    name: str, rows: Rows, finest: FloatArray, maximum: int, choice: HeadChoice, feedback: Feedback | None
) -> tuple[FloatArray, npt.NDArray[np.int8]]:
    """Round the head's weights. Where accumulators could leave 24 bits, the scale is coarser, by a bit at most.

    Args:
        name: of the readout, for errors.
        rows: its weights.
        finest: the scale that suits them best, (rows,), all the same.
        maximum: the largest sum of an input over the steps of a token.
        choice: bits, and where the head runs.
        feedback: rounds; None for each weight to the nearest.
    """
    scale = finest
    while True:
        if feedback is None:
            integers = rounded_rows(rows, scale, choice.bits)
        else:
            integers = feedback.rounded(rows, scale, choice.bits)
        largest = max(
            int(np.abs(integers[some], dtype=np.int16).sum(axis=1, dtype=np.int64).max()) for some in rows.blocks()
        )
        reached = largest * maximum
        if reached <= MEMBRANE_MAX or not choice.on_chip:
            return scale, integers
        scale = scale * min(0.99, MEMBRANE_MAX / reached)
        if scale[0] < finest[0] / 2:
            raise BispikError(
                f"{name}: accumulators could reach {reached:,} of {MEMBRANE_MAX:,}; use fewer --bits or --head host"
            )
