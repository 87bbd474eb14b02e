"""What must hold of every mapping of every language model, held against walks that share no sum with the compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bispik.backends.activity import Activity
from bispik.backends.counted import open_counted
from bispik.backends.counts import Event, count_events
from bispik.backends.reference import ReferenceSession
from bispik.compiler.artifact import load_program, save_program
from bispik.compiler.mapping import MappedProgram, Slice
from bispik.compiler.program import (
    IntegerAttention,
    IntegerNode,
    IntegerPopulation,
    IntegerReadout,
    QuantizedProgram,
)
from bispik.compiler.routes import expected_traffic, routes
from bispik.compiler.rules import check
from bispik.compiler.target import Target
from tests.mapped_run import MappedRun
from tests.mappings import placed, scattered, small_target
from tests.networks import Form, forms, random_program, random_tokens

seeds = st.integers(0, 1000)
memories = st.sampled_from([200, 400, 120_000])


def target_of(form: Form, memory: int) -> Target:
    """A norm lies on one neurocore, whole."""
    return small_target(max(memory, 400) if form["norm"] else memory)


@given(forms, seeds, memories)
@settings(max_examples=60, deadline=None)
def test_a_mapped_program_gives_the_spikes_of_the_unmapped_one(form: Form, seed: int, memory: int) -> None:
    program = random_program(seed, **form)
    tokens = random_tokens(program, seed)
    expected = ReferenceSession(program).feed(tokens)
    found = MappedRun(placed(program, target_of(form, memory)), tokens)
    for name, outputs in expected.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], outputs)
    np.testing.assert_array_equal(found.accumulators, expected.accumulators)


@given(forms, seeds, memories)
@settings(max_examples=40, deadline=None)
def test_every_neuron_and_every_synapse_is_on_one_neurocore(form: Form, seed: int, memory: int) -> None:
    program = random_program(seed, **form)
    mapped = placed(program, target_of(form, memory))
    nodes = {node.name: node for node in program.nodes}
    neurons = {name: np.zeros(node.size, int) for name, node in nodes.items()}
    stored = {name: np.zeros((node.size, program.window), int) for name, node in nodes.items() if is_attention(node)}
    held: dict[tuple[str, int], npt.NDArray[Any]] = {
        key: np.zeros(weight.shape, int) for key, weight in weights(program).items()
    }
    for part in (part for core in mapped.neurocores for part in core.slices):
        rows = slice(part.start, part.stop)
        neurons[part.node][rows] += part.first_token == 0
        if part.node in stored:
            stored[part.node][rows, part.first_token : part.last_token] += 1
        for entry in part.inputs:
            if (key := (part.node, entry.index)) in held:
                if held[key].ndim == 2:
                    held[key][rows, entry.start : entry.stop] += 1
                else:
                    held[key][rows] += 1
    on_host = {program.injection.name} | ({program.readout.name} - {n for n in neurons if program.readout.on_chip})
    for name, count in neurons.items():
        assert (count == (0 if name in on_host else 1)).all(), name
    assert all((count == 1).all() for count in stored.values())
    for (name, _), count in held.items():
        assert (count == (0 if name in on_host else 1)).all(), name


@given(forms, seeds, memories)
@settings(max_examples=40, deadline=None)
def test_no_neurocore_holds_more_than_the_sheet_allows(form: Form, seed: int, memory: int) -> None:
    """Neurons, axons and bytes are added up row by row and axon by axon, not taken from what the slices say."""
    program = random_program(seed, **form)
    target = target_of(form, memory)
    mapped = placed(program, target)
    limits = {name: limit.value for name, limit in target.resources.items()}
    for core in mapped.neurocores:
        used = dict.fromkeys(limits, 0)
        for part in core.slices:
            for name, amount in walked_use(part, program, target).items():
                used[name] += amount
        assert used == {name: core.used(name) for name in limits}
        assert all(used[name] <= limit for name, limit in limits.items())
    check(mapped)


def walked_use(part: Slice, program: QuantizedProgram, target: Target) -> dict[str, int]:
    """What a slice takes of each resource."""
    node, state, word = program.node(part.node), target.state, target.storage.synapse_word_bits.value
    read_by = [source for other in program.nodes if lies_on_chip(other) for source in other.sources]
    neurons = axons_in = bits = state_bytes = 0
    for row in range(part.start, part.stop):
        neurons += 1
        match node:
            case IntegerAttention():
                state_bytes += state.attention_output.value
            case IntegerReadout():
                state_bytes += state.readout.value
            case IntegerPopulation():
                state_bytes += state.bispik.value
            case _:
                state_bytes += state.join.value if part.kind == "join" else state.norm.value
        if isinstance(node, IntegerAttention) and row % node.head_dim == 0:
            for _ in range(part.first_token, part.last_token):
                neurons += 1
                state_bytes += state.score.value
    if isinstance(node, IntegerAttention):
        ternary = {p.name for p in program.of_kind(IntegerPopulation) if p.neurons.spikes == "ternary"}
        per_channel = sum(2 if source in ternary else 1 for source in (node.key, node.value))
        tokens = part.last_token - part.first_token
        state_bytes += -(-tokens * (part.stop - part.start) * program.steps_per_token * per_channel // 8)
    for index, source in enumerate(node.sources):
        if source == program.injection.name:
            continue
        weight = weights(program).get((node.name, index))
        matrix = weight is not None and weight.ndim == 2
        for _ in range(program.node(source).size if matrix else part.stop - part.start):
            axons_in += 1
            if not isinstance(node, IntegerAttention):
                per_synapse = 8 if weight is not None else 1  # weights of 1 take a bit, for they are there
                bits += -(-per_synapse * (part.stop - part.start if matrix else 1) // word) * word
    axons_out = (part.stop - part.start) * read_by.count(part.node)
    tables = axons_in * target.storage.axon_in_bytes.value + axons_out * target.storage.axon_out_bytes.value
    return {
        "neurons": neurons,
        "memory": -(-bits // 8) + state_bytes + tables,
        "synapse_memory": -(-bits // 8),
        "state_memory": state_bytes,
        "axons_in": axons_in,
        "axons_out": axons_out,
    }


@given(forms, seeds, memories)
@settings(max_examples=40, deadline=None)
def test_traffic_computed_from_the_mapping_is_what_the_simulator_counts(form: Form, seed: int, memory: int) -> None:
    """Spikes of every range of outputs times the ways of its multicast, against the events that the engine counted."""
    program = random_program(seed, **form)
    mapped = scattered(program, seed, target_of(form, memory))
    tokens = random_tokens(program, seed)
    with closing(open_counted("sim", mapped)) as session:
        session.read(tokens)
        counts = session.counts()
    found, activity = routes(mapped), ReferenceSession(program).feed(tokens)
    casts, way = found.multicasts, found.distance
    partial = partial_outputs(mapped, activity)
    sent = np.array(
        [
            np.count_nonzero(partial.get((node, first), activity.outputs[node])[:, :, start:stop])
            for node, first, start, stop in zip(
                casts.nodes, casts.first_token.tolist(), casts.start.tolist(), casts.stop.tolist(), strict=True
            )
        ],
        np.int64,
    )
    # A score spike is a message of a neurocore to itself, which no route is needed for.
    scores = sum(int(np.count_nonzero(spikes)) for spikes in activity.score_spikes.values())
    assert counts.total("message") == int(sent @ casts.fan_out) + scores
    expected: tuple[tuple[Event, npt.NDArray[np.int64]], ...] = (
        ("hop_x", way.x_hops),
        ("hop_y", way.y_hops),
        ("chip_crossing", way.crossings),
        ("message_interchip", way.inter_chip.astype(np.int64)),
    )
    for event, ways in expected:
        assert counts.total(event) == int(sent @ casts.per_range(ways)), event
    assert counts.total("message_local") == int(sent @ casts.per_range(way.local.astype(np.int64))) + scores


def partial_outputs(mapped: MappedProgram, activity: Activity) -> dict[tuple[str, int], npt.NDArray[Any]]:
    """What each range of stored tokens of an attention sends, by name and first token."""
    parts: dict[tuple[str, int], npt.NDArray[Any]] = {}
    tokens = len(activity.token_ids)
    ranges = {
        (part.node, part.first_token, part.last_token)
        for part in chain.from_iterable(core.slices for core in mapped.neurocores)
        if part.kind == "attention"
    }
    for name, first, last in ranges:
        node = mapped.program.node(name)
        assert isinstance(node, IntegerAttention)
        scores = activity.score_spikes[name][..., first : min(last, tokens)].astype(np.int64)
        values = activity.outputs[node.value][first : min(last, tokens)].astype(np.int64)
        values = values.reshape(*values.shape[:2], node.heads, node.head_dim)
        parts[name, first] = np.einsum("nthj,jthd->nthd", scores, values).reshape(*scores.shape[:2], node.size)
    return parts


@given(forms, seeds)
@settings(max_examples=20, deadline=None)
def test_traffic_that_placement_expects_is_counted_where_every_output_is_sent(form: Form, seed: int) -> None:
    program = random_program(seed, **form)
    mapped = scattered(program, seed)
    activity = ReferenceSession(program).feed(random_tokens(program, seed))
    if any(part.first_token for core in mapped.neurocores for part in core.slices):
        return  # a part of a head sends what its own stored tokens add up to
    full = Activity(
        first_position=0,
        token_ids=activity.token_ids,
        outputs={name: np.ones_like(values) for name, values in activity.outputs.items()},
        score_spikes={name: np.zeros_like(values) for name, values in activity.score_spikes.items()},
        accumulators=activity.accumulators,
        membranes={},
        saturations=activity.saturations,
    )
    counts = count_events(mapped, full)
    expected = expected_traffic(routes(mapped), dict.fromkeys(activity.outputs, 1.0))
    found = (counts.total("message"), counts.total("hop_x", "hop_y"), counts.total("chip_crossing"))
    assert found == tuple(counts.steps * each for each in (expected.messages, expected.hops, expected.crossings))


@given(forms, seeds, memories)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_program_gives_a_byte_identical_file(tmp_path: Path, form: Form, seed: int, memory: int) -> None:
    first, second = tmp_path / "first.bspk", tmp_path / "second.bspk"
    for path in (first, second):
        save_program(placed(random_program(seed, **form), target_of(form, memory)), path)
    assert first.read_bytes() == second.read_bytes()
    save_program(load_program(first), second)
    assert first.read_bytes() == second.read_bytes()


SAVED = """
import hashlib, pathlib, sys
from bispik.compiler.artifact import save_program
from bispik.compiler.plan import map_program
from bispik.compiler.stream.artifact import save_stream
from bispik.compiler.stream.wiring import Dense
from tests.mappings import small_target
from tests.networks import random_program
from tests.stream.layers import one_layer
from bispik.compiler.stream.mapping import map_stream
path = pathlib.Path(sys.argv[1])
save_program(map_program(random_program(3, layers=2), small_target(400)), path)
print(hashlib.sha256(path.read_bytes()).hexdigest())
save_stream(map_stream(one_layer(Dense(inputs=9, outputs=40)), small_target(400)), path)
print(hashlib.sha256(path.read_bytes()).hexdigest())
"""


def test_another_process_with_another_order_of_hashes_writes_the_same_bytes(tmp_path: Path) -> None:
    found = [
        subprocess.run(
            [sys.executable, "-c", SAVED, str(tmp_path / f"{seed}.bspk")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]
    assert len(found[0].split()) == 2


def weights(program: QuantizedProgram) -> dict[tuple[str, int], npt.NDArray[Any]]:
    """The weights of every population and the readout, by node and input."""
    found = {
        (node.name, index): entry.weight
        for node in program.of_kind(IntegerPopulation)
        for index, entry in enumerate(node.inputs)
        if entry.weight is not None
    }
    return found | {(program.readout.name, 0): program.readout.weight}


def lies_on_chip(node: IntegerNode) -> bool:
    return not isinstance(node, IntegerReadout) or node.on_chip


def is_attention(node: IntegerNode) -> bool:
    return isinstance(node, IntegerAttention)
