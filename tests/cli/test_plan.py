"""``bispik-compile --dry-run``: on a checkpoint, on NIR, and on a configuration without weights."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bispik.cli.compile import main
from bispik.models.bispikclm.checkpoint import save_checkpoint
from tests.checkpoints import random_checkpoint

Capture = pytest.CaptureFixture[str]

MODEL = """
[model]
vocab_size = 400
hidden_size = 256
intermediate_size = 512
num_heads = 4
num_layers = 2
max_positions = 1200
"""


def compile_json(capsys: Capture, *arguments: str | Path) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def printed(capsys: Capture, *arguments: str | Path) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    return " ".join(captured.err.split())


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(MODEL)
    return path


def test_a_dry_run_writes_nothing(model_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    values = compile_json(capsys, model_folder / "ckpt.pt", "--dry-run", "-o", tmp_path / "out")
    assert values["system"] == "oheo-gulch"
    assert not (tmp_path / "out").exists()


def test_a_dry_run_plans_what_the_compile_then_takes(model_folder: Path, compiled: Path, capsys: Capture) -> None:
    planned = compile_json(capsys, model_folder / "ckpt.pt", "--dry-run")
    report = json.loads((compiled / "report.json").read_text())
    assert planned["neurocores"] == report["mapping"]["neurocores"]
    assert planned["limits"] == report["mapping"]["limits"]


def test_a_dry_run_says_that_norms_are_not_for_neurocores(tmp_path: Path, capsys: Capture) -> None:
    checkpoint = random_checkpoint(7, block_norm="pre", num_layers=1)
    save_checkpoint(checkpoint, tmp_path / "norms.pt")
    values = compile_json(capsys, tmp_path / "norms.pt", "--dry-run", "--window", "8")
    assert values["norms_on_embedded_processors"] == ["block_00/attn/norm", "block_00/ffn/norm"]
    assert main([str(tmp_path / "norms.pt"), "--dry-run", "--window", "8"]) == 0
    printed = " ".join(capsys.readouterr().err.split())
    assert "2 norms inside blocks" in printed
    assert "embedded processor of the chip" in printed


def test_a_shape_has_a_plan_at_every_width_and_window(capsys: Capture) -> None:
    values = compile_json(capsys, "--config", "opt-125m", "--dry-run")
    plans = {(plan["window"], plan["bits"]): plan for plan in values["plans"]}
    assert set(plans) == {(window, bits) for window in (256, 1024, 2048) for bits in (8, 6, 4, 2, 1)}
    assert (values["window"], values["bits"]) == (2048, 8)
    asked = plans[2048, 8]
    assert {key: values[key] for key in asked if key not in ("bits", "window")}.items() <= asked.items()
    for plan in plans.values():
        assert plan["neurocores"] >= plan["neurocores_lower_bound"] > 100
        assert plan["chips"] == -(-plan["neurocores"] // 120)
        assert set(plan["parts"]) == {"embedding", "body", "kv_state", "head"}
        assert plan["limited_by"] in plan["limits"]
        for part in plan["parts"].values():
            limit = plan["limits"][part["limited_by"]]["limit"]
            assert part["neurocores"] == part["use"][part["limited_by"]] / limit
            assert part["system"]
    assert values["embedding_rows_on_host"] == 50272 + 2048


def test_a_configuration_has_the_plan_of_its_checkpoint_and_of_its_nir(
    model_folder: Path, compiled: Path, tmp_path: Path, capsys: Capture
) -> None:
    checkpoint = random_checkpoint(7, vocab_size=300, current_norm="batch", max_positions=16)
    sheet = tmp_path / "run.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in checkpoint.config.to_dict().items()]
    sheet.write_text("\n".join(["checkpoint = 'of a training sheet.pt'", "[model]", *lines]))
    plans = [
        compile_json(capsys, *source, "--dry-run")
        for source in (("--config", sheet), (model_folder / "ckpt.pt",), (compiled / "model.nir",))
    ]
    for plan in plans:
        del plan["network"]
    assert plans[0] == plans[1] == plans[2]


def test_windows_are_those_that_the_network_has_positions_for(sheet: Path, capsys: Capture) -> None:
    values = compile_json(capsys, "--config", sheet, "--dry-run")
    assert list(dict.fromkeys(plan["window"] for plan in values["plans"])) == [256, 1024, 1200]
    values = compile_json(capsys, "--config", sheet, "--dry-run", "--window", "300", "--bits", "5")
    assert list(dict.fromkeys(plan["window"] for plan in values["plans"])) == [256, 300, 1024]
    assert (values["window"], values["bits"]) == (300, 5)


def test_the_tables_say_what_limits_each_part_and_what_stays_on_the_host(sheet: Path, capsys: Capture) -> None:
    tables = printed(capsys, "--config", sheet, "--dry-run", "--head", "host")
    for words in ("256 tokens: neurocores", "1,200 tokens", "K/V state", "mem", "oheo-gulch", "Chips"):
        assert words in tables
    assert "The embedding table (1,600 rows) stays on the host, in no neurocore" in tables
    assert "The language-model head runs on the host" in tables
    assert "LM head" not in tables
    assert "LM head" in printed(capsys, "--config", sheet, "--dry-run")


def test_a_network_too_large_for_every_board_has_a_plan_that_says_how_far_off(
    sheet: Path, tmp_path: Path, capsys: Capture
) -> None:
    sheet.write_text(MODEL.replace("num_layers = 2", "num_layers = 80"))
    target = tmp_path / "one chip.toml"
    packaged = Path(__file__).parents[2] / "compiler" / "targets" / "loihi2.toml"
    target.write_text(packaged.read_text().split("[systems.kapoho-point]")[0])
    values = compile_json(capsys, "--config", sheet, "--dry-run", "--target", target)
    assert values["system"] is None
    assert values["of_largest_system"] == values["neurocores"] / 120
    assert f"none: {values['of_largest_system']:.3g} times oheo-gulch" in printed(
        capsys, "--config", sheet, "--dry-run", "--target", target
    )


def test_chips_with_fewer_usable_neurocores_hold_less(sheet: Path, capsys: Capture) -> None:
    usual, fewer = (
        compile_json(capsys, "--config", sheet, "--dry-run", *option) for option in ((), ("--usable-neurocores", "5"))
    )
    assert fewer["neurocores"] == usual["neurocores"]
    assert fewer["chips"] == -(-usual["neurocores"] // 5)
    assert (usual["system"], fewer["system"]) == ("oheo-gulch", "kapoho-point")


def test_a_configuration_is_planned_without_pytorch() -> None:
    program = (
        "import sys; from bispik.cli.compile import main; "
        "assert main(['--config', 'opt-125m', '--dry-run', '--json']) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "opt-7b", "--dry-run"], "--config opt-7b: unknown; choose one of opt-1.3b, opt-125m, opt-350m"),
        (["--config", "opt-125m"], "no weights to compile: add --dry-run"),
        (["ckpt.pt", "--config", "opt-125m", "--dry-run"], "takes the place of ckpt.pt"),
        (["--config", "nowhere.toml", "--dry-run"], "nowhere.toml: cannot read the configuration"),
        (["--config", "opt-125m", "--dry-run", "--window", "4096"], "--window 4096.*2048 positions"),
        (["--config", "opt-125m", "--dry-run", "--usable-neurocores", "0"], "--usable-neurocores 0.*1 to 128"),
        (["--config", "opt-125m", "--dry-run", "--bits", "9"], "--bits 9"),
        (["--config", "opt-125m", "--dry-run", "--neurons", "stock"], "subtract their threshold; use --neurons bispik"),
        (["--config", "opt-125m", "--dry-run", "--system", "oheo-gulch"], "oheo-gulch: too small.*kapoho-point|alia"),
        (["--config", "opt-125m", "--dry-run", "--system", "tiny"], "tiny.*oheo-gulch"),
    ],
)
def test_a_bad_request_gets_one_line(capsys: Capture, arguments: list[str], message: str) -> None:
    assert main(arguments) == 2
    found = capsys.readouterr()
    assert found.out == ""
    (line,) = found.err.strip().splitlines()
    assert re.search(message, line), line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[data]\n", r"bad.toml: table \[model\] is missing"),
        (MODEL + "wings = 2\n", r"bad.toml: \[model\]: unknown keys wings"),
        (MODEL.replace("= 256", "= 255"), "bad.toml: configuration: hidden_size 255 is not a multiple"),
        ("[model\n", "bad.toml: not TOML"),
    ],
)
def test_a_bad_configuration_gets_one_line(tmp_path: Path, capsys: Capture, text: str, message: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    assert main(["--config", str(tmp_path / "bad.toml"), "--dry-run"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, line), line
