"""The engine's own counts are those of a record of the same run, which another test walks spike by spike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.counts.by_slice import IntArray
from bispik.backends.registry import RunOptions
from bispik.backends.sim.kernel_path import VARIABLE, available_paths
from bispik.backends.stream import run as running
from bispik.backends.stream.activity import StreamActivity
from bispik.backends.stream.counts import STREAM_EVENTS, StreamCounter, StreamCounts
from bispik.backends.stream.counts.native import NativeCounting
from bispik.backends.stream.counts.plan import stream_plan
from bispik.backends.stream.counts.totals import stream_counts
from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.backends.stream.run import counted_stream
from bispik.backends.stream.sim import SimStreamSession
from bispik.compiler.stream.mapping import MappedStream, map_stream
from bispik.compiler.stream.program import IntegerStreamProjection, StreamProgram
from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Sparse, Wiring
from bispik.compiler.target import load_target
from bispik.models.errors import BispikError
from tests.stream.layers import one_layer
from tests.stream.mappings import mapped_drawn, mapped_small
from tests.stream.random_programs import LARGER, programs, random_input
from tests.stream.small_programs import constants, population, program_of, random_synapses


def assert_equal(ours: StreamCounts, theirs: StreamCounts) -> None:
    assert ours.to_dict() == theirs.to_dict()
    assert (ours.node, ours.neurocores, ours.depth) == (theirs.node, theirs.neurocores, theirs.depth)
    assert dict(ours.saturations) == dict(theirs.saturations)
    pairs: list[tuple[IntArray, IntArray]] = [
        (ours.neurocore, theirs.neurocore),
        (ours.neurons, theirs.neurons),
        (ours.load.updates, theirs.load.updates),
        (ours.load.synops, theirs.load.synops),
    ]
    for event in STREAM_EVENTS:
        pairs += [(ours.events[event], theirs.events[event]), (ours.per_step[event], theirs.per_step[event])]
    for one, other in pairs:
        assert one.dtype == other.dtype == np.int64
        np.testing.assert_array_equal(one, other)


def assert_counted_alike(
    mapped: MappedStream, parts: Sequence[npt.NDArray[np.int32]], paths: Sequence[str] = (), threads: int = 1
) -> None:
    """Feed parts to an engine that counts and to the reference, whose record is counted."""
    program = mapped.program
    reference, counter = ReferenceStreamSession(program), StreamCounter(mapped)
    expected = [(activity, counter.count(activity)) for activity in map(reference.feed, parts)]
    counting = NativeCounting(stream_plan(mapped))
    for path in paths or available_paths():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, path)
            sim = SimStreamSession(program, [program.output], threads=threads, counting=counting)
        for part, (activity, counts) in zip(parts, expected, strict=True):
            found, tally = sim.feed_counted(part, {program.output})
            assert_equal(stream_counts(counting.plan, tally), counts)
            assert list(found.sent) == list(found.membranes) == [program.output]
            np.testing.assert_array_equal(found.sent[program.output], activity.sent[program.output])


def split_input(program: StreamProgram, seed: int, steps: int, split: int) -> list[npt.NDArray[np.int32]]:
    values = random_input(program, np.random.default_rng(seed), steps)
    return [part for part in (values[:split], values[split:]) if len(part)]


@settings(max_examples=100, deadline=None)
@given(program=programs(), seed=st.integers(0, 99), split=st.integers(1, 80), threads=st.integers(1, 2))
def test_the_engine_counts_what_a_record_holds(program: StreamProgram, seed: int, split: int, threads: int) -> None:
    steps = 11 if seed % 2 else 75
    assert_counted_alike(mapped_small(program), split_input(program, seed, steps, split), threads=threads)


@settings(max_examples=30, deadline=None)
@given(
    program=programs(largest=180, shapes=LARGER),
    seed=st.integers(0, 99),
    split=st.integers(1, 30),
    path=st.sampled_from(available_paths()),
    threads=st.integers(1, 3),
)
def test_larger_programs(program: StreamProgram, seed: int, split: int, path: str, threads: int) -> None:
    mapped = mapped_drawn(program, load_target("loihi2"))
    assert_counted_alike(mapped, split_input(program, seed, 24, split), [path], threads)


def maps(channels: int, groups: int) -> Convolution:
    return Convolution(
        source=(8, 13, 9),
        target=(channels, 7, 9),
        kernel=(3, 3),
        stride=(2, 1),
        padding=(1, 1),
        dilation=(1, 1),
        groups=groups,
    )


def random_bundle(source: str, wiring: Wiring, seed: int, *, delay: int = 0) -> IntegerStreamProjection:
    drawn = random_synapses(source, wiring, seed, delay=delay)
    return replace(drawn, weight=np.maximum(drawn.weight, -127))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rate", [0.02, 0.6])
def test_maps_whose_groups_differ_on_one_population(rate: float, threads: int) -> None:
    grouped = [random_bundle("input", maps(8, groups), groups, delay=delay) for delay, groups in enumerate((1, 2, 4))]
    apart = random_bundle("p", OneToOne(size=8 * 63), 3, delay=2)
    some = Sparse(
        inputs=8 * 63,
        outputs=40,
        starts=np.arange(41, dtype=np.int64) * 12,
        sources=np.sort(np.arange(480, dtype=np.int32).reshape(40, 12) * 37 % 504, axis=1).ravel(),
    )
    layers = (
        population("p", constants(8 * 63, threshold=1 << 9), *grouped),
        population("q", constants(8 * 63, threshold=1 << 9), grouped[0], apart),
        population("r", constants(40, threshold=100), random_bundle("q", some, 5)),
        population("s", constants(9), random_bundle("r", Dense(inputs=40, outputs=9), 6, delay=1)),
    )
    program = program_of(8 * 13 * 9, *layers)
    values = (np.random.default_rng(1).random((140, program.input.size)) < rate).astype(np.int32)
    mapped = map_stream(program, load_target("loihi2"))
    assert_counted_alike(mapped, [values[:70], values[70:73], values[73:]], threads=threads)


def test_a_delay_looks_back_over_feeds_and_not_before_the_sequence() -> None:
    program = one_layer(Dense(inputs=3, outputs=2), delay=2)
    counting = NativeCounting(stream_plan(mapped_small(program)))
    for _ in range(2):
        session, found = SimStreamSession(program, counting=counting), list[StreamCounts]()
        for steps in (1, 3):
            tally = session.feed_counted(np.ones((steps, 3), np.int32), ())[1]
            found.append(stream_counts(counting.plan, tally))
        assert [counts.total("synop_dense") for counts in found] == [0, 2 * 3 * 2]
        assert [counts.sequences for counts in found] == [1, 0]


@settings(max_examples=20, deadline=None)
@given(programs(), st.integers(0, 99), st.booleans())
def test_a_counted_run_is_the_same_on_sim_and_elsewhere(program: StreamProgram, seed: int, seen: bool) -> None:
    mapped, values = mapped_small(program), random_input(program, np.random.default_rng(seed), 9)
    every = program.input.size + sum(p.size for p in program.populations)
    found: dict[str, list[StreamActivity]] = {"sim": [], "reference": []}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "VALUES_AT_ONCE", 4 * every)
        done = {
            backend: counted_stream(mapped, values, backend, see_activity=activities.append if seen else None)
            for backend, activities in found.items()
        }
    assert_equal(done["sim"].counts, done["reference"].counts)
    np.testing.assert_array_equal(done["sim"].run.output, done["reference"].run.output)
    assert done["sim"].run.saturations == done["reference"].run.saturations
    assert len(found["sim"]) == len(found["reference"]) == (3 if seen else 0)
    for ours, theirs in zip(found["sim"], found["reference"], strict=True):
        for name, sent in theirs.sent.items():
            np.testing.assert_array_equal(ours.sent[name], sent)


def test_threads_of_a_counted_run_are_checked_as_elsewhere() -> None:
    mapped = mapped_small(one_layer(Dense(inputs=3, outputs=2)))
    with pytest.raises(BispikError, match="--threads 0: give at least 1"):
        counted_stream(mapped, np.ones((2, 3), np.int32), "sim", RunOptions(threads=0))


def test_a_plan_of_another_program_is_refused() -> None:
    counting = NativeCounting(stream_plan(mapped_small(one_layer(Dense(inputs=3, outputs=2)))))
    for other in (one_layer(Dense(inputs=4, outputs=2)), one_layer(Dense(inputs=3, outputs=2), delay=1)):
        with pytest.raises(ValueError, match="another"):
            SimStreamSession(other, counting=counting)


def test_a_session_counts_or_records() -> None:
    program = one_layer(Dense(inputs=3, outputs=2))
    values, counting = np.ones((2, 3), np.int32), NativeCounting(stream_plan(mapped_small(program)))
    with pytest.raises(ValueError, match="call feed_counted"):
        SimStreamSession(program, counting=counting).feed(values)
    with pytest.raises(ValueError, match="open one with counting"):
        SimStreamSession(program).feed_counted(values, ())
