"""How events follow from what was sent: a property of the mapping, made once and used for every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.backends.counts.by_slice import IntArray
from bispik.backends.stream.counts.events import StreamEvent
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

SPENT: tuple[StreamEvent, ...] = (
    "spike",
    "graded_output",
    "message",
    "message_local",
    "message_interchip",
    "hop_x",
    "hop_y",
    "chip_crossing",
)
"""What a neuron's spikes, or the sums of a part of what rows read, amount to, wherever they come from."""


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
    formats: Mapping[SynapseFormat, IntArray]
    """By format, which of the bundles have it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PopulationPlan:
    """One population, its slices in the order of their rows, and what its spikes cost."""

    name: str
    spikes: bool
    sends: bool
    """Spikes, or the sums of a part of what rows read; membranes go to the host alone."""
    slices: IntArray
    """(m,): indices of its slices."""
    starts: IntArray
    """(m,): first row of each."""
    stops: IntArray
    layout: Layout
    projections: tuple[ProjectionPlan, ...]
    spent: IntArray
    """(size, SPENT): what one spike of each neuron costs on its way; 0 where the population sends none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamPlan:
    """All that counting on a mapping takes."""

    mapped: MappedStream
    parts: tuple[Slice, ...]
    """Slices in the order of their indices, neurocore by neurocore."""
    neurocore: IntArray
    """(slices,): index of the neurocore of each."""
    neurons: IntArray
    """(slices,): of each."""
    populations: tuple[PopulationPlan, ...]
    input_fan_out: IntArray
    """(input size,): neurocores that read each channel."""


def stream_plan(mapped: MappedStream) -> StreamPlan:
    """Return how events on a mapping are counted."""
    placed = [(place, part) for place, core in enumerate(mapped.neurocores) for part in core.slices]
    parts = tuple(part for _, part in placed)
    return StreamPlan(
        mapped=mapped,
        parts=parts,
        neurocore=np.array([place for place, _ in placed], np.int64),
        neurons=np.array([part.stop - part.start for part in parts], np.int64),
        populations=tuple(_population(mapped, parts, population) for population in mapped.fabric.populations),
        input_fan_out=_input_fan_out(mapped),
    )


def sums_sent(mapped: MappedStream) -> frozenset[str]:
    """Return the names of the parts of what rows read, which send numbers."""
    return frozenset(part.name for part in mapped.parts)


def _input_fan_out(mapped: MappedStream) -> IntArray:
    count = np.zeros(mapped.program.input.size, np.int64)
    for reader in readers(mapped.fabric, [core.slices for core in mapped.neurocores], mapped.program.input.name):
        count += reader.reads
    return count


def _population(mapped: MappedStream, parts: Sequence[Slice], population: IntegerStreamPopulation) -> PopulationPlan:
    own = [index for index, part in enumerate(parts) if part.node == population.name]
    own.sort(key=lambda index: parts[index].start)
    slices, layout = [parts[index] for index in own], layout_of(population)
    return PopulationPlan(
        name=population.name,
        spikes=population.neurons.output == "spikes",
        sends=population.neurons.output == "spikes" or population.name in sums_sent(mapped),
        slices=np.array(own, np.int64),
        starts=np.array([part.start for part in slices], np.int64),
        stops=np.array([part.stop for part in slices], np.int64),
        layout=layout,
        projections=tuple(_projection(mapped, parts, own, layout, entry) for entry in population.inputs),
        spent=_spent(mapped, population),
    )


def _projection(
    mapped: MappedStream, parts: Sequence[Slice], own: list[int], layout: Layout, entry: IntegerStreamProjection
) -> ProjectionPlan:
    laid = LaidWiring(wiring=entry.wiring, layout=layout)
    bundles = tuple(_bundle(mapped, index, parts[index], laid, entry.bits) for index in own)
    formats: dict[SynapseFormat, list[int]] = {}
    for place, bundle in enumerate(bundles):
        formats.setdefault(bundle.format, []).append(place)
    return ProjectionPlan(
        source=entry.source,
        delay=entry.delay,
        wiring=entry.wiring,
        graded=entry.source in sums_sent(mapped)
        or (entry.source == mapped.program.input.name and input_is_graded(mapped.program)),
        bundles=bundles,
        formats={stored: np.array(places, np.int64) for stored, places in formats.items()},
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


def _spent(mapped: MappedStream, population: IntegerStreamPopulation) -> IntArray:
    """What one spike of each neuron costs on its way to all neurocores that read it."""
    neurocores = [core.slices for core in mapped.neurocores]
    spent = np.zeros((population.size, len(SPENT)), np.int64)
    is_sum = population.name in sums_sent(mapped)
    if population.neurons.output != "spikes" and not is_sum:
        return spent
    spent[:, SPENT.index("graded_output" if is_sum else "spike")] = 1
    places, at = places_of(mapped), home(neurocores, population)
    every = np.arange(len(neurocores))
    for reader in readers(mapped.fabric, neurocores, population.name):
        way = distance(mapped.target, mapped.system, places, places[np.full_like(every, reader.neurocore)])
        per_message = (np.ones_like(every), way.local, way.inter_chip, way.x_hops, way.y_hops, way.crossings)
        spent[:, SPENT.index("message") :] += np.stack(per_message, axis=1).astype(np.int64)[at] * reader.reads[:, None]
    return spent
