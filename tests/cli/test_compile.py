"""``bispik-compile`` as its users meet it."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from bispik.backends.onnx.export import export_onnx
from bispik.backends.sim import _kernels
from bispik.backends.sim.kernel_path import VARIABLE
from bispik.cli.compile import main
from bispik.cli.doctor import Finding, table
from bispik.compiler.artifact import load_program
from bispik.compiler.nir_import import read_nir
from bispik.compiler.nir_unrolled import write_unrolled
from bispik.models.bispikclm.checkpoint import load_checkpoint, save_checkpoint
from tests.checkpoints import random_checkpoint, write_shards

Capture = pytest.CaptureFixture[str]


def compile_json(capsys: Capture, *arguments: str | Path) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def test_json_answers_does_it_fit_is_it_the_same_and_what_does_a_token_cost(
    model_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    values = compile_json(capsys, model_folder / "ckpt.pt", "--target", "loihi2", "-o", tmp_path)
    assert set(values) >= {
        "model", "nir", "quantization", "mapping", "energy", "audit", "execution_mode", "artifacts", "seconds",
    }  # fmt: skip
    assert values["model"]["steps_per_token"] == 3
    assert values["model"]["layers"] == 2
    assert values["quantization"]["bits"] == 8
    assert 0.8 < values["quantization"]["spike_agreement"] <= 1
    assert abs(values["quantization"]["bpb_integer"] / values["quantization"]["bpb_float"] - 1) < 0.2
    mapping, energy = values["mapping"], values["energy"]
    assert mapping["neurocores"] >= mapping["neurocores_lower_bound"] >= 1
    assert mapping["system"] == "oheo-gulch"
    assert energy["j_per_token"]["low"] <= energy["j_per_token"]["default"] <= energy["j_per_token"]["high"]
    assert energy["synops_per_token"] > 0
    assert values["audit"]
    assert values["execution_mode"].startswith("sim")
    assert all(Path(path).is_file() for path in values["artifacts"].values())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "board.svg", "model.nir", "program.bspk", "report.html", "report.json",
    ]  # fmt: skip


def test_compiling_twice_gives_the_same_bytes(
    model_folder: Path, compiled: Path, tmp_path: Path, capsys: Capture
) -> None:
    compile_json(capsys, model_folder / "ckpt.pt", "-o", tmp_path)
    for name in ("model.nir", "program.bspk", "report.html"):
        assert (tmp_path / name).read_bytes() == (compiled / name).read_bytes(), name


def test_a_folder_of_shards_compiles_with_the_texts_in_it(model_folder: Path, tmp_path: Path) -> None:
    index = write_shards(load_checkpoint(model_folder / "ckpt.pt"), tmp_path / "model")
    for name in ("tokenizer.json", "calibration.txt", "heldout.txt"):
        shutil.copy(model_folder / name, index.parent)
    for source, out in ((index, tmp_path / "index"), (index.parent, tmp_path / "folder")):
        assert main([str(source), "-o", str(out), "--json"]) == 0
    for name in ("model.nir", "program.bspk"):
        assert (tmp_path / "folder" / name).read_bytes() == (tmp_path / "index" / name).read_bytes()


def test_the_exported_nir_compiles_to_the_same_program(
    model_folder: Path, compiled: Path, tmp_path: Path, capsys: Capture
) -> None:
    texts = ["--calib", str(model_folder / "calibration.txt"), "--held-out", str(model_folder / "heldout.txt")]
    compile_json(capsys, compiled / "model.nir", *texts, "-o", tmp_path)
    assert (tmp_path / "program.bspk").read_bytes() == (compiled / "program.bspk").read_bytes()


def test_the_exported_nir_of_a_ternary_network_compiles_to_the_same_program(
    model_folder: Path, compiled_ternary: Path, tmp_path: Path, capsys: Capture
) -> None:
    texts = ["--calib", str(model_folder / "calibration.txt"), "--held-out", str(model_folder / "heldout.txt")]
    values = compile_json(capsys, compiled_ternary / "model.nir", *texts, "-o", tmp_path, "--dump-after", "quantize")
    assert (tmp_path / "program.bspk").read_bytes() == (compiled_ternary / "program.bspk").read_bytes()
    assert values["quantization"]["spike_agreement"] > 0.8
    assert "ternary spikes" in (tmp_path / "quantize.txt").read_text()


def test_a_window_for_other_tools(model_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    arguments = [str(model_folder / "ckpt.pt"), "--window", "3", "--emit", "nir-soft-lowered", "-o", str(tmp_path)]
    assert main(arguments) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"wrote {tmp_path}/soft_lowered.nir" in said.replace("soft_ lowered", "soft_lowered")
    for part in ("3 tokens side by side for 3 steps", "norse", "snnTorch", "SpikingJelly", "embedding", "final norm"):
        assert part in said
    write_unrolled(read_nir(tmp_path / "model.nir"), tmp_path / "again.nir", 3, "soft_lowered")
    assert (tmp_path / "soft_lowered.nir").read_bytes() == (tmp_path / "again.nir").read_bytes()


def test_the_integers_and_the_hosts_part_as_onnx(model_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    values = compile_json(capsys, model_folder / "ckpt.pt", "--window", "4", "--emit", "onnx", "-o", tmp_path)
    program = load_program(tmp_path / "program.bspk").program
    export_onnx(program, tmp_path / "again.onnx")
    assert (tmp_path / "program.onnx").read_bytes() == (tmp_path / "again.onnx").read_bytes()
    assert set(values["artifacts"]) >= {"program.onnx", "embedding.onnx", "readout.onnx"}
    assert all(Path(path).is_file() for path in values["artifacts"].values())


def test_a_window_for_other_tools_is_a_network_that_compiles(
    model_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    source = model_folder / "ckpt.pt"
    values = compile_json(capsys, source, "--window", "2", "--emit", "nir-soft-lowered", "-o", tmp_path / "one")
    window = values["artifacts"]["soft_lowered.nir"]
    values = compile_json(capsys, window, "-o", tmp_path / "two", "--input-bits", "8", "--neurons", "bispik")
    assert values["network"]["populations"]


def test_lavas_own_neurons_have_no_ternary_spikes(
    model_folder: Path, compiled_ternary: Path, tmp_path: Path, capsys: Capture
) -> None:
    capsys.readouterr()  # what the fixture printed
    texts = ["--calib", str(model_folder / "calibration.txt"), "--held-out", str(model_folder / "heldout.txt")]
    arguments = [str(compiled_ternary / "model.nir"), "-o", str(tmp_path / "out"), "--neurons", "stock", *texts]
    assert_refused(capsys, "only spikes 0 or 1.*use --neurons bispik", arguments)
    assert not list(tmp_path.glob("out/*"))


def test_an_interruption_leaves_nothing(
    model_folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bispik.cli.compile_flow.verify", interrupted)
    assert main([str(model_folder / "ckpt.pt"), "-o", str(tmp_path / "out")]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_it_runs_the_program_on_a_prompt(model_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    run = ["--run", "reference", "--prompt", "And it came to", "--max-new-tokens", "3"]
    values = compile_json(capsys, model_folder / "ckpt.pt", "-o", tmp_path, *run)
    assert values["execution_mode"].startswith("reference")
    assert values["text"].startswith("And it came to")


@pytest.mark.parametrize("stage", ["lift", "nir", "quantize", "map"])
def test_a_stage_can_be_dumped(model_folder: Path, tmp_path: Path, stage: str) -> None:
    assert main([str(model_folder / "ckpt.pt"), "-o", str(tmp_path), "--dump-after", stage]) == 0
    assert "block_01/ffn/fc1" in (tmp_path / f"{stage}.txt").read_text()


def test_tables_name_what_is_used_and_what_it_costs(model_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main([str(model_folder / "ckpt.pt"), "-o", str(tmp_path)]) == 0
    printed = capsys.readouterr().err
    for words in ("neurocores", "bits per byte", "report.html", "estimated"):
        assert words.lower() in printed.lower()


def test_doctor_and_targets_need_no_checkpoint(capsys: Capture) -> None:
    assert main(["--doctor", "--json"]) == 0
    parts = {row["part"]: row["found"] for row in json.loads(capsys.readouterr().out)}
    assert parts["numpy"]
    assert "onnxruntime" in parts["onnx"]
    assert parts["lava-loihi (Intel)"] is None
    assert main(["--list-targets", "--json"]) == 0
    assert "loihi2" in json.loads(capsys.readouterr().out)


def test_doctor_prints_the_brackets_of_an_extra() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table((Finding(part="transformers", found="", note="pip install 'bispik[train]'"),)))
    assert "pip install 'bispik[train]'" in console.export_text()


def test_doctor_says_which_kernels_run_and_why_none_does(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def finding() -> dict[str, Any]:
        assert main(["--doctor", "--json"]) == 0
        rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return next(row for row in rows if row["part"] == "C++ kernels")

    monkeypatch.setattr(_kernels, "built_paths", lambda: [("portable", True), ("avx2", True), ("amx", False)])
    monkeypatch.setenv(VARIABLE, "portable")
    assert finding()["found"] == "portable (also here: avx2; not on this processor: amx)"
    monkeypatch.setenv(VARIABLE, "amx")
    assert finding()["found"] is None
    assert "BISPIK_KERNELS=amx: this processor cannot run them; here are portable, avx2" in finding()["note"]


class Bomb:
    """Would make a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def broken(folder: Path, case: str, good: Path) -> Path:
    """Make one bad checkpoint."""
    path = folder / "ckpt.pt"
    if case == "not a checkpoint":
        path.write_bytes(b"hello")
    elif case == "code":
        torch.save({"format": "bispik-checkpoint", "bomb": Bomb(folder / "exploded")}, path)
    elif case != "missing file":
        checkpoint = load_checkpoint(good)
        tensors = dict(checkpoint.tensors)
        name = "blocks.0.ffn.fc1.weight"
        if case == "missing tensor":
            del tensors[name]
        elif case == "mis-shaped tensor":
            tensors[name] = tensors[name].T.contiguous()
        elif case == "NaN":
            tensors[name] = tensors[name].clone().fill_(float("nan"))
        torch.save(
            {"format": "bispik-checkpoint", "version": 1, "config": checkpoint.config.to_dict(), "tensors": tensors},
            path,
        )
    return path


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("missing file", "no such file"),
        ("not a checkpoint", "not a PyTorch checkpoint"),
        ("code", "could run code"),
        ("missing tensor", "blocks.0.ffn.fc1.weight"),
        ("mis-shaped tensor", r"shape \[16, 24\], expected \[24, 16\]"),
        ("NaN", "NaN"),
    ],
)
def test_a_bad_checkpoint_gets_one_line_and_leaves_nothing(
    model_folder: Path, tmp_path: Path, capsys: Capture, case: str, message: str
) -> None:
    path = broken(tmp_path, case, model_folder / "ckpt.pt")
    texts = ["--calib", str(model_folder / "calibration.txt"), "--held-out", str(model_folder / "heldout.txt")]
    assert_refused(capsys, message, [str(path), "-o", str(tmp_path / "out"), *texts])
    assert not (tmp_path / "exploded").exists()
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "loihi9"], "loihi9.*loihi2"),
        (["--system", "tiny-point"], "tiny-point.*oheo-gulch"),
        (["--bits", "9"], "--bits 9.*1 to 8"),
        (["--window", "17"], "--window 17.*16"),
        (["--neurons", "stock"], "--neurons bispik"),
        (["--run", "sim"], "--prompt"),
        (["--run", "sim", "--prompt", ""], "prompt is empty"),
        (["--run", "sim", "--prompt", "the king " * 40], "tokens do not fit the window of 16"),
        (["--profile", "free-energy"], "free-energy.*loihi2"),
        (["--calib", "/nowhere/calib.txt"], "cannot read the calibration text"),
        (["--emit", "nir-unrolled"], "embed has a soft reset.*--emit nir-soft-lowered"),
        (["--emit", "netx"], "ckpt.pt is a language model, which becomes one of nir-unrolled, nir-soft-lowered, onnx"),
        (["--no-such-flag"], "no-such-flag"),
    ],
)
def test_a_bad_option_gets_one_line_and_leaves_nothing(
    model_folder: Path, tmp_path: Path, capsys: Capture, arguments: list[str], message: str
) -> None:
    assert_refused(capsys, message, [str(model_folder / "ckpt.pt"), "-o", str(tmp_path), *arguments])
    assert not list(tmp_path.iterdir())


