"""How events follow from what was sent: a property of the mapping, made once and used for every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.backends.stream.counts.events import IntArray, StreamEvent
from bispik.compiler.demand import SynapseFormat, stored_format
from bispik.compiler.mapping import Slice
from bispik.compiler.mesh import distance
from bispik.compiler.routes import places_of
from bispik.compiler.stream.mapping import MappedStream
from bispik.compiler.stream.program import IntegerStreamPopulation, IntegerStreamProjection
from bispik.compiler.stream.reach import fan_out
from bispik.compiler.stream.readers import home, readers
from bispik.compiler.stream.shape import input_is_graded
from bispik.compiler.stream.wiring import Sparse, Wiring

FloatArray: TypeAlias = npt.NDArray[np.float64]

COSTS: tuple[StreamEvent, ...] = (
    "message",
    "message_local",
    "message_interchip",
    "hop_x",
    "hop_y",
    "chip_crossing",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """The synapses of one projection that lie in one slice."""

    slice: int
    format: SynapseFormat
    first: int
    """Source neurons [first, first + n) have any."""
    fan_out: FloatArray
    """(n,): stored synapses of each; whole numbers, as products of matrices are fastest of these."""
    filled: bool
    """Whether a sparse pattern lies there as a matrix: what arrives at one row then arrives at all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProjectionPlan:
    """One projection and its bundles."""

    source: str
    delay: int
    wiring: Wiring
    graded: bool
    bundles: tuple[Bundle, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PopulationPlan:
    """One population, its slices in the order of their rows, and what its spikes cost."""

    name: str
    spikes: bool
    slices: IntArray
    """(m,): indices of its slices."""
    starts: IntArray
    """(m,): first row of each."""
    stops: IntArray
    projections: tuple[ProjectionPlan, ...]
    costs: FloatArray
    """(COSTS, size): what one spike of each neuron costs on its way; whole numbers."""


def plan_populations(mapped: MappedStream, parts: list[Slice]) -> tuple[PopulationPlan, ...]:
    """Return the plan of every population; ``parts`` are the slices, in the order of their indices."""
    return tuple(_population(mapped, parts, population) for population in mapped.program.populations)


def input_fan_out(mapped: MappedStream) -> FloatArray:
    """Return the number of neurocores that read each input channel, (input size,)."""
    count = np.zeros(mapped.program.input.size)
    for reader in readers(mapped.program, [core.slices for core in mapped.neurocores], mapped.program.input.name):
        count += reader.reads
    return count


def _population(mapped: MappedStream, parts: list[Slice], population: IntegerStreamPopulation) -> PopulationPlan:
    own = [index for index, part in enumerate(parts) if part.node == population.name]
    own.sort(key=lambda index: parts[index].start)
    return PopulationPlan(
        name=population.name,
        spikes=population.neurons.output == "spikes",
        slices=np.array(own, np.int64),
        starts=np.array([parts[index].start for index in own], np.int64),
        stops=np.array([parts[index].stop for index in own], np.int64),
        projections=tuple(
            ProjectionPlan(
                source=entry.source,
                delay=entry.delay,
                wiring=entry.wiring,
                graded=entry.source == mapped.program.input.name and input_is_graded(mapped.program),
                bundles=tuple(_bundle(mapped, index, parts[index], entry) for index in own),
            )
            for entry in population.inputs
        ),
        costs=_costs(mapped, population),
    )


def _bundle(mapped: MappedStream, index: int, part: Slice, entry: IntegerStreamProjection) -> Bundle:
    stored = stored_format(entry.wiring, part.start, part.stop, entry.bits, mapped.target)
    each = fan_out(entry.wiring, part.start, part.stop)
    filled = stored == "dense" and isinstance(entry.wiring, Sparse)
    if filled:
        each = np.where(each > 0, part.stop - part.start, 0)
    read = np.flatnonzero(each)
    first, last = (int(read[0]), int(read[-1]) + 1) if len(read) else (0, 0)
    return Bundle(slice=index, format=stored, first=first, fan_out=each[first:last].astype(np.float64), filled=filled)


def _costs(mapped: MappedStream, population: IntegerStreamPopulation) -> FloatArray:
    """What one spike of each neuron costs on its way to all neurocores that read it."""
    neurocores = [core.slices for core in mapped.neurocores]
    costs = np.zeros((len(COSTS), population.size))
    if population.neurons.output != "spikes":
        return costs
    places, at = places_of(mapped), home(neurocores, population.name, population.size)
    every = np.arange(len(neurocores))
    for reader in readers(mapped.program, neurocores, population.name):
        way = distance(mapped.target, mapped.system, places, places[np.full_like(every, reader.neurocore)])
        per_message = (np.ones_like(every), way.local, way.inter_chip, way.x_hops, way.y_hops, way.crossings)
        costs += np.stack(per_message)[:, at] * reader.reads
    return costs
