"""``bispik-run`` and ``bispik-report`` as their users meet them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bispik.backends.trace import opened_trace
from bispik.cli.report import main as report_main
from bispik.cli.run import main as run_main

Capture = pytest.CaptureFixture[str]

PROMPT = ["--prompt", "And it came to"]


@pytest.mark.parametrize("fixture", ["compiled", "compiled_stock"])
def test_backends_give_the_same_tokens_spikes_and_counts(
    fixture: str, request: pytest.FixtureRequest, capsys: Capture
) -> None:
    assert_backends_agree(request.getfixturevalue(fixture) / "program.bspk", capsys)


def test_backends_agree_on_ternary_spikes(compiled_ternary: Path, tmp_path: Path, capsys: Capture) -> None:
    program = compiled_ternary / "program.bspk"
    assert_backends_agree(program, capsys)
    trace = tmp_path / "run.trace"
    assert run_main([str(program), *PROMPT, "--backend", "lava", "--max-new-tokens", "2", "--trace", str(trace)]) == 0
    capsys.readouterr()
    assert report_main([str(trace), "--json", "-o", str(tmp_path / "r.html")]) == 0
    operations = [entry["operation"] for entry in json.loads(capsys.readouterr().out)["audit"]]
    assert operations[0] == "Signed spikes through synapses"
    assert "numbers other than a binary spike cross synapses" in (tmp_path / "r.html").read_text()
    with opened_trace(trace) as read:
        outputs = [output for chunk in read.chunks() for output in chunk.outputs.values()]
    spikes = {int(value) for output in outputs for value in np.unique(output)}
    assert {-1, 0, 1} <= spikes


def assert_backends_agree(program: Path, capsys: Capture) -> None:
    capsys.readouterr()  # what compiling it printed
    results = []
    for backend in ("sim", "reference", "lava"):
        assert run_main([str(program), *PROMPT, "--backend", backend, "--max-new-tokens", "4", "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert set(results[0]) >= {"backend", "execution_mode", "text", "tokens", "spikes", "counts", "seconds"}
    assert [result["backend"] for result in results] == ["sim", "reference", "lava"]
    assert results[0]["spikes"] > 0
    for key in ("text", "tokens", "spikes", "counts"):
        assert results[0][key] == results[1][key] == results[2][key]


def test_sampling_is_reproducible_and_depends_on_the_seed(compiled: Path, capsys: Capture) -> None:
    texts = []
    for seed in ("1", "1", "2"):
        sampling = ["--temperature", "3", "--top-k", "50", "--seed", seed, "--max-new-tokens", "8"]
        assert run_main([str(compiled / "program.bspk"), *PROMPT, *sampling]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("And it came to")


def test_a_trace_reports_the_same_energy_as_the_run_that_wrote_it(
    compiled: Path, tmp_path: Path, capsys: Capture
) -> None:
    trace = tmp_path / "run.trace"
    assert (
        run_main([str(compiled / "program.bspk"), *PROMPT, "--max-new-tokens", "2", "--trace", str(trace), "--json"])
        == 0
    )
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert report_main([str(trace), "--json", "-o", str(tmp_path / "r.html")]) == 0
    energy = json.loads(capsys.readouterr().out)["energy"]
    assert energy["spikes_per_token"] == pytest.approx(counts["events"]["spike"] / counts["tokens"])
    assert "And it came to" in (tmp_path / "r.html").read_text()


def test_a_program_alone_can_be_accounted_for_under_any_profile(compiled: Path, capsys: Capture) -> None:
    joules = {}
    for profile in ("loihi2", "paper-45nm"):
        assert report_main([str(compiled / "program.bspk"), "--profile", profile, "--json"]) == 0
        energy = json.loads(capsys.readouterr().out)["energy"]
        assert energy["profile"] == profile
        joules[profile] = energy["dynamic_j_per_token"]
    assert joules["paper-45nm"] != joules["loihi2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", ""], "prompt is empty"),
        (["--prompt", "the king " * 40], "do not fit the window"),
        (["--prompt", "a", "--backend", "loihi2"], "lava-loihi"),
        (["--prompt", "a", "--max-new-tokens", "-1"], "--max-new-tokens -1"),
        (["--tokens", "/nowhere/ids.txt"], "cannot read the token ids"),
    ],
)
def test_bad_input_gets_one_line(compiled: Path, capsys: Capture, arguments: list[str], message: str) -> None:
    assert run_main([str(compiled / "program.bspk"), *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("main", [run_main, report_main])
def test_a_file_that_is_no_program_is_refused(tmp_path: Path, capsys: Capture, main: object) -> None:
    path = tmp_path / "p.bspk"
    path.write_bytes(b"nonsense")
    arguments = [str(path), *(PROMPT if main is run_main else [])]
    assert callable(main)
    assert main(arguments) == 2
    assert "p.bspk: not a compiled program" in capsys.readouterr().err