def test_a_network_that_is_too_large_for_the_system_is_told_by_how_much(
    model_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    wide = random_checkpoint(
        1, vocab_size=300, hidden_size=256, intermediate_size=9000, num_layers=3, max_positions=16, norm_batches=0
    )
    save_checkpoint(wide, tmp_path / "ckpt.pt")
    texts = ["--calib", str(model_folder / "calibration.txt"), "--held-out", str(model_folder / "heldout.txt")]
    tokenizer = ["--tokenizer", str(model_folder / "tokenizer.json")]
    assert_refused(
        capsys,
        r"neurocores.*kapoho-point",
        [str(tmp_path / "ckpt.pt"), "-o", str(tmp_path / "out"), "--system", "oheo-gulch", *texts, *tokenizer],
    )
    assert not list(tmp_path.glob("out/*"))


def assert_refused(capsys: Capture, message: str, arguments: list[str]) -> None:
    try:
        code = main(arguments)
    except SystemExit as left:  # argparse
        code = left.code if isinstance(left.code, int) else 1
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1
    assert re.search(message, printed.err), printed.err


def test_a_budget_chooses_bits_and_populations_are_ranked(model_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    values = compile_json(capsys, model_folder / "ckpt.pt", "-o", tmp_path, "--bits", "4", "--budget", "bpb=2%")
    found = values["quantization"]
    assert set(found["bits_by_node"].values()) <= {1, 2, 3, 4}
    assert found["bpb_integer"] < 1.05 * found["bpb_float"]
    divergences = [loss["divergence"] for loss in found["losses"]]
    assert divergences == sorted(divergences, reverse=True)
    assert {loss["name"] for loss in found["losses"]} >= found["bits_by_node"].keys()


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("chips=0", "--budget chips=0: no network fits into that"),
        ("chips=few", r"give chips=N, neurocores=N or bpb=P%"),
        ("bpb=1", r"give chips=N, neurocores=N or bpb=P%"),
        ("bpb=0.000001%", r"with 2 bits everywhere the integers already lose [\d.]+%"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(
    model_folder: Path, tmp_path: Path, capsys: Capture, budget: str, message: str
) -> None:
    arguments = [str(model_folder / "ckpt.pt"), "-o", str(tmp_path / "out"), "--bits", "2", "--budget", budget]
    assert_refused(capsys, message, arguments)
    assert not (tmp_path / "out").exists()


def test_a_budget_takes_weights(capsys: Capture) -> None:
    assert_refused(capsys, "leave out --dry-run", ["--config", "opt-125m", "--dry-run", "--budget", "chips=1"])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--json", "--board"], "--board draws among the tables"),
        (["--dry-run", "--board"], "--dry-run writes and runs nothing"),
    ],
)
def test_a_board_is_not_drawn_where_it_cannot_be(
    more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["checkpoint.pt", *more]) == 2
    assert words in capsys.readouterr().err
