"""A training that was killed goes on as if it had not been."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bispik.models.bispikclm.checkpoint import load_checkpoint
from bispik.models.bispikclm.run_config import IntegerTraining, TrainingRun, load_run
from bispik.models.bispikclm.run_log import json_lines, read_log
from bispik.models.bispikclm.training import train_student
from bispik.models.errors import BispikError
from tests.models.runs import TOML, KilledError, losses, train, write_run

STEPS = 8
SHORT = TOML.replace("steps = 30", f"steps = {STEPS}\nsave_every = 3\naccumulate = 2").replace(
    "warmup = 5\n", "warmup = 2\ndropout = 0.1\n", 1
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    torch.set_num_threads(1)
    run = load_run(write_run(tmp_path_factory.mktemp("whole"), SHORT))
    train(run, stage="teacher")
    train(run)
    return run


def copy_of(run: TrainingRun, folder: Path) -> TrainingRun:
    """Return the run with files of its own; text, tokeniser and teacher are shared."""
    return dataclasses.replace(run, checkpoint=folder / "student.pt", log=folder / "log.jsonl")


@pytest.mark.parametrize("step", range(1, STEPS))
def test_a_kill_behind_any_step_changes_nothing(uninterrupted: TrainingRun, tmp_path: Path, step: int) -> None:
    run = copy_of(uninterrupted, tmp_path)
    with pytest.raises(KilledError):
        train(run, kill_behind=step)
    assert (tmp_path / "student.student.state").exists() == (step > 3)  # the save stands behind the report
    train(run)
    assert losses(run) == losses(uninterrupted)
    resumed = [line["step"] for line in read_log(run.log) if line.get("event") == "resumed"]
    assert resumed == ([(step - 1) // 3 * 3] if step > 3 else [])
    expected = load_checkpoint(uninterrupted.checkpoint).tensors
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load_checkpoint(run.checkpoint).tensors.items())
    assert not (tmp_path / "student.student.state").exists()


def test_a_teacher_with_dropout_goes_on_too(uninterrupted: TrainingRun, tmp_path: Path) -> None:
    run = copy_of(uninterrupted, tmp_path)
    run = dataclasses.replace(run, teacher=dataclasses.replace(run.teacher, source=str(tmp_path / "teacher")))
    with pytest.raises(KilledError):
        train(run, kill_behind=5, stage="teacher")
    train(run, stage="teacher")
    assert losses(run, "teacher") == losses(uninterrupted, "teacher")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "teacher"]


@pytest.mark.parametrize("step", [2, 5, 7])
def test_a_part_in_integers_goes_on_with_the_same_scales(uninterrupted: TrainingRun, tmp_path: Path, step: int) -> None:
    run = dataclasses.replace(copy_of(uninterrupted, tmp_path), qat=IntegerTraining(bits=4, first=0.5, refresh=2))
    train(run)
    whole, in_floats = losses(run), losses(uninterrupted)
    assert whole[:4] == in_floats[:4]
    assert whole[4] != in_floats[4]
    with pytest.raises(KilledError):
        train(run, kill_behind=step)
    train(run)
    assert losses(run) == whole


def test_a_half_written_line_of_the_log_is_dropped(uninterrupted: TrainingRun, tmp_path: Path) -> None:
    run = copy_of(uninterrupted, tmp_path)
    with pytest.raises(KilledError):
        train(run, kill_behind=5)
    with run.log.open("a") as log:
        log.write('{"stage": "student", "st')
    train(run)
    assert losses(run) == losses(uninterrupted)


def test_a_state_of_another_run_or_a_damaged_one_is_refused(uninterrupted: TrainingRun, tmp_path: Path) -> None:
    run = copy_of(uninterrupted, tmp_path)
    with pytest.raises(KilledError):
        train(run, kill_behind=4)
    other = dataclasses.replace(run, student=dataclasses.replace(run.student, learning_rate=1e-3))
    with pytest.raises(BispikError, match=r"student.student.state: the state of a run with other settings"):
        train(other)
    state = tmp_path / "student.student.state"
    content = state.read_bytes()
    for damaged in (b"", content[:1000], b"not a state"):
        state.write_bytes(damaged)
        with pytest.raises(BispikError, match="not a training's state"):
            train(run)
    train_student(other, lambda _metrics: None, fresh=True)
    assert not state.exists()


def test_a_full_disk_leaves_the_last_state_and_checkpoint(
    uninterrupted: TrainingRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_of(uninterrupted, tmp_path)
    with pytest.raises(KilledError):
        train(run, kill_behind=4)
    before = (tmp_path / "student.student.state").read_bytes()

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(BispikError, match=r"student\.student\.state: cannot be written: No space left on device"):
            train(run)
    assert (tmp_path / "student.student.state").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "student.student.state"]
    train(run)
    assert losses(run) == losses(uninterrupted)


def test_the_log_of_other_stages_stays(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    write = json_lines(log)
    for line in ({"stage": "teacher", "step": 9}, {"stage": "student", "step": 1}, {"stage": "student", "step": 2}):
        write(line)
    write({"stage": "student", "step": 1, "event": "resumed"})
    assert [json.loads(line) for line in log.read_text().splitlines()] == [
        {"stage": "teacher", "step": 9},
        {"stage": "student", "step": 1},
        {"stage": "student", "step": 1, "event": "resumed"},
    ]
