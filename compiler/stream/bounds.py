"""Interval proofs for stream programs: the largest current that any input could cause."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bispik.compiler.fixed_point import DECAY_ONE
from bispik.compiler.stream.network import FloatArray
from bispik.compiler.stream.program import IntegerStreamInput, IntegerStreamNeurons, IntegerStreamProjection
from bispik.compiler.stream.wiring import row_sums


def current_reach(
    entry: IntegerStreamInput, inputs: Iterable[IntegerStreamProjection], neurons: IntegerStreamNeurons
) -> FloatArray:
    """Return a bound on |u| for any input and any length of it, in membrane units, (n,).

    A current that keeps k = (4096 - current_decay) / 4096 of itself and takes in at most I in every step stays below
    the larger of I / (1 - k) and its start; rounding toward zero only makes it smaller.
    """
    low, high = np.zeros(neurons.size), np.zeros(neurons.size)
    for projection in inputs:
        negative, positive = row_sums(projection.wiring, projection.weight.astype(np.float64))
        least, most = (entry.low, entry.high) if projection.source == entry.name else (0, 1)
        low += (negative * most + positive * least) * float(1 << projection.exponent)
        high += (positive * most + negative * least) * float(1 << projection.exponent)
    gain = DECAY_ONE / neurons.current_decay.astype(np.float64)
    reach: FloatArray = np.maximum(np.maximum(-low, high) * gain, np.abs(neurons.initial_current.astype(np.float64)))
    return reach
