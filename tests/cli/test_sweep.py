"""bispik-sweep from the command line: variants of a tiny run."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from bispik.cli.sweep import main
from bispik.cli.train import main as train
from bispik.models.bispikclm.checkpoint import load_checkpoint
from tests.models.runs import TOML, write_run

SWEEP = """
run = "run.toml"
bits = [8]
calibration = "text.txt"
held_out = "validation.txt"

[variants]
"All terms" = { bits = [8, 2] }
"Without features" = { "losses.features" = 0 }
"T = 1" = { "model.steps_per_token" = 1 }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny run whose teacher is trained, and a sweep of it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("sweep")
    path = write_run(folder, TOML.replace("steps = 30", "steps = 4"))
    assert train([str(path), "--stage", "teacher"]) == 0
    (folder / "sweep.toml").write_text(SWEEP)
    return folder


def test_a_sweep_trains_compiles_and_compares(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out"
    arguments = [str(folder / "sweep.toml"), "-o", str(out), "--json"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "sweep.json").read_text())
    found = printed["outcomes"]
    assert [(o["variant"], o["bits"], o["steps_per_token"]) for o in found] == [
        ("All terms", 8, 2),
        ("All terms", 2, 2),
        ("Without features", 8, 2),
        ("T = 1", 8, 1),
    ]
    for outcome in found:
        energy = outcome["dynamic_joules"]
        assert 0 < energy["low"] <= energy["default"] <= energy["high"] < outcome["all_joules"]["high"]
        assert 1 < outcome["held_out_bpb_integer"] < 12
        assert 0 < outcome["mean_rate"] < 1
    # A step less per token, about half the spikes.
    assert found[3]["synops_per_token"] < 0.8 * found[0]["synops_per_token"]
    assert found[0]["validation_bpb"] == found[1]["validation_bpb"] != found[2]["validation_bpb"]
    assert load_checkpoint(out / "t_1.pt").config.steps_per_token == 1
    logged = [json.loads(line) for line in (out / "without_features.jsonl").read_text().splitlines()]
    assert not any("features" in line for line in logged)

    table = (out / "sweep.md").read_text().splitlines()
    assert len(table) == 2 + len(found)
    assert table[3].startswith("| All terms | 2 | 2 |")
    picture = ET.fromstring((out / "pareto.svg").read_text())
    titles = [element.text or "" for element in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert sum("bits per byte" in title and "a token" in title for title in titles) == len(found)

    # What is trained is not trained again, and the same numbers come out.
    made = {path: path.stat().st_mtime_ns for path in out.glob("*.pt")}
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == printed
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.pt")} == made


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('run = "run.toml"', "", "missing keys run"),
        ("bits = [8]", "bits = [9]", "bits is [9]; expected a list of numbers from 1 to 8"),
        ("bits = [8]", "bits = [8]\ncolour = 1", "unknown keys colour"),
        ('"losses.features" = 0', '"losses.taste" = 0', "'Without features': "),
        ('"losses.features" = 0', '"seed.taste" = 0', "seed is no table"),
        ('"T = 1"', '"all Terms"', "stored as the same file"),
        ('"T = 1"', '"!"', "no letter or digit"),
        ('run = "run.toml"', 'run = "none.toml"', "none.toml: cannot read the training run"),
        ('"T = 1" = {', '"T = 1" = 3 #', "expected a table of changes"),
    ],
)
def test_errors_are_one_line_and_exit_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    assert old in SWEEP
    sweep = folder / "wrong.toml"
    sweep.write_text(SWEEP.replace(old, new, 1))
    assert main([str(sweep), "-o", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not (tmp_path / "out").exists()
