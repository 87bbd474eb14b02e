"""``bispik-compile`` and ``bispik-run`` on networks in NIR, as their users meet them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from bispik.cli.compile import main as compile_main
from bispik.cli.report import main as report_main
from bispik.cli.run import main as run_main

Capture = pytest.CaptureFixture[str]
DT = "1e-3"
STEPS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recurrent classifier in NIR, input for it, and labels."""
    folder, rng = tmp_path_factory.mktemp("network"), np.random.default_rng(0)
    hidden = nir.LIF(tau=np.full(12, 0.01), r=np.full(12, 10.0), v_leak=np.zeros(12), v_threshold=np.ones(12))
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([6])}),
        "fc": nir.Affine(rng.normal(size=(12, 6)), 0.01 * rng.normal(size=12)),
        "hidden": hidden,
        "back": nir.Linear(0.1 * rng.normal(size=(12, 12))),
        "read": nir.Linear(rng.normal(size=(3, 12))),
        "out": nir.LIF(tau=np.full(3, 0.02), r=np.full(3, 10.0), v_leak=np.zeros(3), v_threshold=np.ones(3)),
        "output": nir.Output({"output": np.array([3])}),
    }
    edges = [("input", "fc"), ("fc", "hidden"), ("hidden", "back"), ("back", "hidden"), ("hidden", "read"),
             ("read", "out"), ("out", "output")]  # fmt: skip
    nir.write(folder / "net.nir", nir.NIRGraph(nodes, edges))
    np.save(folder / "spikes.npy", rng.random((STEPS, 6)) < 0.3)
    np.save(folder / "batch.npy", rng.random((5, STEPS, 6)) < 0.3)
    np.save(folder / "labels.npy", np.arange(5) % 3)
    return folder


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    """The compiled network."""
    out = folder / "out"
    arguments = [
        str(folder / "net.nir"),
        "--dt",
        str(DT),
        "--calib",
        str(folder / "spikes.npy"),
        "-o",
        str(out),
        "--json",
    ]
    assert compile_main(arguments) == 0
    return out / "program.bspk"


