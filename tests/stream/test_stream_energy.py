"""The energy account of stream programs: by hand, by its laws, and as people and programs read it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from bispik.backends.stream.counts import StreamCounts, count_stream
from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.compiler.stream.mapping import MappedStream, map_stream
from bispik.compiler.stream.network import Output
from bispik.compiler.stream.program import StreamProgram
from bispik.compiler.stream.wiring import Dense, Wiring
from bispik.compiler.target import load_target
from bispik.energy.audit import Place
from bispik.energy.profiles import load_profile
from bispik.energy.stream_audit import stream_audit
from bispik.energy.stream_report import StreamEnergyReport, firing_rates, stream_account, stream_json, stream_tables
from tests.stream.layers import CONVOLUTION, one_layer
from tests.stream.mappings import mapped_small, silence
from tests.stream.random_programs import programs, random_input

LOIHI2 = load_profile("loihi2")


def counted(program: StreamProgram, seed: int = 0, steps: int = 6) -> tuple[MappedStream, StreamCounts]:
    mapped = mapped_small(program)
    values = random_input(program, np.random.default_rng(seed), steps)
    return mapped, count_stream(mapped, ReferenceStreamSession(program).feed(values))


def on_loihi2(wiring: Wiring, *, high: int = 1, output: Output = "spikes") -> tuple[MappedStream, StreamCounts]:
    """Two steps: every input is 1, then none is anything."""
    program = one_layer(wiring, high=high, output=output)
    mapped = map_stream(program, load_target("loihi2"))
    values = np.zeros((2, wiring.inputs), np.int32)
    values[0] = 1
    return mapped, count_stream(mapped, ReferenceStreamSession(program).feed(values))


def line(report: StreamEnergyReport, event: str) -> list[float]:
    """Count and picojoules of one event."""
    found = [line for line in report.lines if line.event == event]
    return [sum(line.count for line in found), sum(line.energy.default for line in found) * 1e12]


def test_the_account_of_a_small_run_by_hand() -> None:
    mapped, counts = on_loihi2(Dense(inputs=10, outputs=4))
    report = stream_account(mapped, counts, LOIHI2)
    assert line(report, "synop_dense") == pytest.approx([40, 40 * 13.3])
    assert line(report, "update_active") == pytest.approx([4, 4 * 81])
    assert line(report, "update_inactive") == pytest.approx([4, 4 * 52])
    assert line(report, "update_waiting") == pytest.approx([4, 4 * 52])  # one step until the output is complete
    assert line(report, "input_values") == pytest.approx([10, 1000])
    spikes = counts.total("spike")
    assert line(report, "output_spikes") == pytest.approx([spikes, 100 * spikes])
    seconds = 40 * 0.7e-9 + 3 * (4 * 4.2e-9 + 200e-9)
    assert report.seconds.default == pytest.approx(seconds)
    assert line(report, "chip_power") == pytest.approx([1, 0.26 * seconds * 1e12])
    assert report.per_inference == report.total
    assert report.per_step.default == report.total.default / 2
    assert report.faster_than_real_time == pytest.approx(3e-3 / seconds)
    real = report.scope("dynamic").default + report.scope("host").default + (0.26 + 0.44) * 3e-3
    assert report.total_in_real_time.default == pytest.approx(real)


def test_a_kernel_has_a_price_of_its_own_and_numbers_too() -> None:
    report = stream_account(*on_loihi2(CONVOLUTION), LOIHI2)
    synops = 4 * 2 * 22 * 22  # along each axis 3 taps at 8 places, less one at each edge
    assert line(report, "synop_shared") == pytest.approx([synops, 24.0 * synops])
    graded = stream_account(*on_loihi2(CONVOLUTION, high=5), LOIHI2)
    assert line(graded, "graded_shared") == pytest.approx([synops, 13.3 * synops])
    assert line(graded, "synop_shared") == [0, 0]


@settings(max_examples=30, deadline=None)
@given(programs(), st.integers(0, 99))
def test_lines_neurocores_and_steps_add_up(program: StreamProgram, seed: int) -> None:
    mapped, counts = counted(program, seed)
    report = stream_account(mapped, counts, LOIHI2)
    assert report.step_joules.sum() == pytest.approx(report.total.default)
    dynamic = report.scope("dynamic")
    np.testing.assert_allclose(
        report.neurocore_joules.sum(axis=0), [dynamic.low, dynamic.default, dynamic.high], rtol=1e-9
    )
    assert sum(n.count for n in report.lines if n.event.startswith(("synop", "graded"))) == counts.synops
    once, twice = stream_account(mapped, counts, LOIHI2), stream_account(mapped, counts + counts, LOIHI2)
    assert twice.total.default == pytest.approx(2 * once.total.default)
    assert twice.per_inference is not None
    assert once.per_inference is not None
    assert twice.per_inference.high == pytest.approx(once.per_inference.high)


@settings(max_examples=15, deadline=None)
@given(programs())
def test_silence_costs_updates_and_what_flows_anyway(program: StreamProgram) -> None:
    mapped = mapped_small(program)
    counts = count_stream(mapped, silence(program, steps=4))
    report = stream_account(mapped, counts, LOIHI2)
    spent = {n.event for n in report.lines if n.scope != "static" and n.energy.high}
    assert spent <= {"update_inactive", "update_waiting", "output_membranes"}


def test_a_chip_that_falls_behind_pays_for_its_own_time() -> None:
    program = replace(one_layer(Dense(inputs=10, outputs=4)), dt=1e-9)
    mapped, counts = counted(program)
    report = stream_account(mapped, counts, LOIHI2)
    assert report.faster_than_real_time is not None
    assert report.faster_than_real_time < 1
    assert report.total_in_real_time.default == pytest.approx(report.total.default)


def test_steps_within_a_sequence_are_no_inference() -> None:
    program = one_layer(Dense(inputs=3, outputs=2))
    mapped, session = map_stream(program, load_target("loihi2")), ReferenceStreamSession(program)
    session.feed(np.ones((1, 3), np.int32))
    report = stream_account(mapped, count_stream(mapped, session.feed(np.ones((4, 3), np.int32))), LOIHI2)
    assert report.per_inference is None
    assert line(report, "update_waiting") == [0, 0]


def test_a_convention_without_times_has_no_duration() -> None:
    mapped, counts = on_loihi2(Dense(inputs=10, outputs=4))
    report = stream_account(mapped, counts, load_profile("paper-45nm"))
    assert report.total.default == pytest.approx(40 * 0.9e-12)
    assert report.faster_than_real_time is None
    assert report.total_in_real_time == report.total
    assert report.step_joules.tolist() == pytest.approx([40 * 0.9e-12, 0])


@pytest.mark.parametrize(
    ("high", "output", "operations", "verdict"),
    [
        (1, "spikes", {"Neuron updates": "chip", "Input values": "host", "Output spikes": "host"}, "binary: yes"),
        (
            9,
            "membrane",
            {
                "Graded input through weights": "chip",
                "Neuron updates": "chip",
                "Input values": "host",
                "Membranes read": "host",
            },
            "binary: no, because numbers of the input cross synapses",
        ),
    ],
)
def test_the_audit_names_what_is_no_spike_driven_addition(
    high: int, output: Output, operations: dict[str, Place], verdict: str
) -> None:
    mapped, counts = on_loihi2(Dense(inputs=10, outputs=4), high=high, output=output)
    audit = stream_audit(mapped.program, stream_account(mapped, counts, LOIHI2))
    assert {entry.operation: entry.where for entry in audit.entries} == operations
    assert verdict in audit.verdict
    by_name = {entry.operation: entry.count for entry in audit.entries}
    assert by_name["Input values"] == 10
    assert by_name.get("Membranes read", 8) == 8
    assert by_name.get("Graded input through weights", 40) == 40


def test_json_holds_every_number_and_its_source() -> None:
    mapped, counts = on_loihi2(CONVOLUTION)
    values = json.loads(
        json.dumps(stream_json(mapped, counts, stream_account(mapped, counts, LOIHI2)), allow_nan=False)
    )
    assert set(values) == {"energy", "time", "placement", "audit", "fully_binary", "counts", "firing_rates"}
    energy = values["energy"]
    for bound in ("low", "default", "high"):
        lines = sum(line["joules"][bound] for line in energy["lines"])
        assert lines == pytest.approx(energy["totals"]["all"][bound])
    assert all(line["source"] and line["grade"] for line in energy["lines"])
    assert sum(energy["grade_shares"].values()) == pytest.approx(1)
    assert values["counts"]["per_step"]["synop_shared"] == [4 * 2 * 22 * 22, 0]
    assert values["firing_rates"] == firing_rates(counts)
    assert sum(core["synops"] for core in energy["neurocores"]) == counts.synops


@settings(max_examples=10, deadline=None)
@given(programs())
def test_links_carry_what_the_messages_pass(program: StreamProgram) -> None:
    mapped, counts = counted(program)
    report = stream_account(mapped, counts, LOIHI2)
    assert report.traffic.loads.sum() == pytest.approx(report.traffic.comparison.placed.links)
    assert report.time.total == pytest.approx(report.step_seconds.sum())


@settings(max_examples=10, deadline=None)
@given(programs())
def test_tables_can_be_printed(program: StreamProgram) -> None:
    mapped, counts = counted(program)
    console = Console(width=120, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as capture:
        for table in stream_tables(mapped, counts, stream_account(mapped, counts, LOIHI2)):
            console.print(table)
    printed = capture.get()
    for words in ("Resource of a neurocore", "Events of 6 time steps", "Energy per inference", "Fully binary:"):
        assert words in printed
