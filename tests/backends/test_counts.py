"""Event counts against a spike-by-spike oracle, and the laws that they obey."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.activity import Activity
from bispik.backends.counted import open_counted
from bispik.backends.counts import (
    EVENTS,
    GRADED,
    SYNOPS,
    EventCounter,
    EventCounts,
    Format,
    count_events,
    link_messages,
    mesh_traffic,
)
from bispik.backends.counts.steps import events_by_step
from bispik.backends.reference import ReferenceSession
from bispik.backends.registry import RunOptions
from bispik.compiler.mapping import MappedProgram, Slice
from bispik.compiler.mesh_links import Grid
from bispik.compiler.program import (
    IntegerAttention,
    IntegerNode,
    IntegerNorm,
    IntegerPopulation,
    IntegerReadout,
    QuantizedProgram,
)
from bispik.compiler.target import Target
from tests.mappings import few_axons, scattered, small_target
from tests.networks import Form, cut_form, forms, random_program, random_tokens

seeds = st.integers(0, 1000)
MOVED_EVENTS = {"hop_x", "hop_y", "chip_crossing", "message_local", "message_interchip"}


def run(program: QuantizedProgram, seed: int) -> Activity:
    return ReferenceSession(program).feed(random_tokens(program, seed))


def target_of(form: Form, memory: int) -> Target:
    """A norm lies on one neurocore, whole."""
    return small_target(max(memory, 400) if form["norm"] else memory)


def totals(counts: EventCounts) -> dict[str, int]:
    return {event: counts.total(event) for event in EVENTS}


@given(forms, seeds, st.sampled_from([200, 400, 120_000]))
@settings(max_examples=40)
def test_counts_are_those_of_a_spike_by_spike_oracle(form: Form, seed: int, memory: int) -> None:
    program = random_program(seed, **form)
    mapped = scattered(program, seed, target_of(form, memory))
    activity = run(program, seed)
    counts = count_events(mapped, activity)
    assert totals(counts) == dict.fromkeys(EVENTS, 0) | Oracle(mapped, activity).count()


@given(forms, seeds, st.integers(6, 9), st.booleans())
@settings(max_examples=40, deadline=None)
def test_counts_of_cut_rows_are_those_of_a_spike_by_spike_oracle(form: Form, seed: int, axons: int, wide: bool) -> None:
    program = random_program(seed, **cut_form(form, seed, wide=wide))
    mapped = scattered(program, seed, few_axons(axons))
    assert bool(mapped.parts) == (form["layers"] > 0 or (wide and form["readout_on_chip"]))
    activity = run(program, seed)
    counts = count_events(mapped, activity)
    assert totals(counts) == dict.fromkeys(EVENTS, 0) | Oracle(mapped, activity).count()
    with closing(open_counted("sim", mapped)) as session:
        tokens = random_tokens(program, seed)
        for part in (tokens[:2], tokens[2:]):
            if len(part):
                session.read(part)
        assert totals(session.counts()) == totals(counts)


@given(forms, seeds, st.sampled_from([200, 400]))
@settings(max_examples=20)
def test_counts_of_chunks_add_up_to_those_of_the_whole(form: Form, seed: int, memory: int) -> None:
    program = random_program(seed, **form)
    mapped = scattered(program, seed, target_of(form, memory))
    tokens = random_tokens(program, seed)
    whole = count_events(mapped, ReferenceSession(program).feed(tokens))
    session, counter = ReferenceSession(program), EventCounter(mapped)
    split = 1 + len(tokens) // 3
    sums = counter.count(session.feed(tokens[:split])) + counter.count(session.feed(tokens[split:]))
    for event in EVENTS:
        np.testing.assert_array_equal(sums.events[event], whole.events[event])
        np.testing.assert_array_equal(sums.per_token[event], whole.per_token[event])
    np.testing.assert_array_equal(sums.positions, whole.positions)
    np.testing.assert_array_equal(sums.load.pipelined, whole.load.pipelined)
    np.testing.assert_array_equal(sums.load.sequential, whole.load.sequential)
    np.testing.assert_array_equal(sums.load.links_pipelined, whole.load.links_pipelined)
    np.testing.assert_array_equal(sums.load.links_sequential, whole.load.links_sequential)
    np.testing.assert_array_equal(sums.sent, whole.sent)
    assert (sums.host, sums.saturations, sums.steps) == (whole.host, whole.saturations, whole.steps)


@given(forms, seeds)
@settings(max_examples=20)
def test_slices_and_tokens_have_the_same_sum(form: Form, seed: int) -> None:
    program = random_program(seed, **form)
    counts = count_events(scattered(program, seed), run(program, seed))
    for event in EVENTS:
        assert counts.total(event) == counts.per_token[event].sum() == counts.by_neurocore(event).sum()
        assert counts.total(event) == sum(counts.by_node(event).values())


@given(forms, seeds, st.sampled_from([200, 400]))
@settings(max_examples=20)
def test_time_steps_add_up_to_tokens(form: Form, seed: int, memory: int) -> None:
    program = random_program(seed, **form)
    mapped, activity = scattered(program, seed, target_of(form, memory)), run(program, seed)
    counts, by_step = count_events(mapped, activity), events_by_step(mapped, activity)
    for event in EVENTS:
        assert by_step[event].shape == (counts.tokens, form["steps"])
        np.testing.assert_array_equal(by_step[event].sum(axis=1), counts.per_token[event])


@given(forms, seeds)
@settings(max_examples=20)
def test_what_happens_in_a_time_step_is_counted_there(form: Form, seed: int) -> None:
    program = random_program(seed, **form)
    mapped, activity = scattered(program, seed), run(program, seed)
    by_step, last = events_by_step(mapped, activity), form["steps"] - 1
    quiet = replace(
        activity,
        outputs={name: _silent_at(output, last) for name, output in activity.outputs.items()},
        score_spikes={name: _silent_at(spikes, last) for name, spikes in activity.score_spikes.items()},
    )
    quieter = count_events(mapped, quiet)
    for event in ("spike", "graded_output", "message", "hop_x", *SYNOPS.values()):
        np.testing.assert_array_equal(quieter.per_token[event], by_step[event][:, :last].sum(axis=1))


def _silent_at(outputs: np.ndarray[Any, Any], step: int) -> np.ndarray[Any, Any]:
    silent = outputs.copy()
    silent[:, step] = 0
    return silent


def test_time_steps_are_counted_from_the_start_of_a_sequence() -> None:
    program = random_program(0)
    session = ReferenceSession(program)
    session.feed(random_tokens(program, 0)[:1])
    with pytest.raises(ValueError, match="from its start"):
        events_by_step(scattered(program, 0), session.feed(random_tokens(program, 0)[1:2]))


@given(forms, seeds)
@settings(max_examples=20)
def test_every_neuron_pays_one_update_in_every_step(form: Form, seed: int) -> None:
    program = random_program(seed, **form)
    mapped = scattered(program, seed)
    counts = count_events(mapped, run(program, seed))
    neurons = [part.use["neurons"] for core in mapped.neurocores for part in core.slices]
    np.testing.assert_array_equal(counts.neurons, neurons)
    updates = counts.events["update_active"] + counts.events["update_inactive"]
    np.testing.assert_array_equal(updates, counts.neurons * counts.steps)


@given(forms, seeds, st.sampled_from([200, 400, 120_000]), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_the_simulator_counts_the_same_while_it_runs(form: Form, seed: int, memory: int, split: int) -> None:
    program = random_program(seed, **form)
    mapped = scattered(program, seed, target_of(form, memory))
    tokens = random_tokens(program, seed)
    recorded = count_events(mapped, run(program, seed))
    with closing(open_counted("sim", mapped, RunOptions(threads=1 + seed % 2))) as session:
        for part in (tokens[:split], tokens[split:]):
            if len(part):
                session.read(part)
        counted = session.counts()
    assert counted.to_dict() == recorded.to_dict()
    for event in EVENTS:
        np.testing.assert_array_equal(counted.events[event], recorded.events[event])
        np.testing.assert_array_equal(counted.per_token[event], recorded.per_token[event])
    np.testing.assert_array_equal(counted.load.sequential, recorded.load.sequential)
    np.testing.assert_array_equal(counted.load.pipelined, recorded.load.pipelined)
    np.testing.assert_array_equal(counted.positions, recorded.positions)
    assert counted.saturations == recorded.saturations


@given(forms, seeds)
@settings(max_examples=20)
def test_no_spikes_no_synops_no_messages(form: Form, seed: int) -> None:
    program = random_program(seed, **form)
    silent = replace(
        activity := run(program, seed),
        outputs={name: np.zeros_like(output) for name, output in activity.outputs.items()},
        score_spikes={name: np.zeros_like(output) for name, output in activity.score_spikes.items()},
    )
    counts = count_events(scattered(program, seed), silent)
    quiet = set(EVENTS) - {"update_active", "update_inactive", "norm_operation", "kv_bit_written"}
    assert {event: counts.total(event) for event in quiet} == dict.fromkeys(quiet, 0)
    assert counts.total("update_active") == program.injection.size * counts.steps  # the host's current


@given(forms, seeds, seeds)
@settings(max_examples=20)
def test_moving_neurocores_changes_ways_only(form: Form, seed: int, other: int) -> None:
    program = random_program(seed, **form)
    activity = run(program, seed)
    here, there = (count_events(scattered(program, place), activity) for place in (seed, other))
    for event in set(EVENTS) - MOVED_EVENTS:
        np.testing.assert_array_equal(here.events[event], there.events[event])
    np.testing.assert_array_equal(here.load.sequential, there.load.sequential)


def test_one_large_neurocore_has_local_messages_only() -> None:
    program = random_program(3)
    mapped = scattered(program, 0)
    parts = tuple(part for core in mapped.neurocores for part in core.slices)
    alone = replace(mapped, neurocores=(replace(mapped.neurocores[0], index=0, slices=parts),))
    counts = count_events(alone, run(program, 0))
    assert counts.total("message") == counts.total("message_local") > 0
    assert counts.total("hop_x", "hop_y", "chip_crossing", "message_interchip") == 0


@given(forms, seeds, st.sampled_from([200, 400, 120_000]))
@settings(max_examples=20)
def test_step_loads_hold_the_busiest_neurocore(form: Form, seed: int, memory: int) -> None:
    program = random_program(seed, **form)
    mapped = scattered(program, seed, target_of(form, memory))
    activity = run(program, seed)
    counts = count_events(mapped, activity)
    tokens, steps = len(activity.token_ids), program.steps_per_token
    pipelined = np.zeros((tokens, steps, len(counts.load.updates)), np.int64)
    sequential = np.zeros((tokens, steps + counts.depth, len(counts.load.updates)), np.int64)
    for core in mapped.neurocores:
        group = counts.load.updates.tolist().index(sum(part.use["neurons"] for part in core.slices))
        at_once, behind = np.zeros_like(pipelined[..., 0]), np.zeros_like(sequential[..., 0])
        for part in core.slices:
            for token in range(tokens):
                for step in range(steps):
                    oracle = Oracle(mapped, activity)
                    oracle.receive(part, token, step)
                    synops = sum(oracle.counts[event] for event in SYNOPS.values())
                    at_once[token, step] += synops
                    behind[token, step + mapped.skew[part.node]] += synops
        np.maximum(pipelined[..., group], at_once, out=pipelined[..., group])
        np.maximum(sequential[..., group], behind, out=sequential[..., group])
    np.testing.assert_array_equal(counts.load.pipelined, pipelined)
    np.testing.assert_array_equal(counts.load.sequential, sequential)


@given(forms, seeds, st.sampled_from([200, 400, 120_000]))
@settings(max_examples=20)
def test_links_carry_what_a_walk_over_the_mesh_says(form: Form, seed: int, memory: int) -> None:
    program = random_program(seed, **form)
    mapped = scattered(program, seed, target_of(form, memory))
    activity = run(program, seed)
    counts, grid = count_events(mapped, activity), Grid.of(mapped.target, mapped.system)
    tokens, steps = len(activity.token_ids), program.steps_per_token
    at_once = np.zeros((tokens, steps, grid.links), np.int64)
    behind = np.zeros((tokens, steps + counts.depth, grid.links), np.int64)
    for core in mapped.neurocores:
        for part in core.slices:
            for token in range(tokens):
                for step in range(steps):
                    oracle = Oracle(mapped, activity)
                    oracle.send(core.index, part, token, step)
                    for link, messages in oracle.links.items():
                        at_once[token, step, link] += messages
                        behind[token, step + mapped.skew[part.node], link] += messages
    carried = link_messages(mapped, counts)
    np.testing.assert_array_equal(carried, at_once.sum(axis=(0, 1)))
    between = grid.between_chips(np.arange(grid.links))
    assert carried[between].sum() == counts.total("chip_crossing")
    assert carried[~between].sum() == counts.total("hop_x", "hop_y")
    for kind, links in enumerate((~between, between)):
        np.testing.assert_array_equal(counts.load.links_pipelined[..., kind], at_once[..., links].max(axis=2))
        np.testing.assert_array_equal(counts.load.links_sequential[..., kind], behind[..., links].max(axis=2))
    traffic = mesh_traffic(mapped, counts)
    assert traffic.loads.sum() == pytest.approx(traffic.comparison.placed.links)


def test_a_plan_is_made_once_and_goes_with_its_mapping() -> None:
    mapped = scattered(random_program(1), 0)
    plan = EventCounter(mapped).plan
    assert EventCounter(mapped).plan is plan
    kept = weakref.ref(mapped)
    del mapped
    gc.collect()
    assert kept() is None


def test_tokens_left_out_are_noticed_where_they_matter() -> None:
    program = random_program(1, window=8)
    session = ReferenceSession(program)
    session.feed([1, 2])
    later = session.feed([3])
    spread = scattered(program, 0, small_target(150))
    assert any(part.first_token > 0 for core in spread.neurocores for part in core.slices)
    with pytest.raises(ValueError, match="token 0 comes next, not 2"):
        count_events(spread, later)
    whole = scattered(program, 0, small_target(120_000))
    assert count_events(whole, later).tokens == 1


def test_counts_of_different_mappings_do_not_add_up() -> None:
    program = random_program(1)
    one, other = (scattered(program, 0, small_target(memory)) for memory in (200, 400))
    activity = run(program, 1)
    with pytest.raises(ValueError, match="different mappings"):
        _ = count_events(one, activity) + count_events(other, activity)


def test_host_operations_of_a_token() -> None:
    program = random_program(0, heads=2, head_dim=3, vocabulary=11, steps=4, readout_on_chip=True)
    host = count_events(scattered(program, 0), ReferenceSession(program).feed([1, 2])).host
    per_token = {operation: count // 2 for operation, count in host.items()}
    assert per_token == {
        "embedding_reads": 12,
        "embedding_additions": 6,
        "embedding_multiplications": 0,
        "injected_currents": 24,
        "residual_reads": 24,
        "residual_additions": 18,
        "head_multiply_accumulates": 0,
        "accumulator_reads": 11,
        "norm_operations": 4 * 6 + 2 + 11,
        "bias_additions": 0,
        "sampling_comparisons": 10,
    }


class Oracle:
    """Follows every single spike; slow and obvious."""

    def __init__(self, mapped: MappedProgram, activity: Activity) -> None:
        self.mapped, self.activity, self.program = mapped, activity, mapped.program
        self.nodes: dict[str, IntegerNode] = {node.name: node for node in mapped.program.nodes}
        self.parts = {part.name: part for part in mapped.parts}
        self.nodes |= {part.name: self.nodes[part.node] for part in mapped.parts}
        self.outputs: dict[str, np.ndarray] = {**activity.outputs}
        for part in mapped.parts:
            node = mapped.program.node(part.node)
            assert isinstance(node, IntegerPopulation | IntegerReadout)
            weight = node.weight if isinstance(node, IntegerReadout) else node.inputs[part.index].weight
            assert weight is not None
            sums = np.zeros((*activity.outputs[part.source].shape[:2], node.size), np.int64)
            for channel in range(part.start, part.stop):
                arriving = activity.outputs[part.source][:, :, channel, None].astype(np.int64)
                sums += arriving * weight[:, channel].astype(np.int64)
            self.outputs[part.name] = sums
        self.counts: Counter[str] = Counter()
        self.links: Counter[int] = Counter()
        """Messages over each link."""

    def count(self) -> dict[str, int]:
        for token in range(len(self.activity.token_ids)):
            for step in range(self.program.steps_per_token):
                for core in self.mapped.neurocores:
                    for part in core.slices:
                        self.receive(part, token, step)
                        self.send(core.index, part, token, step)
        return dict(self.counts)

    def receive(self, part: Slice, token: int, step: int) -> None:
        node = self.nodes[part.node]
        if isinstance(node, IntegerAttention):
            self.attend(part, node, token, step)
            return
        touched: set[int] = set()
        for source in self.sources(part):
            if source == self.program.injection.name:
                touched |= set(range(part.start, part.stop))
                continue
            for channel in np.flatnonzero(self.outputs[source][token, step]).tolist():
                if part.node in self.parts and not self.parts[part.node].start <= channel < self.parts[part.node].stop:
                    continue
                rows, event = self.synapses(part, node, source, channel)
                touched |= set(rows)
                self.counts[SYNOPS[event]] += len(rows)
                if source in self.parts or not isinstance(self.nodes[source], IntegerPopulation):
                    self.counts[GRADED[event]] += len(rows)
        self.update(part.stop - part.start, len(touched))
        if isinstance(node, IntegerNorm):
            channels = range(node.size)
            squares, products, quotients = len(channels) + 1, len(channels) + 1, len(channels)
            self.counts["norm_operation"] += squares + products + quotients + 1

    def sources(self, part: Slice) -> Sequence[str]:
        """What a slice reads: of a part its source, of a node that is cut the parts instead of what these read."""
        if part.node in self.parts:
            return [self.parts[part.node].source]
        node = self.nodes[part.node]
        cut = [(index, name) for name, own in self.parts.items() if own.node == node.name for index in [own.index]]
        return [
            name
            for index, source in enumerate(node.sources)
            for name in ([name for place, name in cut if place == index] or [source])
        ]

    def synapses(self, part: Slice, node: IntegerNode, source: str, channel: int) -> tuple[Sequence[int], Format]:
        rows = range(part.start, part.stop)
        if source in self.parts:
            return [row for row in rows if row == channel], "one_to_one"
        if isinstance(node, IntegerReadout):
            return rows, "readout"
        if isinstance(node, IntegerPopulation):
            weight = next(p.weight for p in node.inputs if p.source == source)
            if weight is not None and weight.ndim == 2:
                return rows, "dense"
        return [row for row in rows if row == channel], "one_to_one"

    def attend(self, part: Slice, node: IntegerAttention, token: int, step: int) -> None:
        position = self.activity.first_position + token
        touched: set[tuple[int, int]] = set()
        for channel in range(part.start, part.stop):
            head = channel // node.head_dim
            for stored in range(part.first_token, min(part.last_token, position + 1)):
                if self.activity.outputs[node.query][token, step, channel]:
                    self.counts["synop_score"] += 1
                    touched.add((head, stored))
                if self.activity.score_spikes[node.name][token, step, head, stored]:
                    self.counts["synop_value"] += 1
                    touched.add((-1, channel))
                    if channel % node.head_dim == 0:
                        self.counts.update(["spike", "message", "message_local"])
        bits = 2 if node.neurons.spikes == "ternary" else 1
        if part.first_token <= position < part.last_token:
            self.counts["kv_bit_written"] += 2 * bits * (part.stop - part.start)
        self.counts["kv_bit_read"] = bits * (self.counts["synop_score"] + self.counts["synop_value"])
        rows = part.stop - part.start
        self.update(rows + rows // node.head_dim * (part.last_token - part.first_token), len(touched))

    def update(self, neurons: int, active: int) -> None:
        self.counts["update_active"] += active
        self.counts["update_inactive"] += neurons - active

    def send(self, core: int, part: Slice, token: int, step: int) -> None:
        node = self.nodes[part.node]
        if part.kind == "readout":
            return
        for channel in range(part.start, part.stop):
            if not self.sends(part, node, token, step, channel):
                continue
            self.counts["graded_output" if part.kind != "population" else "spike"] += 1
            for reader in self.readers(part.node, channel):
                self.travel(core, reader)

    def sends(self, part: Slice, node: IntegerNode, token: int, step: int, channel: int) -> bool:
        if not isinstance(node, IntegerAttention):
            return bool(self.outputs[part.node][token, step, channel])
        stored = range(part.first_token, min(part.last_token, len(self.activity.token_ids)))
        head = channel // node.head_dim
        scores = self.activity.score_spikes[node.name][token, step, head]
        values = self.activity.outputs[node.value]
        return sum(int(scores[j]) * int(values[j, step, channel]) for j in stored) != 0

    def readers(self, source: str, channel: int) -> list[int]:
        return [
            core.index
            for core in self.mapped.neurocores
            if any(
                entry.source == source and entry.start <= channel < entry.stop
                for part in core.slices
                for entry in part.inputs
            )
        ]

    def travel(self, source: int, destination: int) -> None:
        here, there = self.mapped.neurocores[source], self.mapped.neurocores[destination]
        mesh, columns = self.mapped.target.mesh, self.mapped.system.chip_columns.value
        width, height = mesh.columns.value, mesh.rows.value
        self.counts["message"] += 1
        self.counts["message_local"] += (here.chip, here.x, here.y) == (there.chip, there.x, there.y)
        self.counts["message_interchip"] += here.chip != there.chip
        spots = [(c.chip % columns * width + c.x, c.chip // columns * height + c.y) for c in (here, there)]
        crossings = [abs(here.chip % columns - there.chip % columns), abs(here.chip // columns - there.chip // columns)]
        self.counts["chip_crossing"] += sum(crossings)
        self.counts["hop_x"] += abs(spots[0][0] - spots[1][0]) - crossings[0]
        self.counts["hop_y"] += abs(spots[0][1] - spots[1][1]) - crossings[1]
        self.walk(*spots)

    def walk(self, here: tuple[int, int], there: tuple[int, int]) -> None:
        """Go link by link, first along x and then along y."""
        grid = Grid.of(self.mapped.target, self.mapped.system)
        (x, y), (goal_x, goal_y) = here, there
        while (x, y) != (goal_x, goal_y):
            step_x = (goal_x > x) - (goal_x < x)
            step_y = 0 if step_x else (goal_y > y) - (goal_y < y)
            direction = {(1, 0): 0, (-1, 0): 1, (0, 1): 2, (0, -1): 3}[step_x, step_y]
            self.links[(direction * grid.rows + y) * grid.columns + x] += 1
            x, y = x + step_x, y + step_y
