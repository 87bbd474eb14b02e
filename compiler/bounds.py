"""Interval proofs: the largest membrane and accumulator that any input could cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from bispik.compiler.fixed_point import DECAY_ONE

FloatArray = npt.NDArray[np.float64]


def output_maxima(maxima: Mapping[str, int], sources: Sequence[str]) -> tuple[int, ...]:
    """Return the largest output of each source; a node that is not listed emits spikes, 0 or 1."""
    return tuple(maxima.get(source, 1) for source in sources)


def current_range(weight: FloatArray, maximum: int) -> tuple[FloatArray, FloatArray]:
    """Return the lowest and the highest sum over inputs in [0, maximum], by row of ``weight``."""
    axis = -1
    low = np.minimum(weight, 0).sum(axis=axis) * maximum
    high = np.maximum(weight, 0).sum(axis=axis) * maximum
    return low, high


def membrane_bound(
    low: FloatArray, high: FloatArray, bias: FloatArray, subtract: FloatArray, decay: int, steps: int
) -> FloatArray:
    """Return a bound on |v| for currents in [low, high] over the steps of one token, from rest.

    With k = (4096 - decay) / 4096 and g = 1 + k + ... + k^(steps-1):
    v <= g * max(0, high + bias) and v >= g * min(0, low + bias - subtract).
    A hard reset only brings the membrane closer to 0.
    """
    keep = (DECAY_ONE - decay) / DECAY_ONE
    gain = sum(keep**step for step in range(steps))
    above = gain * np.maximum(0.0, high + bias)
    below = gain * np.maximum(0.0, -(low + bias - subtract))
    bound: FloatArray = np.maximum(above, below)
    return bound
