"""``--emit sanafe`` writes what SANA-FE runs, and what it finds there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from bispik.cli.compile import main as compile_main

sanafe = pytest.importorskip("sanafe")  # no wheel for this Python or processor


def check(folder: Path) -> dict[str, Any]:
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    architecture = sanafe.load_arch(folder / "architecture.yaml")
    chip = sanafe.SpikingChip(architecture)
    chip.load(sanafe.load_net(folder / "network.yaml", architecture))
    found = chip.sim(expected["steps"], timing_model="simple")
    assert (found["spikes"], found["packets_sent"]) == (expected["synops"], expected["messages"])
    assert found["energy"]["total"] == pytest.approx(expected["joules"], rel=1e-6)
    return expected


def test_a_network_in_nir(tmp_path: Path) -> None:
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([6])}),
        "fc": nir.Linear(np.random.default_rng(0).normal(size=(12, 6))),
        "out": nir.LIF(tau=np.full(12, 0.01), r=np.full(12, 10.0), v_leak=np.zeros(12), v_threshold=np.ones(12)),
        "output": nir.Output({"output": np.array([12])}),
    }
    nir.write(tmp_path / "net.nir", nir.NIRGraph(nodes, [("input", "fc"), ("fc", "out"), ("out", "output")]))
    arguments = ["--dt", "1e-3", "--profile", "loihi1-sanafe", "--emit", "sanafe", "-o", str(tmp_path / "out")]
    assert compile_main([str(tmp_path / "net.nir"), *arguments]) == 0
    expected = check(tmp_path / "out" / "sanafe")
    assert expected["profile"] == "loihi1-sanafe"
    assert expected["fired"] > expected["host_messages"] > 0


def test_a_language_model(model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, out = str(model_folder / "ckpt.pt"), tmp_path / "out"
    assert compile_main([checkpoint, "--emit", "sanafe", "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["artifacts"]["sanafe"] == str(out / "sanafe")
    assert check(out / "sanafe")["profile"] == "loihi2"
    assert compile_main([checkpoint, "--emit", "netx", "-o", str(out)]) == 2
    assert "is a language model, which becomes one of" in capsys.readouterr().err
