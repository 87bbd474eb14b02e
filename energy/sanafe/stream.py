"""A run of a stream program as a replay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bispik.backends.stream.activity import StreamActivity
from bispik.backends.stream.counts import count_stream
from bispik.backends.stream.counts.plan import ProjectionPlan, stream_plan
from bispik.compiler.mapping import Slice
from bispik.compiler.stream.layout import Layout, layout_of
from bispik.compiler.stream.linear_map import convolution_synapses
from bispik.compiler.stream.mapping import MappedStream
from bispik.compiler.stream.readers import readers
from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Wiring
from bispik.energy.profiles import Profile
from bispik.energy.sanafe.expected import Extra, expected
from bispik.energy.sanafe.replay import Arrival, BoolArray, Builder, IntArray, Replay, Sender
from bispik.energy.stream_account import stream_account


def stream_replay(mapped: MappedStream, activity: StreamActivity, profile: Profile) -> Replay:
    """Return the replay of one sequence.

    Args:
        mapped: what ran where.
        activity: what happened, from the sequence's start.
        profile: whose constants SANA-FE is to use.

    Raises:
        ValueError: if the activity does not begin its sequence.
    """
    if activity.first_step:
        raise ValueError("a replay begins with its sequence")
    mapped = _without_delays(mapped)
    made = _Replayed(mapped, activity)
    counts = count_stream(mapped, activity)
    port_synops, port_updates = made.unpriced()
    return Replay(
        mapped=mapped,
        steps=len(activity.input),
        senders=tuple(made.senders),
        receivers=tuple(made.receivers),
        bundles=tuple(made.bundles),
        expected=expected(
            stream_account(mapped, counts, profile).lines,
            profile,
            crossings=counts.total("chip_crossing"),
            not_messages=0,
            extra=Extra(
                port_synops=port_synops,
                port_updates=port_updates,
                host_messages=counts.host["input_values"],
                neurons=int(counts.neurons.sum()),
            ),
        ),
    )


def _without_delays(mapped: MappedStream) -> MappedStream:
    """Counting needs no order of populations, so loops may lose their delays too."""
    populations = tuple(
        replace(p, inputs=tuple(replace(entry, delay=0) for entry in p.inputs)) for p in mapped.program.populations
    )
    return replace(mapped, program=replace(mapped.program, populations=populations))


class _Replayed(Builder):
    def __init__(self, mapped: MappedStream, activity: StreamActivity) -> None:
        super().__init__()
        self.mapped, self.plan = mapped, stream_plan(mapped)
        self.home: dict[str, list[tuple[str, IntArray]]] = {}
        """By spiking population: its senders and the neurons of each."""
        self.from_host: dict[int, tuple[str, IntArray]] = {}
        """By neurocore: the sender of its inputs, and their channels."""
        self._host(activity.input != 0)
        for index, part in enumerate(self.plan.parts):
            self._sender(index, part, activity)
        for population in self.plan.populations:
            for place, index in enumerate(population.slices.tolist()):
                self._receiver(index, place, population.layout, population.projections)

    def _host(self, sent: BoolArray) -> None:
        program = self.mapped.program
        for reader in readers(program, [core.slices for core in self.mapped.neurocores], program.input.name):
            channels, name = np.flatnonzero(reader.reads), f"host_to_{reader.neurocore}"
            self.senders.append(Sender(name=name, neurocore=reader.neurocore, spikes=sent[:, channels], priced=False))
            self.from_host[reader.neurocore] = (name, channels)

    def _sender(self, index: int, part: Slice, activity: StreamActivity) -> None:
        population = self.mapped.program.population(part.node)
        if population.neurons.output != "spikes":
            return
        neurons, name = layout_of(population).rows(part.start, part.stop), f"sender_{index}"
        spikes = activity.sent[part.node][:, neurons] != 0
        self.senders.append(Sender(name=name, neurocore=int(self.plan.neurocore[index]), spikes=spikes))
        self.home.setdefault(part.node, []).append((name, neurons))

    def _receiver(self, index: int, place: int, layout: Layout, projections: tuple[ProjectionPlan, ...]) -> None:
        part, core = self.plan.parts[index], int(self.plan.neurocore[index])
        rows, name = layout.rows(part.start, part.stop), f"receiver_{index}"
        arrivals: list[Arrival] = []
        for entry in projections:
            bundle = entry.bundles[place]
            if not bundle.fan_out.any():
                continue
            host = entry.source == self.mapped.program.input.name
            for sender, neurons in [self.from_host[core]] if host else self.home[entry.source]:
                pairs = _pairs(entry.wiring, neurons, rows, filled=bundle.filled)
                if pairs is None or len(pairs[0]):
                    kind = "synop_graded" if entry.graded else f"synop_{bundle.format}"
                    arrivals.append(Arrival(synapse=kind, sender=sender, pairs=pairs))
        self.receive(name, core, len(rows), arrivals)


def _pairs(wiring: Wiring, sources: IntArray, rows: IntArray, *, filled: bool) -> tuple[IntArray, IntArray] | None:
    """Return the synapses from some source neurons to some rows, as places in both; None if all meet all."""
    if isinstance(wiring, Dense):
        return None
    if isinstance(wiring, OneToOne):
        met_rows = met_sources = np.arange(wiring.size)
    elif isinstance(wiring, Convolution):
        met_rows, met_sources = convolution_synapses(wiring)
    else:
        met_rows, met_sources = wiring.rows, wiring.sources.astype(np.int64)
    row_place, source_place = _place_of(rows, wiring.outputs), _place_of(sources, wiring.inputs)
    if filled:  # stored as a matrix: what reads one of its rows reads all
        reading = np.unique(source_place[met_sources[row_place[met_rows] >= 0]])
        reading = reading[reading >= 0]
        return np.repeat(reading, len(rows)), np.tile(np.arange(len(rows)), len(reading))
    kept = (row_place[met_rows] >= 0) & (source_place[met_sources] >= 0)
    return source_place[met_sources[kept]], row_place[met_rows[kept]]


def _place_of(chosen: IntArray, size: int) -> IntArray:
    """(size,): the place of each neuron among the chosen ones, -1 if it is none of them."""
    place = np.full(size, -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    return place
