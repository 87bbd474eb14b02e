"""Interval proof for stream programs: the largest current that any input could cause."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.compiler.fixed_point import DECAY_ONE
from bispik.compiler.stream.program import IntegerStreamPopulation, StreamProgram
from bispik.compiler.stream.wiring import row_sums


def current_reach(program: StreamProgram, population: IntegerStreamPopulation) -> npt.NDArray[np.float64]:
    """Return a bound on |u| for any input and any length of it, in membrane units, (n,).

    A current that keeps k = (4096 - current_decay) / 4096 of itself and takes in at most I in every step stays below
    I / (1 - k); rounding toward zero only makes it smaller.
    """
    low, high = np.zeros(population.size), np.zeros(population.size)
    for entry in population.inputs:
        negative, positive = row_sums(entry.wiring, entry.weight.astype(np.float64))
        from_host = entry.source == program.input.name
        least, most = (program.input.low, program.input.high) if from_host else (0, 1)
        low += (negative * most + positive * least) * float(1 << entry.exponent)
        high += (positive * most + negative * least) * float(1 << entry.exponent)
    gain = DECAY_ONE / population.neurons.current_decay.astype(np.float64)
    reach: npt.NDArray[np.float64] = np.maximum(-low, high) * gain
    return reach
