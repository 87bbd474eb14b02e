"""The embedding in integers: two 16-bit tables on the host and the population that they drive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.compiler.calibrate import NUMBERS_AT_ONCE
from bispik.compiler.deferred import FloatArray as Floats
from bispik.compiler.deferred import numbers
from bispik.compiler.fixed_point import STOCK_EXPONENT, STOCK_THRESHOLD_MAX
from bispik.compiler.float_network import blocks
from bispik.compiler.graph import Injection, Population
from bispik.compiler.program import IntegerInjection, IntegerPopulation, IntegerProjection, NeuronProgram
from bispik.compiler.quantize_neurons import MAXIMAL_EXPONENT, Candidate, first_safe
from bispik.models.errors import BispikError

FloatArray = npt.NDArray[np.float64]

Ends: TypeAlias = tuple[FloatArray, FloatArray]
"""Least and largest number of each column."""

TABLE_MAX = (1 << 15) - 1
"""Embedding tables live in the host's memory as 16-bit integers."""


def quantize_input(
    injection: Injection, node: Population, program: NeuronProgram, window: int
) -> tuple[IntegerInjection, IntegerPopulation, FloatArray]:
    """Return the tables, the population and its membrane scale.

    Raises:
        BispikError: if the step gains are no multiples of the first, or membranes could overflow.
    """
    unit, step_gain = integer_gains(injection)
    tokens, positions = numbers(injection.token_table), numbers(injection.position_table)[:window]
    candidates = _candidates(injection.name, node, program, _ends(tokens, unit), _ends(positions, unit), max(step_gain))
    candidate, neurons = first_safe(node.name, node.neurons, candidates, len(step_gain))
    factor = candidate.scale / (1 << candidate.projections[0].exponent)
    tables = IntegerInjection(
        name=injection.name,
        token_table=table_of(tokens, unit, factor),
        position_table=table_of(positions, unit, factor),
        step_gain=step_gain,
    )
    population = IntegerPopulation(name=node.name, inputs=candidate.projections, neurons=neurons)
    return tables, population, candidate.scale


def _candidates(
    source: str, node: Population, program: NeuronProgram, tokens: Ends, positions: Ends, gain: int
) -> Iterator[Candidate]:
    """Yield table scales, the finest first; ``stock`` neurons share a threshold, so their tables differ by column."""
    high = (tokens[1] + positions[1]) * gain
    low = (tokens[0] + positions[0]) * gain
    peak = np.abs([*tokens, *positions]).max(axis=0)

    def candidate(factor: FloatArray, exponent: int) -> Candidate:
        scale = factor * (1 << exponent)
        rounding = gain * (1 << exponent)  # each of the two table entries is off by half a unit at most
        projection = IntegerProjection(source=source, weight=None, exponent=exponent, bits=0)
        return Candidate(
            program=program,
            projections=(projection,),
            scale=scale,
            low=low * scale - rounding,
            high=high * scale + rounding,
        )

    if program == "bispik":
        largest = float(peak.max()) or 1.0  # a table of zeros: any scale will do
        factor = np.full(node.size, TABLE_MAX / largest)
        for exponent in range(MAXIMAL_EXPONENT, -1, -1):
            yield candidate(factor, exponent)
        return
    share = 1.0 / node.neurons.threshold.astype(np.float64)
    largest = float((peak * share).max()) or 1.0
    threshold = max(1, min(STOCK_THRESHOLD_MAX, int(TABLE_MAX / largest - 0.5)))
    while threshold >= 1:
        yield candidate((threshold + 0.5) * share, STOCK_EXPONENT)
        threshold //= 2


def integer_gains(injection: Injection) -> tuple[float, tuple[int, ...]]:
    """Write the step gains as a unit times small integers: 1, 1, ... or 1, 2, ..., T for a ramp."""
    unit = float(injection.step_gain[0])
    multiples = np.array(injection.step_gain) / unit
    integers = np.rint(multiples)
    if not np.allclose(integers, multiples):
        raise BispikError(f"{injection.name}: step gains {injection.step_gain} are no multiples of the first one")
    return unit, tuple(int(value) for value in integers)


def table_of(values: Floats, unit: float, factor: FloatArray | float) -> npt.NDArray[np.int16]:
    """Round values * unit * factor to the 16 bits of a table, some rows at a time."""
    table = np.empty(values.shape, np.int16)
    for rows in _rows(values):
        scaled = values[rows].astype(np.float64) * unit * factor
        table[rows] = np.clip(np.rint(scaled), -TABLE_MAX, TABLE_MAX)
    return table


def _ends(values: Floats, unit: float) -> Ends:
    """Return the least and the largest number of each column, times a unit."""
    ends = np.stack([values.min(axis=0), values.max(axis=0)]).astype(np.float64) * unit
    return ends.min(axis=0), ends.max(axis=0)


def _rows(values: Floats) -> list[slice]:
    return blocks(len(values), NUMBERS_AT_ONCE // max(1, values.shape[1]))
