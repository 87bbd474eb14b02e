"""Counted events of stream programs against one walk over every spike and every synapse."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.stream.activity import StreamActivity
from bispik.backends.stream.counts import (
    STREAM_EVENTS,
    STREAM_GRADED,
    STREAM_SYNOPS,
    StreamCounter,
    StreamCounts,
    count_stream,
)
from bispik.backends.stream.counts import count as counting
from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.compiler.demand import SynapseFormat, stored_format
from bispik.compiler.mapping import Slice
from bispik.compiler.mesh import distance
from bispik.compiler.routes import places_of
from bispik.compiler.stream.layout import LaidWiring, layout_of
from bispik.compiler.stream.mapping import MappedStream
from bispik.compiler.stream.program import StreamProgram
from bispik.compiler.stream.wiring import Dense, Sparse
from tests.stream.layers import one_layer
from tests.stream.mappings import mapped_small, silence
from tests.stream.random_programs import programs, random_input
from tests.stream.test_reach import synapses


def run(program: StreamProgram, seed: int, steps: int = 7) -> StreamActivity:
    return ReferenceStreamSession(program).feed(random_input(program, np.random.default_rng(seed), steps))


@settings(max_examples=80, deadline=None)
@given(programs(), st.integers(0, 99))
def test_counts_are_those_of_every_spike_on_its_way(program: StreamProgram, seed: int) -> None:
    mapped, activity = mapped_small(program), run(program, seed)
    counts = count_stream(mapped, activity)
    expected = walked(mapped, activity)
    by_slice = {(e, i): int(n) for e in STREAM_EVENTS for i, n in enumerate(counts.events[e].tolist()) if n}
    assert by_slice == {(e, i): n for (e, i), n in expected.by_slice.items() if n}
    for event in STREAM_EVENTS:
        assert counts.per_step[event].tolist() == [expected.by_step[event, t] for t in range(len(activity.input))]
    assert counts.host == expected.host
    assert counts.synops == sum(expected.synops.values())
    assert counts.saturations == activity.saturations


@settings(max_examples=40, deadline=None)
@given(programs(), st.integers(0, 99))
def test_counts_of_parts_add_up(program: StreamProgram, seed: int) -> None:
    mapped = mapped_small(program)
    values = random_input(program, np.random.default_rng(seed), 11)
    whole = count_stream(mapped, ReferenceStreamSession(program).feed(values))
    session, counter = ReferenceStreamSession(program), StreamCounter(mapped)
    parts = [counter.count(session.feed(part)) for part in (values[:4], values[4:5], values[5:])]
    assert_equal(parts[0] + parts[1] + parts[2], whole)
    assert [part.sequences for part in parts] == [1, 0, 0]


@settings(max_examples=20, deadline=None)
@given(programs(), st.integers(0, 99))
def test_many_steps_are_counted_block_by_block(program: StreamProgram, seed: int) -> None:
    mapped, activity = mapped_small(program), run(program, seed, 9)
    whole = count_stream(mapped, activity)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "NUMBERS_AT_ONCE", 2 * (program.input.size + sum(p.size for p in program.populations)))
        assert_equal(count_stream(mapped, activity), whole)


@settings(max_examples=30, deadline=None)
@given(programs())
def test_silence_costs_updates_alone(program: StreamProgram) -> None:
    mapped = mapped_small(program)
    counts = count_stream(mapped, silence(program, steps=5))
    neurons = sum(p.size for p in program.populations)
    assert {event: counts.total(event) for event in STREAM_EVENTS if counts.total(event)} == {
        "update_inactive": 5 * neurons
    }
    assert counts.host["input_values"] == counts.host["output_spikes"] == 0


@settings(max_examples=30, deadline=None)
@given(programs(), st.integers(0, 99))
def test_the_busiest_neurocore_of_every_step_is_kept(program: StreamProgram, seed: int) -> None:
    mapped, activity = mapped_small(program), run(program, seed)
    load, expected = count_stream(mapped, activity).load, walked(mapped, activity)
    neurons = [core.used("neurons") for core in mapped.neurocores]
    assert load.updates.tolist() == sorted(set(neurons))
    for step in range(len(activity.input)):
        for group, size in enumerate(load.updates.tolist()):
            busiest = max(expected.synops[step, i] for i, n in enumerate(neurons) if n == size)
            assert load.synops[step, group] == busiest


def test_a_second_sequence_starts_without_a_past() -> None:
    program = one_layer(Dense(inputs=3, outputs=2), delay=2)
    mapped, values = mapped_small(program), np.ones((4, 3), np.int32)
    counter = StreamCounter(mapped)
    first, second = (counter.count(ReferenceStreamSession(program).feed(values)) for _ in range(2))
    assert first.total("synop_dense") == second.total("synop_dense") == 2 * 3 * 2  # of 4 steps, 2 arrive
    assert (first + second).sequences == 2


def test_steps_that_are_left_out_are_noticed_where_they_matter() -> None:
    values = np.ones((4, 3), np.int32)
    for delay in (0, 2):
        program = one_layer(Dense(inputs=3, outputs=2), delay=delay)
        session = ReferenceStreamSession(program)
        session.feed(values)
        later = session.feed(values)
        if delay:
            with pytest.raises(ValueError, match="step 0 comes next, not 4"):
                count_stream(mapped_small(program), later)
        else:
            assert count_stream(mapped_small(program), later).sequences == 0


def assert_equal(ours: StreamCounts, theirs: StreamCounts) -> None:
    assert ours.to_dict() == theirs.to_dict()
    for event in STREAM_EVENTS:
        np.testing.assert_array_equal(ours.events[event], theirs.events[event])
        np.testing.assert_array_equal(ours.per_step[event], theirs.per_step[event])
    np.testing.assert_array_equal(ours.load.synops, theirs.load.synops)


class walked:  # noqa: N801 - a function with many results
    """Every spike of a run, followed to every synapse that it reaches."""

    def __init__(self, mapped: MappedStream, activity: StreamActivity) -> None:
        self.mapped, self.activity, self.program = mapped, activity, mapped.fabric
        self.sums = {part.name for part in mapped.parts}
        self.by_slice: Counter[tuple[str, int]] = Counter()
        self.by_step: Counter[tuple[str, int]] = Counter()
        self.synops: Counter[tuple[int, int]] = Counter()
        self.parts = [(place, part) for place, core in enumerate(mapped.neurocores) for part in core.slices]
        self.readers: dict[tuple[str, int], set[int]] = {}
        self.stored = self._stored()
        program = self.program
        graded = program.input.high > 1 or program.input.low < 0
        steps = len(activity.input)
        for step in range(steps):
            for index, (place, part) in enumerate(self.parts):
                active = np.zeros(part.stop - part.start, bool)
                for number, entry in enumerate(program.population(part.node).inputs):
                    if step < entry.delay:
                        continue
                    kind, matrix = self.stored[index, number]
                    met = matrix[:, self.sent(entry.source)[step - entry.delay] != 0]
                    active |= met.any(axis=1)
                    self._enter(STREAM_SYNOPS[kind], index, step, int(met.sum()))
                    if entry.source in self.sums or (entry.source == program.input.name and graded):
                        self._enter(STREAM_GRADED[kind], index, step, int(met.sum()))
                    self.synops[step, place] += int(met.sum())
                self._enter("update_active", index, step, int(active.sum()))
                self._enter("update_inactive", index, step, int((~active).sum()))
                if part.kind == "partial" or program.population(part.node).neurons.output == "spikes":
                    self._sent(index, step)
        output = program.population(program.output)
        sent = activity.sent[program.output]
        entries = np.argwhere(activity.input != 0)[:, 1].tolist()
        self.host = {
            "input_values": sum(len(self.readers.get((program.input.name, n), ())) for n in entries),
            "output_spikes": int(sent.sum()) if output.neurons.output == "spikes" else 0,
            "output_membranes": sent.size if output.neurons.output == "membrane" else 0,
        }

    def rows(self, part: Slice) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return layout_of(self.program.population(part.node)).neuron[part.start : part.stop]

    def sent(self, node: str) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
        return self.activity.input if node == self.program.input.name else self.activity.sent[node]

    def _stored(self) -> dict[tuple[int, int], tuple[SynapseFormat, np.ndarray]]:
        """By slice and projection: the format, and the stored synapses, (rows, inputs)."""
        stored: dict[tuple[int, int], tuple[SynapseFormat, np.ndarray]] = {}
        for index, (place, part) in enumerate(self.parts):
            for number, entry in enumerate(self.program.population(part.node).inputs):
                laid = LaidWiring(wiring=entry.wiring, layout=layout_of(self.program.population(part.node)))
                kind = stored_format(laid, part.start, part.stop, entry.bits, self.mapped.target)
                matrix = synapses(entry.wiring)[self.rows(part)]
                for neuron in np.flatnonzero(matrix.any(axis=0)).tolist():
                    self.readers.setdefault((entry.source, neuron), set()).add(place)
                if isinstance(entry.wiring, Sparse) and kind == "dense":
                    matrix = np.broadcast_to(matrix.any(axis=0), matrix.shape).astype(int)
                stored[index, number] = (kind, matrix)
        return stored

    def _enter(self, event: str, index: int, step: int, count: int) -> None:
        self.by_slice[event, index] += count
        self.by_step[event, step] += count

    def _sent(self, index: int, step: int) -> None:
        place, part = self.parts[index]
        places = places_of(self.mapped)
        rows = self.rows(part)
        for neuron in rows[np.flatnonzero(self.sent(part.node)[step, rows])].tolist():
            self._enter("graded_output" if part.node in self.sums else "spike", index, step, 1)
            for reader in self.readers.get((part.node, neuron), ()):
                here, there = places[np.array([place])], places[np.array([reader])]
                way = distance(self.mapped.target, self.mapped.system, here, there)
                self._enter("message", index, step, 1)
                self._enter("message_local", index, step, int(way.local[0]))
                self._enter("message_interchip", index, step, int(way.inter_chip[0]))
                self._enter("hop_x", index, step, int(way.x_hops[0]))
                self._enter("hop_y", index, step, int(way.y_hops[0]))
                self._enter("chip_crossing", index, step, int(way.crossings[0]))
