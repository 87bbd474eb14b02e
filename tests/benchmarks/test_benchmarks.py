"""The code of `make bench`, at sizes that say nothing about speed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks import example, lava
from benchmarks.__main__ import PARTS, main, measured
from benchmarks.counting import counting_costs
from benchmarks.engine import Runner
from benchmarks.machine import describe
from benchmarks.measure import Line, take_turns
from benchmarks.opening import measure, write_program
from benchmarks.report import BEGIN, END, write_page, write_results
from benchmarks.shapes import random_model, stack
from benchmarks.sizes import TINY, TINY_SIZES
from bispik.backends.lava.tape import Tape
from bispik.backends.reference import ReferenceSession
from bispik.backends.sim.kernel_path import available_paths
from tests.mappings import scattered
from tests.networks import random_program, random_tokens


@pytest.mark.parametrize("part", [name for name in PARTS if name not in {"example", "lava", "opening"}])
def test_a_part_runs(part: str) -> None:
    lines = measured([part], TINY_SIZES)
    assert lines
    for line in lines:
        assert (line.value is None) == line.note.startswith("not measured")
        assert line.value is None or line.value > 0 or line.unit == "%"


def test_the_example_part_runs(tmp_path: Path) -> None:
    program = random_program(0, window=16)
    mapped, ids = scattered(program, 0), random_tokens(program, 0)[:4].tolist()
    assert len(counting_costs(mapped, ids, "a network", tmp_path, TINY_SIZES)) == 5
    (line,) = example.against_lava(mapped, ids, TINY_SIZES)
    assert line.value is not None


def test_the_lava_part_runs() -> None:
    program = random_program(0, layers=1, window=16)
    whole, parts = lava.against_lavas_runtime(program, random_tokens(program, 0)[:4].tolist(), TINY_SIZES)
    assert whole.goal == 0.5
    assert parts.goal is None


def test_the_straightforward_graph_computes_the_same() -> None:
    program = random_program(0, layers=1, window=16)
    ids = random_tokens(program, 0)[:3].tolist()
    tape = Tape(program, ())
    with lava.straightforward(program, tape, True) as (feed, _):
        feed(ids)
        found = tape.activity(0, np.array(ids))
    np.testing.assert_equal(found.outputs, ReferenceSession(program).feed(ids).outputs)


def test_a_synthetic_program_opens_and_runs(tmp_path: Path) -> None:
    write_program(TINY, TINY_SIZES.window, tmp_path / "program.bspk", np.random.default_rng(0))
    assert measure(tmp_path / "program.bspk")["weight_bytes"] == TINY.weights


@pytest.mark.parametrize("path", available_paths())
def test_the_head_adds_up_the_weights_of_given_spikes(path: str) -> None:
    rng = np.random.default_rng(1)
    with random_model(TINY, rng) as model:
        built = stack(model, 3, 8)
        spikes = built.spikes(rng, 2, 3, 0.5)
        runner = Runner(built, path)
        runner.run(spikes)
        counts = np.unpackbits(spikes[-1][1][0][..., None], axis=2).sum(axis=2, dtype=np.int64)
        assert runner.accumulators is not None
        assert np.array_equal(runner.accumulators, counts @ model.head.astype(np.int64))
        assert built.touched_bytes(built.spikes(rng, 1, 3, 1.0)) == TINY.weights


def test_what_is_compared_takes_turns() -> None:
    seen: list[str] = []

    def turn(name: str) -> float:
        seen.append(name)
        return float(len(seen))

    times = take_turns({"a": lambda: turn("a"), "b": lambda: turn("b")}, 2)
    assert seen == ["a", "b"] * 3
    assert (times["a"].turns, times["b"].best) == ((3.0, 5.0), 4.0)


def test_results_and_page(tmp_path: Path) -> None:
    machine = describe(1e9, 1 << 20)
    lines = [
        Line(part="p", name="fast", value=12.0, unit="×", goal=10.0),
        Line(part="p", name="slow", value=2.5, unit="s", goal=2.0, at_most=True),
        Line(part="p", name="absent", value=None, unit="×", goal=1.0, note="not measured: no such thing"),
    ]
    write_results(machine, lines, tmp_path / "results" / "r.json")
    written = json.loads((tmp_path / "results" / "r.json").read_text())
    assert [line["met"] for line in written["lines"]] == [True, False, None]
    assert written["machine"]["cores"] == len(os.sched_getaffinity(0))
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_page(machine, lines, page)
    text = page.read_text()
    assert "| slow | ≤ 2 s | 2.50 s | **no** |" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--only", "nothing"])
    assert stopped.value.code == 2
    assert "nothing" in capsys.readouterr().err