def compile_json(capsys: Capture, *arguments: str | Path) -> dict[str, Any]:
    assert compile_main([*map(str, arguments), "--json"]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def run_json(capsys: Capture, *arguments: str | Path) -> dict[str, Any]:
    assert run_main([*map(str, arguments), "--json"]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def test_json_answers_does_it_fit_is_it_the_same_and_what_does_it_cost(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    spikes = folder / "spikes.npy"
    values = compile_json(
        capsys, folder / "net.nir", "--dt", DT, "--calib", spikes, "-o", tmp_path, "--run", "reference"
    )
    assert values["quantization"]["input"] == "spikes.npy"
    assert values["quantization"]["steps"] == STEPS
    assert 0.95 < values["quantization"]["spike_agreement"] <= 1
    assert list(values["network"]["populations"]) == ["hidden", "out"]
    assert sorted(s["delay"] for s in values["network"]["populations"]["hidden"]["synapses"]) == [0, 1]
    assert values["mapping"]["neurocores"] == 1
    each = values["energy"]["j_per_inference"]
    assert 0 < each["low"] <= each["default"] <= each["high"]
    assert values["fully_binary"]["answer"]
    assert values["run"]["execution_mode"].startswith("reference")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "board.svg", "program.bspk", "report.html", "report.json",
    ]  # fmt: skip


def test_the_same_file_gives_the_same_program(folder: Path, program: Path, tmp_path: Path, capsys: Capture) -> None:
    compile_json(capsys, folder / "net.nir", "--dt", DT, "--calib", folder / "spikes.npy", "-o", tmp_path)
    assert (tmp_path / "program.bspk").read_bytes() == program.read_bytes()


def test_files_for_other_tools(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    net = forward_only(folder / "net.nir", tmp_path / "forward.nir")
    kinds = ["--emit", "netx", "--emit", "onnx"]
    values = compile_json(capsys, net, "--dt", DT, *kinds, "-o", tmp_path / "out")
    assert {Path(path).name for path in values["artifacts"]} >= {"network.net", "network.onnx"}
    assert all(Path(path).stat().st_size for path in values["artifacts"])


def forward_only(source: Path, path: Path) -> Path:
    """The classifier without its loop and its biases, which netx has no place for."""
    graph: Any = nir.read(source)
    nodes = {name: node for name, node in graph.nodes.items() if name != "back"}
    nodes["fc"] = nir.Linear(nodes["fc"].weight)
    nir.write(path, nir.NIRGraph(nodes, [edge for edge in graph.edges if "back" not in edge]))
    return path


@pytest.mark.parametrize("backend", ["sim", "onnx", "lava"])
def test_every_backend_says_the_same(folder: Path, program: Path, capsys: Capture, backend: str) -> None:
    found = run_json(capsys, program, "--input", folder / "spikes.npy", "--backend", backend)
    expected = run_json(capsys, program, "--input", folder / "spikes.npy", "--backend", "reference")
    assert found["execution_mode"].startswith(backend)
    assert found["outputs"] == expected["outputs"]
    assert found["counts"] == expected["counts"]
    assert sum(found["outputs"][0]) > 0


def test_a_batch_begins_anew_with_every_sample_and_is_held_against_labels(
    folder: Path, program: Path, tmp_path: Path, capsys: Capture
) -> None:
    batch = np.load(folder / "batch.npy")
    found = run_json(
        capsys, program, "--input", folder / "batch.npy", "--batch", "--labels", folder / "labels.npy",
        "--out", tmp_path / "out.npy",
    )  # fmt: skip
    np.save(tmp_path / "one.npy", batch[3])
    alone = run_json(capsys, program, "--input", tmp_path / "one.npy", "--out", tmp_path / "one.csv")
    assert found["outputs"][3] == alone["outputs"][0]
    winners = np.argmax(found["outputs"], axis=1)
    assert found["accuracy"] == (winners == np.load(folder / "labels.npy")).mean()
    assert (np.loadtxt(tmp_path / "one.csv", delimiter=",") == np.load(tmp_path / "out.npy")[3]).all()


def test_processes_share_a_batch_with_the_same_outputs_and_counts(folder: Path, program: Path, capsys: Capture) -> None:
    batch = ["--input", str(folder / "batch.npy"), "--batch"]
    alone, shared = (run_json(capsys, program, *batch, "--jobs", jobs) for jobs in ("1", "2"))
    for key in ("outputs", "counts", "saturations"):
        assert alone[key] == shared[key]


def test_a_tie_and_a_silent_network_are_not_right(program: Path, tmp_path: Path, capsys: Capture) -> None:
    silence, first = tmp_path / "silence.npy", tmp_path / "first.npy"
    np.save(silence, np.zeros((2, STEPS, 6), np.int8))
    np.save(first, np.zeros(2, np.int64))
    found = run_json(capsys, program, "--input", silence, "--batch", "--labels", first)
    assert found["accuracy"] == 0


def test_what_may_not_be_the_network_any_more_is_said(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    net = folder / "net.nir"
    silent = tmp_path / "silence.npy"
    np.save(silent, np.zeros((STEPS, 6), np.int8))
    values = compile_json(capsys, net, "--dt", DT, "--calib", silent, "-o", tmp_path / "a")
    assert any("nothing spiked" in doubt for doubt in values["doubts"])
    values = compile_json(capsys, net, "--dt", "1e-7", "--calib", folder / "spikes.npy", "-o", tmp_path / "b")
    assert any("a larger time step (--dt)" in doubt for doubt in values["doubts"])


def test_a_trace_holds_spikes_and_probed_membranes(
    folder: Path, program: Path, tmp_path: Path, capsys: Capture
) -> None:
    trace = tmp_path / "trace.h5"
    found = run_json(capsys, program, "--input", folder / "spikes.npy", "--trace", trace, "--probe", "hidden")
    with h5py.File(trace) as file:
        sent = {name: np.asarray(file[f"sent/{name}"]) for name in ("hidden", "out")}
        assert np.asarray(file["membranes/hidden"]).shape == (STEPS, 12)
    assert sent["out"].sum(axis=0).tolist() == found["outputs"][0]
    assert sent["hidden"].sum() + sent["out"].sum() == found["counts"]["events"]["spike"]


def test_real_numbers_are_sent_as_graded_spikes(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "x.npy", np.linspace(-1, 1, 6))
    values = compile_json(
        capsys, folder / "net.nir", "--dt", DT, "--input-range", "-1", "1", "--input-bits", "5", "--calib",
        tmp_path / "x.npy", "--encode", "current", "--steps", "30", "-o", tmp_path / "out",
    )  # fmt: skip
    assert values["network"]["input"] == {"shape": [6], "low": -31, "high": 31, "unit": 31.0}
    assert values["quantization"]["spike_agreement"] > 0.8
    assert not values["fully_binary"]["answer"]


def test_a_dry_run_writes_nothing(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    values = compile_json(capsys, folder / "net.nir", "--dt", DT, "--dry-run", "-o", tmp_path / "out")
    assert values["neurocores"] == 1
    assert not (tmp_path / "out").exists()


def test_loihi1_is_a_target_with_a_profile_of_its_own(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    values = compile_json(capsys, folder / "net.nir", "--dt", DT, "--target", "loihi1", "-o", tmp_path)
    assert values["mapping"]["target"] == "loihi1"
    assert values["energy"]["profile"] == "loihi1-davies"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "does not say how long a time step is"),
        (["--convention", "snntorch"], "--reset"),
        (["--convention", "brian"], "brian"),
        (["--dt", "1e-3", "--window", "4"], "--window is for language models"),
        (["--dt", "1e-3", "--input-range", "1", "2"], "0 lies between them"),
        (["--dt", "1e-3", "--input-bits", "40"], "--input-bits 40"),
        (["--dt", "1e-3", "--calib", "labels.npy"], "labels.npy: has shape"),
        (["--dt", "1e-3", "--reset", "soft"], "use --neurons bispik"),
        (["--dt", "1e-3", "--bits", "9"], "--bits 9"),
        (
            ["--dt", "1e-3", "--emit", "nir-unrolled"],
            "net.nir is a network in NIR, which becomes one of netx, onnx, sanafe",
        ),
        (["--dt", "1e-3", "--encode", "rate"], "--encode says how the input of --calib FILE"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    folder: Path, tmp_path: Path, capsys: Capture, arguments: list[str], message: str
) -> None:
    given = [str(folder / a) if a.endswith(".npy") else a for a in arguments]
    assert compile_main([str(folder / "net.nir"), *given, "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--input"),
        (["--prompt", "hello"], "--prompt is for language models"),
        (["--input", "labels.npy"], "labels.npy: has shape"),
        (["--input", "batch.npy", "--batch", "--trace", "t.h5"], "--trace records one sequence"),
        (["--input", "spikes.npy", "--probe", "hidden"], "give --trace"),
        (["--input", "spikes.npy", "--trace", "t.h5", "--jobs", "2"], "leave out --jobs"),
        (["--input", "spikes.npy", "--trace", "t.h5", "--probe", "nobody"], "nobody"),
        (["--input", "spikes.npy", "--labels", "spikes.npy"], "expected a whole number for each of 1 sequence"),
        (["--input", "spikes.npy", "--out", "out.wav"], "written to .npy"),
        (["--input", "spikes.npy", "--backend", "loihi2"], "loihi2:"),
    ],
)
def test_a_wrong_run_is_one_line(
    folder: Path, program: Path, tmp_path: Path, capsys: Capture, arguments: list[str], message: str
) -> None:
    kept = {".npy": folder, ".h5": tmp_path, ".wav": tmp_path}
    given = [str(kept[Path(a).suffix] / a) if Path(a).suffix in kept else a for a in arguments]
    assert run_main([str(program), *given]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_options_of_networks_are_refused_for_language_models(compiled: Path, capsys: Capture) -> None:
    assert run_main([str(compiled / "program.bspk"), "--input", "x.npy"]) == 2
    assert "--input is for networks from NIR" in capsys.readouterr().err


def test_a_network_is_accounted_for_on_any_input(folder: Path, program: Path, tmp_path: Path, capsys: Capture) -> None:
    spikes, page, tables = folder / "spikes.npy", tmp_path / "r.html", tmp_path / "csv"
    given = ["--input", str(spikes), "--json", "-o", str(page), "--csv", str(tables)]
    assert report_main([str(program), *given]) == 0
    found = json.loads(capsys.readouterr().out)
    stored = json.loads((program.parent / "report.json").read_text())
    assert found["energy"] == stored["energy"]  # it was compiled with this input
    assert "<html" in page.read_text()
    assert (tables / "energy.lines.csv").stat().st_size > 0
    batch = ["--input", str(folder / "batch.npy"), "--batch", "--json", "--profile", "loihi2-inherit-l1"]
    assert report_main([str(program), *batch]) == 0
    energy = json.loads(capsys.readouterr().out)["energy"]
    assert (energy["profile"], energy["sequences"]) == ("loihi2-inherit-l1", 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--input FILE"),
        (["--input", "/nowhere.npy"], "/nowhere.npy"),
        (["--paper"], "this is for language models"),
        (["--compare"], "two programs or traces at least"),
        (["--batch-size", "2"], "--batch-size is for language models"),
    ],
)
def test_a_wrong_report_is_one_line(program: Path, capsys: Capture, arguments: list[str], message: str) -> None:
    assert report_main([str(program), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
