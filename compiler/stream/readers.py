"""Which neurocores read which neuron of a stream program: exactly, where slices only know the range they read.

A neurocore reads a neuron if at least one synapse of that neuron lies there; then it gets one message for each of its
spikes, however many synapses, slices and projections there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.mapping import Slice
from bispik.compiler.refine import Links, links_between
from bispik.compiler.routes import ASSUMED_RATE, NORM_RATE
from bispik.compiler.stream.layout import LaidWiring, layout_of
from bispik.compiler.stream.program import IntegerStreamPopulation, StreamProgram
from bispik.compiler.stream.reach import IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reader:
    """One neurocore that reads a source."""

    neurocore: int
    """Index."""
    reads: npt.NDArray[np.bool_]
    """(size of the source,)"""


def readers(program: StreamProgram, neurocores: Sequence[Sequence[Slice]], source: str) -> Iterator[Reader]:
    """Yield the neurocores that read a source, with the neurons that they read; one at a time, for they may be big."""
    populations = {population.name: population for population in program.populations}
    size = program.input.size if source == program.input.name else populations[source].size
    layouts = {name: layout_of(p) for name, p in populations.items() if any(e.source == source for e in p.inputs)}
    for index, slices in enumerate(neurocores):
        reads = np.zeros(size, np.bool_)
        for part in slices:
            for entry in populations[part.node].inputs:
                if entry.source == source:
                    laid = LaidWiring(wiring=entry.wiring, layout=layouts[part.node])
                    reads |= laid.fan_out(part.start, part.stop) > 0
        if reads.any():
            yield Reader(neurocore=index, reads=reads)


def home(neurocores: Sequence[Sequence[Slice]], population: IntegerStreamPopulation) -> IntArray:
    """Return the index of the neurocore on which each neuron of a population lies, (size,)."""
    place, layout = np.zeros(population.size, np.int64), layout_of(population)
    for index, slices in enumerate(neurocores):
        for part in slices:
            if part.node == population.name:
                place[layout.rows(part.start, part.stop)] = index
    return place


def message_links(program: StreamProgram, neurocores: Sequence[Sequence[Slice]], rates: Mapping[str, float]) -> Links:
    """Return the expected messages per step between neurocores.

    Args:
        program: what lies there.
        neurocores: slices of each.
        rates: spikes per neuron and step by population; `routes.ASSUMED_RATE` where it is not given.
    """
    source: list[IntArray] = []
    destination: list[IntArray] = []
    messages: list[npt.NDArray[np.float64]] = []
    for population in program.populations:
        graded = population.neurons.output == "membrane"  # a part of what rows read: its sums are hardly ever 0
        rate = NORM_RATE if graded else min(1.0, abs(rates.get(population.name, ASSUMED_RATE)))
        place = home(neurocores, population)
        for reader in readers(program, neurocores, population.name):
            senders, neurons = np.unique(place[reader.reads], return_counts=True)
            source.append(senders)
            destination.append(np.full(len(senders), reader.neurocore, np.int64))
            messages.append(rate * neurons.astype(np.float64))
    if not source:
        source, destination, messages = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
    return links_between(len(neurocores), np.concatenate(source), np.concatenate(destination), np.concatenate(messages))
