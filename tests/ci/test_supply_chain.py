"""What is made of the lock: licences, software bill of materials, and an audit that never passes in silence."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def chain() -> Any:
    spec = importlib.util.spec_from_file_location("supply_chain", ROOT / ".ci" / "supply_chain.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(monkeypatch: pytest.MonkeyPatch, chain: Any, text: str) -> None:
    def ended(*_arguments: object, **_options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, stdout=text, stderr="")

    monkeypatch.setattr(chain.subprocess, "run", ended)


def test_every_licence_is_a_permitted_one(
    chain: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert chain.licences() == 0, capsys.readouterr().out


def test_an_unknown_licence_is_named(
    chain: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(chain, "declared", lambda name: "GPL-3.0" if name == "rich" else "MIT")
    assert chain.licences() == 1
    assert "rich: GPL-3.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "code", "message"),
    [
        ("no answer", 0, "AUDIT SKIPPED"),
        (json.dumps({"dependencies": [{"name": "rich", "skip_reason": "?"}]}), 0, "AUDIT SKIPPED"),
        (json.dumps({"dependencies": [{"name": "rich", "version": "1", "vulns": []}]}), 0, "1 packages, 0 with"),
        (json.dumps({"dependencies": [{"name": "rich", "version": "1", "vulns": [{"id": "CVE-1"}]}]}), 1, "CVE-1"),
    ],
)
def test_an_audit_without_an_answer_says_that_it_is_skipped(
    chain: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: str, code: int, message: str
) -> None:
    monkeypatch.chdir(ROOT)
    answer(monkeypatch, chain, found)
    assert chain.audit() == code
    assert message in capsys.readouterr().out


def test_the_bill_of_materials_names_what_is_locked(
    chain: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from cyclonedx.model.bom import Bom

    monkeypatch.chdir(ROOT)
    wheel = tmp_path / "bispik-0.1.0-cp311-cp311-linux_x86_64.whl"
    wheel.write_bytes(b"a wheel")
    for name in ("first.json", "second.json"):
        assert chain.sbom(wheel, tmp_path / name) == 0
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()
    bom: Any = Bom
    read = bom.from_json(json.loads((tmp_path / "first.json").read_text()))
    assert {entry.name for entry in read.components} == set(chain.locked())
    assert read.metadata.component.name == "bispik"
    capsys.readouterr()
