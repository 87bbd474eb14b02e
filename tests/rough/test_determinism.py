"""The same input and seed give the same bytes: in every process, with any number of threads, on another Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.rough.commands import contents

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
COMPILE = "import sys; from bispik.cli.compile import main; sys.exit(main(sys.argv[1:]))"

OTHER_PYTHON = os.environ.get("BISPIK_OTHER_PYTHON", "")
"""Of another environment with this bispik, of another Python: ``make install PYTHON=...`` in a copy of the tree."""


def compiled(
    source: Path, out: Path, threads: int, *options: str, python: str = sys.executable, hashes: str = "0"
) -> Mapping[str, str]:
    """Compile in a process of its own; return digests of what it wrote."""
    environment = {**os.environ, **dict.fromkeys(THREADS, str(threads)), "PYTHONHASHSEED": hashes}
    command = [python, "-c", COMPILE, str(source), "-o", str(out), *options]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return contents(out)


LM = ("--run", "sim", "--prompt", "And it", "--temperature", "0.8", "--seed", "5")
STREAM = ("--dt", "1e-3", "--emit", "onnx", "--seed", "5")


def test_a_language_model(checkpoint: Path, tmp_path: Path) -> None:
    first = compiled(checkpoint, tmp_path / "1", 1, *LM)
    assert sorted(first) == ["board.svg", "model.nir", "program.bspk", "report.html", "report.json"]
    assert compiled(checkpoint, tmp_path / "2", 2, *LM, hashes="1") == first


def test_a_network_in_nir(network: Path, tmp_path: Path) -> None:
    first = compiled(network, tmp_path / "1", 1, *STREAM)
    assert sorted(first) == ["board.svg", "network.onnx", "program.bspk", "report.html", "report.json"]
    assert compiled(network, tmp_path / "2", 2, *STREAM, hashes="1") == first


@pytest.mark.slow
def test_the_example(tmp_path: Path) -> None:
    """With matrices that a library for linear algebra shares among threads."""
    source = Path(__file__).resolve().parents[2] / "examples" / "kjv_shakespeare" / "checkpoint.pt"
    assert compiled(source, tmp_path / "1", 1) == compiled(source, tmp_path / "2", 2, hashes="1")


@pytest.mark.skipif(not OTHER_PYTHON, reason="BISPIK_OTHER_PYTHON names no other environment")
def test_another_python(checkpoint: Path, network: Path, tmp_path: Path) -> None:
    assert compiled(checkpoint, tmp_path / "1", 1, *LM) == compiled(
        checkpoint, tmp_path / "2", 1, *LM, python=OTHER_PYTHON
    )
    assert compiled(network, tmp_path / "3", 1, *STREAM) == compiled(
        network, tmp_path / "4", 1, *STREAM, python=OTHER_PYTHON
    )
