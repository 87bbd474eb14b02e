"""bispik-train from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bispik.cli.train import main
from bispik.models.bispikclm.checkpoint import load_checkpoint
from tests.models.runs import TOML, write_run

SHORT = TOML.replace("steps = 30", "steps = 3").replace("evaluate_every = 20", "evaluate_every = 2")


def test_all_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_run(tmp_path, SHORT)
    threads = str(torch.get_num_threads())
    assert main([str(path), "--threads", threads]) == 0
    assert load_checkpoint(tmp_path / "student.pt").config.num_layers == 1
    assert (tmp_path / "CARD.md").read_text().startswith("# A tiny network")
    captured = capsys.readouterr()
    assert captured.out == ""
    words = " ".join(captured.err.split())
    for part in ("teacher step 2: loss", "student step 2: loss", "stored student: ", "model card: "):
        assert part in words

    teacher = (tmp_path / "teacher" / "model.safetensors").stat().st_mtime_ns
    (tmp_path / "student.pt").unlink()
    (tmp_path / "CARD.md").unlink()
    assert main([str(path), "--stage", "student"]) == 0
    assert (tmp_path / "teacher" / "model.safetensors").stat().st_mtime_ns == teacher
    assert not (tmp_path / "CARD.md").exists()
    assert main([str(path), "--stage", "card"]) == 0
    assert (tmp_path / "CARD.md").exists()


@pytest.mark.parametrize(
    ("stage", "old", "new", "message"),
    [
        ("all", "seed = 1", "", "missing keys seed"),
        ("all", '"text.txt"', '"none.txt"', "none.txt: cannot read the training text"),
        ("student", "seed", "seed", "no teacher is there"),
        ("card", "seed", "seed", "log.jsonl: cannot read the training log"),
    ],
)
def test_errors_are_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str, old: str, new: str, message: str
) -> None:
    path = write_run(tmp_path, SHORT.replace(old, new, 1))
    before = set(tmp_path.iterdir())
    assert main([str(path), "--stage", stage]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("bispik-train: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert {file.name for file in set(tmp_path.iterdir()) - before} <= {"tokenizer.json", ".cache"}


@pytest.mark.parametrize("threads", ["0", "-1", "two"])
def test_threads_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str], threads: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path / "run.toml"), "--threads", threads])
    assert caught.value.code == 2
    assert "--threads" in capsys.readouterr().err
