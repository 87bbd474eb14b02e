"""The equations of `bispik.compiler.program` as the Lava models compute them: in place, and driven by events.

Plain NumPy on integers: no BLAS, whose threads would fight over the cores in every one of Lava's processes, and exact
without a thought to a significand's width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.compiler.fixed_point import decayed, saturated
from bispik.compiler.program import IntegerNeurons, IntegerProjection

IntArray = npt.NDArray[np.int64]


class Dynamics:
    """One time step of neurons that share the constants of a population, or of the heads of an attention."""

    def __init__(self, neurons: IntegerNeurons, per_row: bool = False) -> None:
        """Prepare the constants.

        Args:
            neurons: the constants, (n,).
            per_row: the state is (n, columns), and the neurons of a row share their constants.
        """
        constants = (neurons.threshold, neurons.subtract, neurons.bias)
        shape = (-1, 1) if per_row else (-1,)
        self.threshold, self.subtract, self.bias = (c.astype(np.int64).reshape(shape) for c in constants)
        self.decay, self.hard, self.ternary = neurons.decay, neurons.reset == "hard", neurons.spikes == "ternary"

    def advance(self, v: npt.NDArray[np.int32], s: npt.NDArray[np.int8], current: IntArray) -> int:
        """Advance membranes ``v`` and spikes ``s`` in place; return how many membranes saturated."""
        membrane = decayed(v.astype(np.int64), self.decay) + current + self.bias
        if not self.hard:
            membrane -= self.subtract * s
        clipped = saturated(membrane)
        s[...] = clipped > self.threshold
        if self.ternary:
            s -= clipped < -self.threshold
        v[...] = np.where(s != 0, 0, clipped) if self.hard else clipped
        return int(np.count_nonzero(clipped != membrane))


class Synapses:
    """The current of one projection; work is done for inputs that are not 0, as on the chip."""

    def __init__(self, projection: IntegerProjection) -> None:
        weight = projection.weight
        self.exponent = projection.exponent
        self.gain = weight.astype(np.int64) if weight is not None and weight.ndim == 1 else np.ones(1, np.int64)
        # By input: the weights that a spike reaches lie side by side.
        self.rows = np.ascontiguousarray(weight.T) if weight is not None and weight.ndim == 2 else None

    def current(self, arriving: npt.NDArray[np.int32]) -> IntArray:
        """Return (weight @ arriving) << exponent, (neurons,)."""
        if self.rows is None:
            return (self.gain * arriving) << self.exponent
        return weighted_sum(self.rows, arriving) << self.exponent


def weighted_sum(rows: npt.NDArray[np.int8], values: npt.NDArray[np.int32]) -> IntArray:
    """Return values @ rows for rows (inputs, neurons), reading only those whose value is not 0."""
    active = np.flatnonzero(values)
    graded = values[active].astype(np.int64)
    # No sum exceeds 128 times that of the values: mostly, half the width is enough.
    width = np.int32 if int(np.abs(graded).sum()) < 1 << 24 else np.int64
    total: IntArray
    if (graded == 1).all():
        total = rows[active].sum(axis=0, dtype=width).astype(np.int64)
    else:
        total = np.einsum("i,ij->j", graded.astype(width), rows[active].astype(width)).astype(np.int64)
    return total
