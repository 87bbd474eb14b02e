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
from bispik.compiler.stream.layout import LaidWiring, Layout, layout_of
from bispik.compiler.stream.mapping import MappedStream
from bispik.compiler.stream.program import IntegerStreamPopulation, IntegerStreamProjection
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
    """Pools [first, first + n) of source neurons have any (`bispik.compiler.stream.reach`)."""
    fan_out: FloatArray
    """(n,): stored synapses there of each source neuron of a pool; whole numbers, as floats because their products are
    fastest."""
    filled: bool
    """Whether a sparse pattern lies there as a matrix: what arrives at one of its rows arrives at all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProjectionPlan:
    """One projection, and what of it lies in each of the m slices of its population."""

    source: str
    delay: int
    wiring: Wiring
    graded: bool
    bundles: tuple[Bundle, ...]
    """(m,)"""


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
    layout: Layout
    projections: tuple[ProjectionPlan, ...]
    costs: FloatArray
    """(size, COSTS): what one spike of each neuron costs on its way; whole numbers."""


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
    slices, layout = [parts[index] for index in own], layout_of(population)
    return PopulationPlan(
        name=population.name,
        spikes=population.neurons.output == "spikes",
        slices=np.array(own, np.int64),
        starts=np.array([part.start for part in slices], np.int64),
        stops=np.array([part.stop for part in slices], np.int64),
        layout=layout,
        projections=tuple(_projection(mapped, parts, own, layout, entry) for entry in population.inputs),
        costs=_costs(mapped, population),
    )


def _projection(
    mapped: MappedStream, parts: list[Slice], own: list[int], layout: Layout, entry: IntegerStreamProjection
) -> ProjectionPlan:
    laid = LaidWiring(wiring=entry.wiring, layout=layout)
    return ProjectionPlan(
        source=entry.source,
        delay=entry.delay,
        wiring=entry.wiring,
        graded=entry.source == mapped.program.input.name and input_is_graded(mapped.program),
        bundles=tuple(_bundle(mapped, index, parts[index], laid, entry.bits) for index in own),
    )


def _bundle(mapped: MappedStream, index: int, part: Slice, laid: LaidWiring, bits: int) -> Bundle:
    stored = stored_format(laid, part.start, part.stop, bits, mapped.target)
    filled = stored == "dense" and isinstance(laid.wiring, Sparse)
    each = laid.pool_fan_out(part.start, part.stop)
    if filled:
        each = np.where(each > 0, part.stop - part.start, 0)
    pools = np.flatnonzero(each)
    first, last = (int(pools[0]), int(pools[-1]) + 1) if len(pools) else (0, 0)
    fan_out = each[first:last].astype(np.float64)
    return Bundle(slice=index, format=stored, first=first, fan_out=fan_out, filled=filled)


def _costs(mapped: MappedStream, population: IntegerStreamPopulation) -> FloatArray:
    """What one spike of each neuron costs on its way to all neurocores that read it."""
    neurocores = [core.slices for core in mapped.neurocores]
    costs = np.zeros((population.size, len(COSTS)))
    if population.neurons.output != "spikes":
        return costs
    places, at = places_of(mapped), home(neurocores, population)
    every = np.arange(len(neurocores))
    for reader in readers(mapped.program, neurocores, population.name):
        way = distance(mapped.target, mapped.system, places, places[np.full_like(every, reader.neurocore)])
        per_message = (np.ones_like(every), way.local, way.inter_chip, way.x_hops, way.y_hops, way.crossings)
        costs += np.stack(per_message, axis=1)[at] * reader.reads[:, None]
    return costs
