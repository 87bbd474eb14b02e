"""Stream programs with rows that read more than a neurocore holds: cut into parts whose sums are relayed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bispik.backends.stream.counts import STREAM_EVENTS, StreamCounter
from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.backends.stream.run import counted_stream
from bispik.compiler.stream.artifact import check_mapped_stream, load_stream, save_stream
from bispik.compiler.stream.mapping import MappedStream, map_stream, plan_stream
from bispik.compiler.stream.program import StreamProgram
from bispik.compiler.stream.rules import check_stream
from bispik.compiler.stream.shape import stream_shape
from bispik.compiler.stream.wiring import Convolution, Dense, Wiring
from bispik.compiler.target import Limit, Target, load_target
from bispik.energy.profiles import load_profile
from bispik.energy.stream_account import stream_account
from bispik.energy.stream_audit import stream_audit
from bispik.models.errors import BispikError
from tests.stream.layers import one_layer, row
from tests.stream.mappings import mapped_drawn, tiny_target
from tests.stream.random_programs import programs, random_input
from tests.stream.test_lava import lava
from tests.stream.test_stream_counts import walked
from tests.stream.test_stream_mapping_properties import run_mapped, synapse_matrix, walked_use

LOIHI2 = load_target("loihi2")
LOIHI1 = load_target("loihi1")

SHAPES = ((23,), (40,))


def few_axons(axons: int = 16) -> Target:
    """A target on which rows that read more than so many neurons are cut."""
    sheet = tiny_target()
    return replace(sheet, resources=replace(sheet.resources, axons_in=_limit(axons)))


def _limit(value: int) -> Limit:
    return Limit(value=value, unit="axons", source="a test", grade="X")


def mapped_cut(program: StreamProgram) -> MappedStream:
    """Map a drawn program; one with a loop that has no step for a relay is drawn anew."""
    try:
        return mapped_drawn(program, few_axons())
    except BispikError as error:
        assume("this loop has" not in str(error))
        raise


@settings(max_examples=60, deadline=None)
@given(programs(shapes=SHAPES), st.integers(0, 99))
def test_a_program_with_cut_rows_gives_the_spikes_of_the_unmapped_one(program: StreamProgram, seed: int) -> None:
    mapped, values = mapped_cut(program), random_input(program, np.random.default_rng(seed), 9)
    check_stream(mapped, program, stream_shape(mapped.fabric, mapped.timing, mapped.parts))
    expected = ReferenceStreamSession(program).feed(values)
    found = run_mapped(mapped, values)
    for name, sent in expected.sent.items():
        np.testing.assert_array_equal(found[name], sent)


@settings(max_examples=40, deadline=None)
@given(programs(shapes=SHAPES))
def test_every_synapse_is_in_one_part_and_no_limit_is_exceeded(program: StreamProgram) -> None:
    mapped = mapped_cut(program)
    for population in mapped.program.populations:
        for index, entry in enumerate(population.inputs):
            parts = [part.name for part in mapped.parts if (part.node, part.index) == (population.name, index)]
            if parts:
                held = sum(synapse_matrix(mapped.fabric.population(name).inputs[0]) for name in parts)
                np.testing.assert_array_equal(held, synapse_matrix(entry))
    limits = {name: limit.value for name, limit in mapped.target.resources.items()}
    for core in mapped.neurocores:
        used: Counter[str] = Counter()
        for part in core.slices:
            used.update(walked_use(part, mapped))
        assert {name: used[name] for name in limits} == {name: core.used(name) for name in limits}
        assert all(used[name] <= limit for name, limit in limits.items())


@settings(max_examples=40, deadline=None)
@given(programs(shapes=SHAPES), st.integers(0, 99))
def test_counts_are_those_of_every_spike_and_sum_on_its_way(program: StreamProgram, seed: int) -> None:
    mapped, values = mapped_cut(program), random_input(program, np.random.default_rng(seed), 9)
    counts = counted_stream(mapped, values, "sim").counts
    expected = walked(mapped, ReferenceStreamSession(mapped.fabric).feed(values))
    by_slice = {(e, i): int(n) for e in STREAM_EVENTS for i, n in enumerate(counts.events[e].tolist()) if n}
    assert by_slice == {(e, i): n for (e, i), n in expected.by_slice.items() if n}
    session, counter = ReferenceStreamSession(program), StreamCounter(mapped)
    parts = [counter.count(session.feed(part)) for part in (values[:4], values[4:5], values[5:])]
    assert (parts[0] + parts[1] + parts[2]).to_dict() == counts.to_dict()


@settings(max_examples=8, deadline=None)
@given(programs(shapes=SHAPES), st.integers(0, 99))
def test_a_clocked_fabric_with_relays_gives_the_same_spikes(program: StreamProgram, seed: int) -> None:
    """Lava's simulator, where each hop takes a step: the parts are Processes, and what they send are numbers."""
    mapped, values = mapped_cut(program), random_input(program, np.random.default_rng(seed), 12)
    expected = ReferenceStreamSession(program).feed(values)
    with lava(mapped.fabric) as session:
        found = session.feed(values)
    for name, sent in expected.sent.items():
        np.testing.assert_array_equal(found.sent[name], sent)
    assert {name: found.saturations[name] for name in expected.saturations} == dict(expected.saturations)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(programs(shapes=SHAPES))
