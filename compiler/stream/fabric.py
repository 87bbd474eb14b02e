"""A stream program as it lies on neurocores: with a population for each part of what rows read.

Where a row reads more than fits into one neurocore (`bispik.compiler.fan_in`), each part is a population of its own
that adds up its synapses and sends the sum, and the row reads the sums through synapses of weight 1:

    part:  sent[t] = weight applied to sent(source)[t - delay]
    row:   I[t] += sent(part)[t] << exponent

Both programs compute the same numbers. Mappings, schedules and counts are made of this one; backends run the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bispik.compiler.fixed_point import DECAY_ONE
from bispik.compiler.mapping import FanInPart
from bispik.compiler.stream.program import (
    IntegerStreamNeurons,
    IntegerStreamPopulation,
    IntegerStreamProjection,
    StreamProgram,
)
from bispik.compiler.stream.wiring import Dense, OneToOne, Sparse, restricted, within


def on_fabric(program: StreamProgram, parts: Sequence[FanInPart]) -> StreamProgram:
    """Return the program with its parts; the same program if it has none."""
    if not parts:
        return program
    populations: list[IntegerStreamPopulation] = []
    for population in program.populations:
        own = [part for part in parts if part.node == population.name]
        populations += [_part(population, part) for part in own]
        populations.append(_relayed(population, own))
    scale = {part.name: np.ones(program.population(part.node).size) for part in parts}
    return replace(program, populations=tuple(populations), membrane_scale={**program.membrane_scale, **scale})


def sums_of(
    population: IntegerStreamPopulation, part: FanInPart, arriving: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return what a part sends, (steps, size), of what arrives from its source, (steps, size of the source)."""
    entry = population.inputs[part.index]
    if isinstance(entry.wiring, Dense):  # whole numbers below 2^53, which floating point adds exactly, and fast
        weight = entry.weight[:, part.start : part.stop].astype(np.float64)
        return np.rint(arriving[:, part.start : part.stop].astype(np.float64) @ weight.T).astype(np.int64)
    only = _synapses(entry, part)
    return np.asarray(only.wiring.apply(only.weight.astype(np.int64), arriving), np.int64)


def _part(population: IntegerStreamPopulation, part: FanInPart) -> IntegerStreamPopulation:
    zero, one = np.zeros(population.size, np.int32), np.full(population.size, DECAY_ONE, np.int32)
    neurons = IntegerStreamNeurons(
        program="bispik",
        reset="none",
        output="membrane",
        current_decay=one,
        decay=one,
        threshold=zero,
        subtract=zero,
        bias=zero,
        initial=zero,
        initial_current=zero,
    )
    only = _synapses(population.inputs[part.index], part)
    return IntegerStreamPopulation(name=part.name, shape=population.shape, inputs=(only,), neurons=neurons)


def _synapses(entry: IntegerStreamProjection, part: FanInPart) -> IntegerStreamProjection:
    """Return the synapses of one part; of a matrix they are those of its columns."""
    if isinstance(entry.wiring, Sparse):
        kept = within(entry.wiring, part.start, part.stop)
        wiring, weight = restricted(entry.wiring, part.start, part.stop), entry.weight[kept]
    else:
        outputs, width = entry.wiring.outputs, part.stop - part.start
        wiring = Sparse(
            inputs=entry.wiring.inputs,
            outputs=outputs,
            starts=np.arange(outputs + 1, dtype=np.int64) * width,
            sources=np.tile(np.arange(part.start, part.stop, dtype=np.int32), outputs),
        )
        weight = entry.weight[:, part.start : part.stop].ravel()
    return replace(entry, wiring=wiring, weight=weight, exponent=0)


def _relayed(population: IntegerStreamPopulation, parts: Sequence[FanInPart]) -> IntegerStreamPopulation:
    inputs: list[IntegerStreamProjection] = []
    for index, entry in enumerate(population.inputs):
        sums = [
            IntegerStreamProjection(
                source=part.name,
                wiring=OneToOne(size=population.size),
                weight=np.ones(population.size, np.int8),
                exponent=entry.exponent,
                bits=1,
                delay=0,
            )
            for part in parts
            if part.index == index
        ]
        inputs += sums or [entry]
    return replace(population, inputs=tuple(inputs))
