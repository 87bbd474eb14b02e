"""A training run so small that it takes seconds, and how a run is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bispik.cli.quantiser import quantiser
from bispik.models.bispikclm.run_config import TrainingRun
from bispik.models.bispikclm.run_log import json_lines, read_log
from bispik.models.bispikclm.training import train_student, train_teacher

TOML = """
checkpoint = "student.pt"
log = "log.jsonl"
seed = 1
checkpoint_dtype = "float16"
compile = false

[data]
train = "text.txt"
validation = "validation.txt"
tokenizer = "tokenizer.json"

[model]
vocab_size = 280
hidden_size = 16
intermediate_size = 32
num_heads = 2
num_layers = 1
max_positions = 16
steps_per_token = 2
current_norm = "batch"

[teacher]
source = "teacher"

[teacher.training]
steps = 30
batch = 8
learning_rate = 1e-2
warmup = 5
evaluate_every = 20

[student]
steps = 30
batch = 8
learning_rate = 1e-2
warmup = 5
evaluate_every = 20

[start]
rate = 0.2
score_rate = 0.15

[losses]
temperature = 2

[card]
file = "CARD.md"
title = "A tiny network"
data = "Two sentences, **public domain**."
prompt = "In the"
new_tokens = 20
"""


def write_run(folder: Path, toml: str = TOML) -> Path:
    """Write a run and its texts; returns the path of the TOML file."""
    folder.mkdir(parents=True, exist_ok=True)
    verse = "In the beginning God created the heaven and the earth.\n"
    other = "And the earth was without form, and void.\n"
    (folder / "text.txt").write_text((verse + other) * 60)
    (folder / "validation.txt").write_text((other + verse) * 6)
    path = folder / "run.toml"
    path.write_text(toml)
    return path


class KilledError(Exception):
    """Stands for the process ending at once."""


def train(run: TrainingRun, *, kill_behind: int = 0, stage: str = "student") -> None:
    """Train a stage; optionally die behind a step."""
    write = json_lines(run.log)

    def report(metrics: dict[str, Any]) -> None:
        write(metrics)
        if metrics.get("step") == kill_behind and "loss" in metrics:
            raise KilledError

    if stage == "teacher":
        train_teacher(run, report)
    else:
        train_student(run, report, scales=quantiser(run))


def losses(run: TrainingRun, stage: str = "student") -> list[dict[str, Any]]:
    timed = ("tokens_per_second",)
    lines = [line for line in read_log(run.log) if line.get("stage") == stage and "loss" in line]
    return [{name: value for name, value in line.items() if name not in timed} for line in lines]
