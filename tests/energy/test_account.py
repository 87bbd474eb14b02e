"""Laws of the energy account."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.counts import EVENTS, SYNOPS, EventCounts, count_events
from bispik.backends.reference import ReferenceSession
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.program import IntegerNorm, IntegerPopulation, QuantizedProgram
from bispik.energy.account import account
from bispik.energy.baselines import ann_baselines, ann_work
from bispik.energy.latency import LIMITS, SCHEDULES, TIMES, Schedule, token_seconds
from bispik.energy.profiles import list_profiles, load_profile
from tests.energy.runs import counted
from tests.mappings import scattered
from tests.networks import random_program, random_tokens

Form: TypeAlias = dict[str, Any]

profiles = st.sampled_from(list_profiles())
schedules = st.sampled_from(list(SCHEDULES))
seeds = st.integers(0, 200)
forms = st.fixed_dictionaries(
    {
        "layers": st.integers(0, 2),
        "pre_spike": st.booleans(),
        "block_output": st.booleans(),
        "norm": st.booleans(),
        "stream": st.booleans(),
        "readout_on_chip": st.booleans(),
    }
)


@given(forms, seeds, profiles, schedules)
@settings(max_examples=30)
def test_lines_neurocores_and_tokens_sum_to_the_totals(form: Form, seed: int, profile: str, schedule: Schedule) -> None:
    mapped, counts = counted(random_program(seed, **form), seed)
    report = account(mapped, counts, load_profile(profile), schedule)
    dynamic = report.scope("dynamic")
    for bound, column in (("low", 0), ("default", 1), ("high", 2)):
        whole = math.fsum(getattr(line.energy, bound) for line in report.lines)
        assert getattr(report.total, bound) == whole
        assert report.neurocore_joules[:, column].sum() == pytest.approx(getattr(dynamic, bound), rel=1e-12)
    assert report.token_joules.sum() == pytest.approx(report.total.default, rel=1e-12)
    assert report.token_seconds.sum() == pytest.approx(report.seconds.default, rel=1e-12)


@given(forms, seeds, profiles, schedules)
@settings(max_examples=30)
def test_low_default_high_everywhere(form: Form, seed: int, profile: str, schedule: Schedule) -> None:
    mapped, counts = counted(random_program(seed, **form), seed)
    report = account(mapped, counts, load_profile(profile), schedule)
    ranges = [line.energy for line in report.lines]
    ranges += [report.total, report.per_token, report.seconds, report.compared]
    ranges += [report.ratio(baseline) for baseline in report.baselines]
    assert all(0 <= r.low <= r.default <= r.high for r in ranges)


@given(seeds, profiles)
@settings(max_examples=15)
def test_doubling_counts_doubles_their_lines(seed: int, profile: str) -> None:
    mapped, counts = counted(random_program(seed), seed)
    doubled = replace(counts, events={event: 2 * counts.events[event] for event in EVENTS})
    once, twice = (account(mapped, c, load_profile(profile), "pipelined") for c in (counts, doubled))
    for line, line_twice in zip(once.lines, twice.lines, strict=True):
        if line.scope == "dynamic":
            assert line_twice.count == 2 * line.count
            assert line_twice.energy == line.energy * 2


@given(seeds, profiles, schedules)
@settings(max_examples=15)
def test_energy_of_chunks_adds_up(seed: int, profile: str, schedule: Schedule) -> None:
    program = random_program(seed)
    mapped = scattered(program, seed)
    session, tokens = ReferenceSession(program), random_tokens(program, seed)
    parts = [count_events(mapped, session.feed(chunk)) for chunk in (tokens[:3], tokens[3:])]
    reports = [account(mapped, c, load_profile(profile), schedule) for c in (*parts, parts[0] + parts[1])]
    assert reports[0].total.high + reports[1].total.high == pytest.approx(reports[2].total.high, rel=1e-12)
    assert reports[0].seconds.low + reports[1].seconds.low == pytest.approx(reports[2].seconds.low, rel=1e-12)


@given(seeds, profiles)
@settings(max_examples=10)
def test_zero_spikes_cost_zero_synaptic_energy(seed: int, profile: str) -> None:
    program = random_program(seed)
    activity = ReferenceSession(program).feed(random_tokens(program, seed))
    silent = replace(
        activity,
        outputs={name: np.zeros_like(output) for name, output in activity.outputs.items()},
        score_spikes={name: np.zeros_like(output) for name, output in activity.score_spikes.items()},
    )
    mapped = scattered(program, seed)
    report = account(mapped, count_events(mapped, silent), load_profile(profile))
    events = {line.event for line in report.lines if line.scope == "dynamic"}
    assert events <= {"update_active", "update_inactive", "update_waiting", "kv_bit_written"}
    assert report.per_spike is None


@given(seeds, seeds, profiles, schedules)
@settings(max_examples=15)
def test_other_places_of_neurocores_change_ways_and_static_power_only(
    seed: int, other: int, profile: str, schedule: Schedule
) -> None:
    program = random_program(seed)
    activity = ReferenceSession(program).feed(random_tokens(program, seed))
    lines = [
        {
            (line.scope, line.node, line.event): (line.count, line.energy)
            for line in account(mapped, count_events(mapped, activity), load_profile(profile), schedule).lines
            if line.scope != "static" and line.event not in {"hop_x", "hop_y", "chip_crossing", "message_local"}
        }
        for mapped in (scattered(program, seed), scattered(program, other))
    ]
    assert lines[0] == lines[1]


def test_static_energy_is_power_times_time_of_the_busiest_neurocores() -> None:
    program = random_program(1, steps=2)
    mapped, counts = counted(program)
    profile = load_profile("loihi2")
    report = account(mapped, counts, profile, "pipelined")
    watts = mapped.chips * (profile["chip_power"].default + profile["board_power"].default)
    assert report.scope("static").default == pytest.approx(watts * report.seconds.default)
    neurons = counts.by_neurocore("update_active", "update_inactive") / counts.steps
    at_least = counts.steps * (neurons.max() * profile["time_update"].default + profile["time_step"].default)
    assert report.seconds.default >= at_least


def test_steps_last_as_long_as_a_loop_over_neurocores_says() -> None:
    program = random_program(2, steps=2, window=3)
    mapped, counts = counted(program)
    one_token = counts_of_steps(program, mapped)
    seconds = token_seconds(counts.load, "pipelined", times(2.0, 3.0, 7.0, 0.0, 0.0, 5.0))
    updates = [sum(part.use["neurons"] for part in core.slices) for core in mapped.neurocores]
    by_hand = sum(5.0 + max(2.0 * s + 3.0 * u for s, u in zip(step, updates, strict=True)) for step in one_token)
    assert seconds[0] == by_hand


def test_a_step_lasts_as_long_as_its_largest_norm() -> None:
    program = random_program(2, steps=2, layers=2, norm=True)
    mapped, counts = counted(program)
    operations = 3 * program.injection.size + 3
    assert counts.total("norm_operation") == 4 * operations * counts.steps  # two blocks with two norms each
    pipelined = token_seconds(counts.load, "pipelined", times(0.0, 0.0, 7.0, 0.0, 0.0, 5.0))
    np.testing.assert_array_equal(pipelined, np.full(counts.tokens, 2 * (7.0 * operations + 5.0)))
    at_work = {mapped.skew[norm.name] + step for norm in program.of_kind(IntegerNorm) for step in range(2)}
    assert 0 < len(at_work) < 2 + counts.depth
    sequential = token_seconds(counts.load, "sequential", times(0.0, 0.0, 7.0, 0.0, 0.0, 5.0))
    by_hand = len(at_work) * 7.0 * operations + (2 + counts.depth) * 5.0
    np.testing.assert_array_equal(sequential, np.full(counts.tokens, by_hand))


def test_norms_slow_no_step_of_a_network_without_them() -> None:
    counts = counted(random_program(2))[1]
    seconds = [
        token_seconds(counts.load, schedule, times(2.0, 3.0, norm, 0.0, 0.0, 5.0))
        for schedule in SCHEDULES
        for norm in (0, 9.0)
    ]
    np.testing.assert_array_equal(seconds[0], seconds[1])
    np.testing.assert_array_equal(seconds[2], seconds[3])


@given(seeds, schedules)
@settings(max_examples=15)
def test_a_step_lasts_as_long_as_its_busiest_link(seed: int, schedule: Schedule) -> None:
    counts = counted(random_program(seed), seed)[1]
    load = counts.load
    links = load.links_sequential if schedule == "sequential" else load.links_pipelined
    of_chips = token_seconds(load, schedule, times(0.0, 0.0, 0.0, 3.0, 0.0, 5.0))
    np.testing.assert_array_equal(of_chips, (3.0 * links[:, :, 0] + 5.0).sum(axis=1))
    of_both = token_seconds(load, schedule, times(0.0, 0.0, 0.0, 3.0, 7.0, 5.0))
    np.testing.assert_array_equal(of_both, (np.maximum(3.0 * links[:, :, 0], 7.0 * links[:, :, 1]) + 5.0).sum(axis=1))


@given(forms, seeds, profiles, schedules)
@settings(max_examples=15)
def test_what_steps_wait_for_is_the_whole_time(form: Form, seed: int, profile: str, schedule: Schedule) -> None:
    mapped, counts = counted(random_program(seed, **form), seed)
    report = account(mapped, counts, load_profile(profile), schedule)
    assert report.time.total == pytest.approx(report.seconds.default)
    steps = (counts.load.sequential if schedule == "sequential" else counts.load.pipelined).shape[1]
    assert report.time.steps == report.tokens * steps
    assert (report.time.limited_by is None) == (report.seconds.default == 0)
    if report.time.limited_by:
        assert report.time.share(report.time.limited_by) >= 0.2
        assert sum(report.time.share(limit) for limit in LIMITS) == pytest.approx(1)


def times(*seconds: float) -> dict[str, float]:
    return dict(zip(TIMES, seconds, strict=True))


def counts_of_steps(program: QuantizedProgram, mapped: MappedProgram) -> list[list[int]]:
    """Synops of each neurocore in each step of the first token, by running it with all other steps silenced."""
    activity = ReferenceSession(program).feed(random_tokens(program, 0)[:1])
    table: list[list[int]] = []
    for step in range(program.steps_per_token):
        mask = np.arange(program.steps_per_token) == step
        only = replace(
            activity,
            outputs={name: output * mask[:, None] for name, output in activity.outputs.items()},
            score_spikes={name: output * mask[:, None, None] for name, output in activity.score_spikes.items()},
        )
        table.append(_synops(count_events(mapped, only)))
    return table


def _synops(counts: EventCounts) -> list[int]:
    synops: list[int] = counts.by_neurocore(*SYNOPS.values()).tolist()
    return synops


def test_waiting_neurons_pay_in_the_sequential_schedule_only() -> None:
    mapped, counts = counted(random_program(1))
    reports = {s: account(mapped, counts, load_profile("loihi2"), s) for s in SCHEDULES}
    waiting = {s: sum(line.count for line in r.lines if line.event == "update_waiting") for s, r in reports.items()}
    neurons = sum(core.used("neurons") for core in mapped.neurocores)
    assert waiting == {"sequential": neurons * counts.depth * counts.tokens, "pipelined": 0}
    assert reports["sequential"].seconds.low > reports["pipelined"].seconds.low


def test_sensitivity_is_what_one_constant_changes() -> None:
    mapped, counts = counted(random_program(1))
    profile = load_profile("loihi2")
    report = account(mapped, counts, profile)
    swings = {swing.constant: swing.joules for swing in report.sensitivity}
    assert list(swings.values()) == sorted(swings.values(), reverse=True)
    for name in ("synop_dense", "board_power", "time_synop", "update_inactive", "host_read", "chip_crossing"):
        totals: list[float] = []
        for bound in ("low", "high"):
            value = getattr(profile[name], bound)
            fixed = replace(profile.constants[name], value=type(profile[name])(value, value, value))
            changed = replace(profile, constants={**profile.constants, name: fixed})
            totals.append(account(mapped, counts, changed).total.default)
        assert totals[1] - totals[0] == pytest.approx(swings[name], rel=1e-6)


@pytest.mark.parametrize("norm", [True, False])
def test_papers_convention(norm: bool) -> None:
    """0.9 pJ per spike-driven addition, 4.6 pJ per number that meets a weight and norm's operation: nothing else."""
    mapped, counts = counted(random_program(1, norm=norm))
    report = account(mapped, counts, load_profile("paper-45nm"))
    binary = counts.synops - counts.graded_synops
    assert report.total.default == pytest.approx(
        0.9e-12 * binary + 4.6e-12 * (counts.graded_synops + counts.total("norm_operation"))
    )
    assert report.seconds.high == 0.0
    fp32 = report.baselines[0]
    assert report.ratio(fp32).default == pytest.approx(report.total.default / (4.6e-12 * fp32.macs))


def test_baseline_work_is_that_of_the_dense_network() -> None:
    program = random_program(1, layers=1, heads=2, head_dim=4, inner=12, vocabulary=11)
    positions = np.array([0, 1, 2], np.int64)
    weights = 4 * 8 * 8 + 2 * 8 * 12 + 11 * 8
    assert (
        sum(p.weight.size for q in program.of_kind(IntegerPopulation) for p in q.inputs if p.weight is not None)
        + (program.readout.weight.size)
        == weights
    )
    macs, values = ann_work(program, positions)
    assert macs == 3 * weights + 2 * 8 * (1 + 2 + 3)
    assert values == 3 * (weights + 16) + 2 * 8 * (1 + 2 + 3)
    fp32, fp16, int8 = ann_baselines(program, positions)
    assert (fp32.precision, fp16.precision, int8.precision) == ("FP32", "FP16", "int8")
    assert fp32.arithmetic.default == pytest.approx(4.6e-12 * macs)
    assert (fp32.bytes_moved, fp16.bytes_moved, int8.bytes_moved) == (4 * values, 2 * values, values)
    assert fp32.total.default > fp16.total.default > int8.total.default
