"""What commands tell of themselves, and the bundle for a bug report, which holds neither weights nor prompts."""

from __future__ import annotations

import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bispik.cli.compile import main as compile_main
from bispik.cli.run import main as run_main
from bispik.models.bispikclm.checkpoint import load_checkpoint

Capture = pytest.CaptureFixture[str]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_log_has_every_stage_with_its_time(model_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    command = [str(model_folder / "ckpt.pt"), "-o", str(tmp_path / "out"), "-v", "--log-json", str(tmp_path / "log")]
    assert compile_main(command) == 0
    logged = lines((tmp_path / "log").read_text(encoding="utf-8"))
    assert logged[0]["message"] == "begin"
    assert logged[-1]["message"] == "end"
    timed = [
        entry["facts"]["stage"]
        for entry in logged
        if "seconds" in entry.get("facts", {}) and entry["facts"].get("stage")
    ]
    assert timed == ["lift", "nir", "quantize", "map", "verify", "write", "run", "report"]
    said = capsys.readouterr().err
    assert "bispik-compile: quantising" in said
    assert "bispik-compile: quantize took " in said
    assert not logging.getLogger("bispik").handlers


def test_nothing_is_told_unless_it_is_asked_for(compiled: Path, capsys: Capture) -> None:
    assert run_main([str(compiled / "program.bspk"), "--prompt", "And", "--max-new-tokens", "1"]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_bundle_holds_no_weights_and_no_prompts(model_folder: Path, tmp_path: Path, capsys: Capture) -> None:
    prompt = "the rain fell on the hill"
    bundle = tmp_path / "bundle.zip"
    command = [str(model_folder / "ckpt.pt"), "-o", str(tmp_path / "out"), "--run", "sim", "--prompt", prompt]
    assert compile_main([*command, "--debug", str(bundle)]) == 0
    assert f"wrote {bundle}" in capsys.readouterr().err
    with zipfile.ZipFile(bundle) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    assert sorted(held) == ["command.json", "environment.json", "error.txt", "log.jsonl"]
    assert held["error.txt"] == b""
    whole = b"".join(held.values())
    assert prompt.encode() not in whole
    assert json.loads(held["command.json"])["options"]["prompt"] == "25 characters"
    assert "numpy" in json.loads(held["environment.json"])["packages"]
    for name, tensor in load_checkpoint(model_folder / "ckpt.pt").tensors.items():
        values = tensor.numpy().astype(np.float32)
        assert values.tobytes()[:64] not in whole, name
        assert values.size < 2 or ", ".join(map(repr, values.reshape(-1)[:2].tolist())) not in whole.decode()


def test_a_bundle_is_written_when_the_command_fails(tmp_path: Path, capsys: Capture) -> None:
    assert compile_main([str(tmp_path / "none.pt"), "--debug", str(tmp_path / "bundle.zip")]) == 2
    assert "no such file" in capsys.readouterr().err
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        assert "BispikError" in archive.read("error.txt").decode()
        assert lines(archive.read("log.jsonl").decode())[-2]["level"] == "error"


def test_a_bug_leaves_its_traceback_in_the_bundle(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("bispik.cli.compile_flow.verify", broken)
    with pytest.raises(ZeroDivisionError):
        compile_main([str(model_folder / "ckpt.pt"), "-o", str(tmp_path / "out"), "--debug", str(tmp_path / "b.zip")])
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert "ZeroDivisionError: a bug" in archive.read("error.txt").decode()


@pytest.mark.parametrize("option", ["--log-json", "--debug"])
def test_a_place_that_cannot_be_written(option: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("")
    assert compile_main(["--list-targets", option, str(tmp_path / "file" / "x.zip")]) == 2
    assert "cannot be written" in capsys.readouterr().err
