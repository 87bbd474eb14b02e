"""The papers' table: by hand, against our notes of it, and against an account of a counted run."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from bispik.energy.account import account
from bispik.energy.paper import (
    ASSUMPTIONS,
    RATES,
    SHAPES,
    Reproduction,
    floor,
    paper_table,
    rate_for,
    ratio,
    with_memory,
    work_of,
)
from bispik.energy.paper_program import program_points
from bispik.energy.paper_tables import paper_json, paper_tables
from bispik.energy.profiles import load_profile
from bispik.energy.published import published
from tests.energy.runs import counted
from tests.networks import random_program

BY_NAME = {assumption.name: assumption for assumption in ASSUMPTIONS}


def reproduced(name: str, assumption: str) -> Reproduction:
    (found,) = (r for r in paper_table().reproductions if (r.published.name, r.assumption) == (name, assumption))
    return found


def test_products_of_a_shape_by_hand() -> None:
    work = work_of("opt-125m")
    assert work.projections == 12 * (4 * 768 * 768 + 2 * 768 * 3072)
    assert (work.mixed, work.head) == (12 * 768 * 768, 50272 * 768)
    assert work.attention == sum(12 * 2 * 768 * (position + 1) for position in range(2048)) // 2048


def test_with_every_operation_spiking_the_ratio_is_that_of_rate_and_steps() -> None:
    for shape in SHAPES:
        for name in ("blocks", "blocks, attention", "blocks, attention, spiking head"):
            assert ratio(work_of(shape), BY_NAME[name], 0.15, 2) == pytest.approx(0.9 / 4.6 * 0.15 * 2)


@pytest.mark.parametrize(("shape", "least"), [("opt-125m", 0.3125), ("opt-1.3b", 0.0785)])
def test_a_head_of_multiplications_is_a_floor(shape: str, least: float) -> None:
    work = work_of(shape)
    assert floor(work, BY_NAME["blocks, MAC head"]) == pytest.approx(least, abs=1e-4)
    assert ratio(work, BY_NAME["blocks, MAC head"], 0.0, 4) == floor(work, BY_NAME["blocks, MAC head"])


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("1.3B, T = 2", 0.1503, 0.1503),
        ("1.3B, T = 4", 0.1354, 0.1354),
        ("125M, T = 2, of the range over sizes", 0.1063, 0.1500),
        ("125M, T = 2, 9.43 of 126.01 mJ", 0.1912, 0.1912),
    ],
)
def test_published_ratios_need_everything_to_spike(name: str, low: float, high: float) -> None:
    found = reproduced(name, "blocks")
    assert found.rates == pytest.approx((low, high), abs=1e-4)
    assert reproduced(name, "blocks, attention, MAC head and W_o").rates is None


def test_with_a_head_of_multiplications_588_is_impossible_and_106_is_not() -> None:
    assert reproduced("1.3B, T = 2", "blocks, MAC head").rates is None
    assert reproduced("1.3B, T = 4", "blocks, MAC head").rates is not None


def test_the_rate_for_a_ratio_gives_it() -> None:
    for assumption in ASSUMPTIONS:
        work = work_of("opt-350m")
        assert ratio(work, assumption, rate_for(work, assumption, 0.4, 3), 3) == pytest.approx(0.4)


def test_weights_from_memory_take_the_advantage() -> None:
    assert with_memory(0.1503, 2, "FP32") == pytest.approx(0.144, abs=1e-3)
    assert with_memory(0.1503, 2, "int8") == pytest.approx(0.374, abs=1e-3)


def test_the_length_of_the_published_sample_is_solved_for() -> None:
    work, sample = work_of("opt-125m"), published().sample
    for length in paper_table().samples:
        given, n = BY_NAME[length.assumption], length.tokens
        by_context = work.attention / 2049 * (n + 1) if given.attention else 0.0
        macs = n * (work.projections + given.head * work.head + by_context)
        assert macs * 4.6e-12 == pytest.approx(sample.ann_joules)


def test_a_counted_program_lies_where_its_account_says() -> None:
    program = random_program(1, heads=2)
    mapped, counts = counted(program)
    found = program_points(mapped, counts)
    report = account(mapped, counts, load_profile("paper-45nm"))
    assert found.audited == pytest.approx(report.ratio(report.baselines[0]).default)
    by_name = {point.assumption: point for point in found.points}
    blocks = by_name["blocks"]
    assert blocks.ratio == pytest.approx(0.9 / 4.6 * blocks.rate * found.steps)
    whole = by_name["blocks, attention, spiking head"]
    synops = counts.total("synop_dense", "synop_score", "synop_value", "synop_readout")
    assert whole.ratio == pytest.approx(0.9e-12 * synops / (4.6e-12 * report.baselines[0].macs))
    assert by_name["blocks, MAC W_o"].ratio > blocks.ratio  # its sums are counted as multiplications


def test_everything_is_printed_and_in_json() -> None:
    mapped, counts = counted(random_program(1, heads=2))
    table, points = paper_table(), program_points(mapped, counts)
    values = json.loads(json.dumps(paper_json(table, points), allow_nan=False))
    assert len(values["ratios"]) == len(SHAPES) * 2 * len(ASSUMPTIONS)
    assert set(values["ratios"][0]) >= {f"rate_{rate:g}" for rate in RATES}
    assert {entry["reproduced"] for entry in values["published"]} == {True, False}
    assert len(values["program"]["points"]) == len(ASSUMPTIONS)
    console = Console(file=io.StringIO(), width=120)
    for entry in paper_tables(table, points):
        console.print(entry)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    for words in ("impossible", "15.0%", "5.88%", "10.60%", "This program, T = 3", "Jetson", "Against int8"):
        assert words in printed