def test_a_file_holds_the_parts(tmp_path: Path, program: StreamProgram) -> None:
    mapped = mapped_cut(program)
    first, second = tmp_path / "first.bspk", tmp_path / "second.bspk"
    save_stream(mapped, first)
    loaded = load_stream(first)
    assert (loaded.parts, dict(loaded.skew)) == (mapped.parts, dict(mapped.skew))
    save_stream(loaded, second)
    assert first.read_bytes() == second.read_bytes()


def test_what_is_behind_a_relay_comes_a_step_later() -> None:
    program = one_layer(Dense(inputs=40, outputs=6))
    mapped = mapped_cut(program)
    assert [(part.start, part.stop) for part in mapped.parts] == [(0, 13), (13, 26), (26, 40)]
    assert dict(mapped.skew) == {"input": 0, "p/part_0": 1, "p/part_1": 1, "p/part_2": 1, "p": 2}


@pytest.mark.parametrize("wiring", [Dense(inputs=20_000, outputs=30), row(30, 40_000, 20_000)])
def test_a_layer_of_many_inputs_fits_on_loihi2(wiring: Wiring) -> None:
    program = one_layer(wiring)
    made = plan_stream(program, LOIHI2)
    assert made.network.parts
    assert made.neurocores <= 1.5 * made.neurocores_lower_bound + 1
    check_mapped_stream(map_stream(program, LOIHI2), "a mapping")


def test_a_loop_must_have_a_step_for_its_relay() -> None:
    """A population that reads itself a step later has one hop, and with a relay it has two."""
    first, again = one_layer(Dense(inputs=40, outputs=40)), one_layer(Dense(inputs=40, outputs=40), delay=1)
    population = first.populations[0]

    def looped(delay: int) -> StreamProgram:
        loop = replace(again.populations[0].inputs[0], source="p", delay=delay)
        return replace(first, populations=(replace(population, inputs=(*population.inputs, loop)),))

    with pytest.raises(BispikError, match=r"p/part_\d -> p -> p/part_\d|p -> p/part_\d -> p: this loop has 2 synaptic"):
        map_stream(looped(1), few_axons())
    assert map_stream(looped(2), few_axons()).parts


@pytest.mark.parametrize(
    ("program", "target", "message"),
    [
        (
            one_layer(Dense(inputs=5000, outputs=4), program="stock"),
            LOIHI1,
            r"p: one row needs axons in 5,000 of 4,096 axons .*, and rows are not cut by fan-in: loihi1 has no graded",
        ),
        (
            one_layer(
                Convolution(
                    source=(2000, 3, 3),
                    target=(1, 1, 1),
                    kernel=(3, 3),
                    stride=(1, 1),
                    padding=(0, 0),
                    dilation=(1, 1),
                    groups=1,
                )
            ),
            LOIHI2,
            r"p: one row needs memory 126,018 of 120,000 bytes .*, and rows of a convolution are not cut by fan-in",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused_by_name(program: StreamProgram, target: Target, message: str) -> None:
    with pytest.raises(BispikError, match=message):
        map_stream(program, target)


def test_the_relay_is_paid_for_and_stands_in_the_audit() -> None:
    program = one_layer(Dense(inputs=40, outputs=6))
    values = np.ones((5, 40), np.int32)
    accounts = {}
    for name, target in (("cut", few_axons()), ("whole", few_axons(40))):
        mapped = map_stream(program, target)
        counts = counted_stream(mapped, values, "sim").counts
        accounts[name] = mapped, counts, stream_account(mapped, counts, load_profile("loihi2"))
    (cut, counts, paid), (whole, plain, cheaper) = accounts["cut"], accounts["whole"]
    assert not whole.parts
    sums = 3 * 6 * 5  # three parts, six rows, five steps, no sum of ones is 0
    assert (counts.total("graded_output"), plain.total("graded_output")) == (sums, 0)
    assert counts.total("message") == sums + plain.total("message")
    assert counts.total("graded_one_to_one") == sums
    for one, account in ((counts, paid), (plain, cheaper)):
        passed = one.total("hop_x") + one.total("hop_y") + one.total("chip_crossing")
        assert account.traffic.loads.sum() * one.steps == pytest.approx(passed)
    assert counts.depth == plain.depth + 1
    assert paid.scope("dynamic").default > cheaper.scope("dynamic").default
    entries = {entry.operation: entry for entry in stream_audit(cut.program, paid, cut.parts).entries}
    assert entries["Partial sums"].count == sums
    assert "Partial sums" not in {entry.operation for entry in stream_audit(whole.program, cheaper, ()).entries}


def test_a_damaged_part_is_refused() -> None:
    mapped = mapped_cut(one_layer(Dense(inputs=40, outputs=6)))
    for parts, message in (
        (mapped.parts[1:], "p: parts that leave gaps"),
        ((*mapped.parts, mapped.parts[0]), "names that others have"),
        ((replace(mapped.parts[0], index=2), *mapped.parts[1:]), "a part of nothing"),
        ((replace(mapped.parts[0], node="input"), *mapped.parts[1:]), "a part of nothing"),
    ):
        with pytest.raises(BispikError, match=message):
            check_mapped_stream(replace(mapped, parts=parts), "a file")
