"""The embedding in integers: two 16-bit tables on the host and the population that they drive."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bispik.compiler.fixed_point import STOCK_EXPONENT, STOCK_THRESHOLD_MAX
from bispik.compiler.graph import Injection, Population
from bispik.compiler.program import IntegerInjection, IntegerPopulation, IntegerProjection, NeuronProgram
from bispik.compiler.quantize_neurons import MAXIMAL_EXPONENT, Candidate, first_safe
from bispik.models.errors import BispikError

FloatArray = npt.NDArray[np.float64]

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
    tokens = injection.token_table.astype(np.float64) * unit
    positions = injection.position_table[:window].astype(np.float64) * unit
    candidates = _candidates(injection.name, node, program, tokens, positions, max(step_gain))
    candidate, neurons = first_safe(node.name, node.neurons, candidates, len(step_gain))
    factor = candidate.scale / (1 << candidate.projections[0].exponent)
    tables = IntegerInjection(
        name=injection.name,
        token_table=table_of(tokens * factor),
        position_table=table_of(positions * factor),
        step_gain=step_gain,
    )
    population = IntegerPopulation(name=node.name, inputs=candidate.projections, neurons=neurons)
    return tables, population, candidate.scale


def _candidates(
    source: str, node: Population, program: NeuronProgram, tokens: FloatArray, positions: FloatArray, gain: int
) -> Iterator[Candidate]:
    """Yield table scales, the finest first; ``stock`` neurons share a threshold, so their tables differ by column."""
    high = (tokens.max(axis=0) + positions.max(axis=0)) * gain
    low = (tokens.min(axis=0) + positions.min(axis=0)) * gain
    peak = np.maximum(np.abs(tokens).max(axis=0), np.abs(positions).max(axis=0))

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


def table_of(values: FloatArray) -> npt.NDArray[np.int16]:
    """Round to the 16 bits of a table."""
    return np.clip(np.rint(values), -TABLE_MAX, TABLE_MAX).astype(np.int16)
