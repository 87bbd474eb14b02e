"""``bispik-run`` and ``bispik-report`` as their users meet them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bispik.backends.sim import SimSession
from bispik.backends.trace import opened_trace
from bispik.cli.report import main as report_main
from bispik.cli.run import main as run_main
from bispik.cli.text import TextStream, decode, encode, words_of

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
    backends = ["sim", "reference", "lava", "onnx"]
    for backend in backends:
        assert run_main([str(program), *PROMPT, "--backend", backend, "--max-new-tokens", "4", "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert set(results[0]) >= {"backend", "execution_mode", "text", "tokens", "spikes", "counts", "seconds"}
    assert [result["backend"] for result in results] == backends
    assert results[0]["spikes"] > 0
    for key in ("text", "tokens", "spikes", "counts"):
        assert all(result[key] == results[0][key] for result in results)


def test_sampling_is_reproducible_and_depends_on_the_seed(compiled: Path, capsys: Capture) -> None:
    texts = []
    for seed in ("1", "1", "2"):
        sampling = ["--temperature", "3", "--top-k", "50", "--seed", seed, "--max-new-tokens", "8"]
        assert run_main([str(compiled / "program.bspk"), *PROMPT, *sampling]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("And it came to")


def ran(capsys: Capture, program: Path, *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert run_main([str(program), *map(str, arguments), "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_sampling_gives_the_same_tokens_on_every_backend(compiled: Path, capsys: Capture) -> None:
    sampling = ["--temperature", 2, "--top-k", 40, "--seed", 3, "--max-new-tokens", 4]
    prompts = ["--prompt", "And it", "--prompt", "And it"]
    program = compiled / "program.bspk"
    results = [ran(capsys, program, *prompts, *sampling, "--backend", name) for name in ("reference", "sim", "lava")]
    tokens = [[run["tokens"] for run in result["runs"]] for result in results]
    assert tokens[0] == tokens[1] == tokens[2]
    assert tokens[0][0] != tokens[0][1]  # a stream of its own for each
    assert results[0]["counts"] == results[1]["counts"] == results[2]["counts"]
    assert tokens[0][0] == ran(capsys, program, "--prompt", "And it", *sampling)["tokens"]


@pytest.mark.timeout(120)
def test_several_processes_show_the_texts_of_one(compiled: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('"And it came"\n\n{"prompt": "Friends, Romans"}\n"The rain"\n')
    arguments = ["--prompts", file, "--max-new-tokens", 4, "--temperature", 1]
    program = compiled / "program.bspk"
    one, two = (ran(capsys, program, *arguments, "--jobs", jobs) for jobs in (1, 2))
    for result in (one, two):
        for run in result["runs"]:
            del run["seconds"]
    assert one == two
    assert one["spikes"] == sum(run["spikes"] for run in one["runs"])
    assert one["counts"]["tokens"] == sum(len(run["tokens"]) for run in one["runs"])
    texts = []
    for jobs in ("1", "2"):
        assert run_main([str(program), *map(str, arguments), "--jobs", jobs]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] == "".join(run["text"] + "\n" for run in one["runs"])


def test_text_comes_token_by_token_and_never_in_half_characters(model_folder: Path) -> None:
    tokenizer = (model_folder / "tokenizer.json").read_text()
    text = "naïve 日本語 😀!"
    ids = encode(tokenizer, text, "a text").tolist()
    stream = TextStream(tokenizer)
    pieces = [stream.advance(ids[: n + 1]) for n in range(len(ids))]
    assert "".join([*pieces, stream.finish(ids)]) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert sum(bool(piece) for piece in pieces) == len(text)  # the tokeniser knows bytes only, so far from English

    cut = TextStream(tokenizer)  # the last character stays incomplete
    shown = "".join(cut.advance(ids[: n + 1]) for n in range(len(ids) - 2))
    assert shown == text[:-2]
    assert shown + cut.finish(ids[:-2]) == TextStream(tokenizer).text(ids[:-2])


def test_words_are_the_text_of_each_token(model_folder: Path) -> None:
    tokenizer = (model_folder / "tokenizer.json").read_text()
    said = "And it came to pass: naïve 雨, the river."
    ids = encode(tokenizer, said, "a text").tolist()
    words = words_of(tokenizer, ids)
    assert len(words) == len(ids)
    assert "".join(words) == said
    assert "".join(words_of(tokenizer, ids[:-1])) == decode(tokenizer, ids[:-1])
    assert words_of(tokenizer, []) == ()


def test_a_compile_and_a_report_show_single_neurons(compiled: Path, capsys: Capture, tmp_path: Path) -> None:
    written = json.loads((compiled / "report.json").read_text())
    assert report_main([str(compiled / "program.bspk"), "--json", "--csv", str(tmp_path)]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["raster"] == written["raster"] != []
    assert values["rate_distribution"] == written["rate_distribution"]
    assert "Spikes over the text" in (compiled / "report.html").read_text()
    assert len((tmp_path / "raster.csv").read_text().splitlines()) == 1 + len(values["raster"])
    assert "".join(token["text"] for token in values["energy"]["tokens"]) == values["text"]["prompt"]


def test_text_is_written_as_it_is_made(compiled: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[str] = []
    read_counted = SimSession.read_counted

    def watched(self: SimSession, *arguments: Any) -> Any:
        fed.append(capsys.readouterr().out)
        return read_counted(self, *arguments)

    monkeypatch.setattr(SimSession, "read_counted", watched)
    assert run_main([str(compiled / "program.bspk"), *PROMPT, "--max-new-tokens", "3"]) == 0
    assert len(fed) == 4
    assert fed[0] == ""
    assert fed[1] == "And it came to"
    assert "".join(fed[2:])


def test_probed_membranes_are_in_the_trace(compiled: Path, tmp_path: Path, capsys: Capture) -> None:
    trace = tmp_path / "run.trace"
    ran(capsys, compiled / "program.bspk", *PROMPT, "--max-new-tokens", 1, "--trace", trace, "--probe", "embed")
    with opened_trace(trace) as read:
        (chunk,) = read.chunks()
        assert chunk.membranes.keys() == {"embed"}
        assert chunk.membranes["embed"].shape == chunk.outputs["embed"].shape


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
    assert "And it came to" in re.sub(r"<[^>]+>", "", (tmp_path / "r.html").read_text())


def test_a_program_alone_can_be_accounted_for_under_any_profile(compiled: Path, capsys: Capture) -> None:
    joules = {}
    for profile in ("loihi2", "paper-45nm"):
        assert report_main([str(compiled / "program.bspk"), "--profile", profile, "--json"]) == 0
        energy = json.loads(capsys.readouterr().out)["energy"]
        assert energy["profile"] == profile
        joules[profile] = energy["dynamic_j_per_token"]
    assert joules["paper-45nm"] != joules["loihi2"]


def test_a_program_in_use(compiled: Path, capsys: Capture) -> None:
    program, options = str(compiled / "program.bspk"), ["--batch-size", "8", "--token-rate", "50", "--draws", "20"]
    assert report_main([program, *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["in_use"]["batch"], found["in_use"]["tokens_per_second"]) == (8, 50)
    assert found["j_per_token_drawn"]["p05"] < found["j_per_token_drawn"]["p95"]
    assert found["energy"]["to_halve"][0]["constants"]
    assert report_main([program, "--time-steps", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    steps, tokens = counts["by_time_step"], counts["per_token"]
    assert len(steps["step"]) == counts["steps"]
    assert sum(steps["spike"]) == sum(tokens["spike"]) == counts["events"]["spike"]
    assert sum(entry["spike"] for entry in counts["by_node"]) == sum(counts["by_neurocore"]["spike"])
    assert report_main([program, *options]) == 0
    printed = capsys.readouterr().err
    for words in ("To halve this range, measure:", "Drawn 20 times:", "Per 1,000 tokens", "8 sequences at once"):
        assert words in printed


def test_programs_are_compared(compiled: Path, compiled_stock: Path, tmp_path: Path, capsys: Capture) -> None:
    programs = [str(folder / "program.bspk") for folder in (compiled, compiled_stock)]
    picture, tables = tmp_path / "p.svg", tmp_path / "csv"
    assert report_main([*programs, "--compare", "--json", "-o", str(picture), "--csv", str(tables)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["neurons"] for row in found["programs"]] == ["bispik", "stock"]
    names = [row["name"] for row in found["programs"]]
    assert names == [compiled.name, compiled_stock.name]
    assert set(found["unbeaten"]) <= set(names)
    assert "<svg" in picture.read_text()
    assert (tables / "programs.csv").read_text().count("\n") == 3
    assert report_main([programs[0], "--json"]) == 0
    energy = json.loads(capsys.readouterr().out)["energy"]
    assert found["programs"][0]["total"] == pytest.approx(energy["j_per_token"])
    assert report_main([*programs, "--compare"]) == 0
    printed = capsys.readouterr().err
    assert compiled.name in printed
    assert "Bits per" in printed


def test_the_papers_table_marks_a_program(compiled: Path, capsys: Capture) -> None:
    assert report_main(["--paper", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["program"] is None
    assert report_main(["--paper", str(compiled / "program.bspk"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["program"]["audited"] > 0
    assert report_main(["--paper"]) == 0
    assert "impossible" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no program given"),
        (["PROGRAM", "PROGRAM"], "give --compare"),
        (["PROGRAM", "PROGRAM", "--compare", "-o", "p.html"], "written as .svg"),
        (["PROGRAM", "--paper", "--profile", "loihi2"], "leave out --profile"),
        (["PROGRAM", "--paper", "--draws", "5"], "--draws is for the report of one program"),
        (["PROGRAM", "PROGRAM", "--compare", "--token-rate", "5"], "--token-rate is for the report of one program"),
        (["--paper", "--input", "x.npy"], "--input is for the report of one program"),
        (["PROGRAM", "--input", "x.npy"], "--input is for networks from NIR"),
        (["PROGRAM", "--csv", "PROGRAM"], "cannot be written"),
        (["PROGRAM", "--token-rate", "1e12"], "ask for fewer"),
        (["PROGRAM", "--draws", "0"], "0 draws"),
    ],
)
def test_a_wrong_report_is_one_line(compiled: Path, capsys: Capture, arguments: list[str], message: str) -> None:
    program = str(compiled / "program.bspk")
    assert report_main([program if a == "PROGRAM" else a for a in arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", ""], "prompt is empty"),
        (["--prompt", "the king " * 40], "do not fit the window"),
        (["--prompt", "a", "--backend", "loihi2"], "lava-loihi"),
        (["--prompt", "a", "--max-new-tokens", "-1"], "--max-new-tokens -1"),
        (["--tokens", "/nowhere/ids.txt"], "cannot read the token ids"),
        (["--prompts", "/nowhere/prompts.jsonl"], "cannot read the prompts"),
        (["--prompt", "a", "--prompt", ""], "prompt 2 is empty"),
        (["--prompt", "a", "--prompt", "b", "--trace", "/tmp/never.trace"], "--trace records one sequence"),
        (["--prompt", "a", "--jobs", "0"], "--jobs 0: give at least 1"),
        (["--prompt", "a", "--jobs", "2", "--trace", "/tmp/never.trace"], "leave out --jobs and --dask"),
        (["--prompt", "a", "--threads", "0"], "--threads 0: give at least 1"),
        (["--prompt", "a", "--backend", "reference", "--threads", "2"], "reference has no threads"),
        (["--prompt", "a", "--probe", "embed"], "give --trace FILE"),
        (["--prompt", "a", "--temperature", "-1"], "temperature -1.0"),
    ],
)
def test_bad_input_gets_one_line(compiled: Path, capsys: Capture, arguments: list[str], message: str) -> None:
    assert run_main([str(compiled / "program.bspk"), *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("line", ["{", "3", '{"text": "a"}', "[]", ""])
def test_a_prompt_that_is_none_is_named_by_its_line(compiled: Path, tmp_path: Path, capsys: Capture, line: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(f'"a"\n{line}' if line else "\n")
    assert run_main([str(compiled / "program.bspk"), "--prompts", str(file)]) == 2
    assert ("p.jsonl, line 2: " if line else "p.jsonl: holds no prompt") in capsys.readouterr().err


@pytest.mark.parametrize("main", [run_main, report_main])
def test_a_file_that_is_no_program_is_refused(tmp_path: Path, capsys: Capture, main: object) -> None:
    path = tmp_path / "p.bspk"
    path.write_bytes(b"nonsense")
    arguments = [str(path), *(PROMPT if main is run_main else [])]
    assert callable(main)
    assert main(arguments) == 2
    assert "p.bspk: not a compiled program" in capsys.readouterr().err
