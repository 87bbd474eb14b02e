"""The shipped example, the whole way: what the README says of it holds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from bispik.backends.activity import Activity
from bispik.backends.registry import open_session
from bispik.cli.compile import main as compile_main
from bispik.cli.evaluate import main as evaluate_main
from bispik.cli.run import main as run_main
from bispik.cli.text import encode
from bispik.compiler.artifact import load_program
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.program import IntegerPopulation
from tests.backends.test_sim import assert_same

EXAMPLE = Path(__file__).parent.parent / "examples" / "kjv_shakespeare"
TOKENS = 64
PROBES = ("embed", "block_01/attn/output", "block_03/ffn/fc1")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("example")
    assert compile_main([str(EXAMPLE / "checkpoint.pt"), "--target", "loihi2", "-o", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def mapped(compiled: Path) -> MappedProgram:
    return load_program(compiled / "program.bspk")


@pytest.fixture(scope="module")
def on_sim(mapped: MappedProgram) -> Activity:
    return run(mapped, "sim")


def run(mapped: MappedProgram, backend: str) -> Activity:
    program = mapped.program
    tokens = encode(program.tokenizer, (EXAMPLE / "heldout.txt").read_text(), "the held-out text")[:TOKENS]
    with closing(open_session(backend, program, PROBES)) as session:
        return session.feed(tokens)


@pytest.mark.parametrize("backend", ["reference", "lava", "onnx"])
def test_sixty_four_tokens_give_the_same_spikes_and_membranes(
    mapped: MappedProgram, on_sim: Activity, backend: str
) -> None:
    assert on_sim.outputs["block_03/ffn/sum"].any()
    assert_same(on_sim, run(mapped, backend))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["reference", "lava"])
def test_every_population_does_the_same_for_256_tokens(mapped: MappedProgram, backend: str) -> None:
    program = mapped.program
    everything = [population.name for population in program.of_kind(IntegerPopulation)]
    tokens = encode(program.tokenizer, (EXAMPLE / "heldout.txt").read_text(), "the held-out text")[:256]
    assert len(tokens) == 2 * program.window  # the window takes half of them: two sequences
    for part in (tokens[: program.window], tokens[program.window :]):
        with (
            closing(open_session("sim", program, everything)) as sim,
            closing(open_session(backend, program, everything)) as other,
        ):
            one, two = sim.feed(part), other.feed(part)
        assert set(one.membranes) == set(everything)
        assert_same(one, two)


def test_eight_bits_lose_less_than_one_percent(compiled: Path) -> None:
    report = json.loads((compiled / "report.json").read_text())
    found = report["quantization"]
    assert found["tokens"] >= 2000
    assert found["bpb_integer"] <= 1.01 * found["bpb_float"]
    assert found["bpb_float"] < 2.3


@pytest.mark.parametrize(("bits", "most"), [(6, 0.02), (4, 0.05)])
def test_few_bits_lose_little_without_training(
    bits: int, most: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert compile_main([str(EXAMPLE / "checkpoint.pt"), "--bits", str(bits), "--json", "-o", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)["quantization"]
    assert found["bpb_integer"] <= (1 + most) * found["bpb_float"]


def test_it_takes_at_most_thirty_percent_more_neurocores_than_it_must(mapped: MappedProgram) -> None:
    assert len(mapped.neurocores) <= 1.3 * mapped.neurocores_lower_bound


def test_no_membrane_saturates(on_sim: Activity) -> None:
    assert not any(on_sim.saturations.values())


def test_most_words_that_it_writes_are_english(compiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = set(re.findall("[a-z]+", (EXAMPLE / "heldout.txt").read_text().lower()))
    known |= set(re.findall("[a-z]+", (EXAMPLE / "calibration.txt").read_text().lower()))
    prompt = "And the LORD said unto Moses,"
    sampling = ["--temperature", "0.7", "--top-k", "40", "--max-new-tokens", "80", "--json"]
    assert run_main([str(compiled / "program.bspk"), "--prompt", prompt, *sampling]) == 0
    text = json.loads(capsys.readouterr().out)["text"]
    words = re.findall("[a-z]+", text.removeprefix(prompt).lower())
    assert len(words) > 30
    assert np.mean([word in known for word in words]) > 0.75


def test_the_task_is_made_from_the_held_out_text(tmp_path: Path) -> None:
    for name in ("build_task.py", "heldout.txt"):
        shutil.copy(EXAMPLE / name, tmp_path)
    subprocess.run([sys.executable, str(tmp_path / "build_task.py")], check=True, capture_output=True)
    assert (tmp_path / "word_order.jsonl").read_bytes() == (EXAMPLE / "word_order.jsonl").read_bytes()


def test_integers_know_word_order(compiled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = tmp_path / "task.jsonl"
    task.write_text("".join((EXAMPLE / "word_order.jsonl").read_text().splitlines(keepends=True)[:16]))
    capsys.readouterr()
    assert evaluate_main([str(compiled / "program.bspk"), "--tasks", str(task), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["tasks"][0]["results"]
    assert results["integer"]["accuracy"]["value"] > 0.5  # chance is 0.25


def test_the_example_folder_is_small() -> None:
    left_out = {"corpus", "teacher"}  # what training makes and git ignores
    shipped = [p for p in EXAMPLE.rglob("*") if p.is_file() and p.relative_to(EXAMPLE).parts[0] not in left_out]
    assert sum(path.stat().st_size for path in shipped) <= 16e6
