"""The log of a run: metrics as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bispik.models.errors import BispikError
from bispik.models.files import read_text, written_whole

LogLine = Mapping[str, Any]


def json_lines(path: Path) -> Callable[[dict[str, Any]], None]:
    """Return a report that appends each line of metrics to a file as JSON.

    A line with an ``event`` says that a stage starts or goes on; it takes the stage's lines of later steps away.

    Raises:
        BispikError: if the file cannot be written, here or later.
    """

    def write(metrics: dict[str, Any]) -> None:
        if "event" in metrics:
            _forget_later_steps(path, metrics["stage"], metrics["step"])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as log:
                log.write(json.dumps(metrics) + "\n")
        except OSError as error:
            raise BispikError(f"{path}: the log cannot be written: {error.strerror or error}") from error

    return write


def _forget_later_steps(path: Path, stage: str, step: int) -> None:
    if not path.exists():
        return
    lines = read_text(path, "training log").splitlines()
    kept = [line for line in lines if not _is_later(line, stage, step)]
    with written_whole(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _is_later(text: str, stage: str, step: int) -> bool:
    """Whether a line is of a later step, or was cut off by the kill."""
    try:
        line = json.loads(text)
    except ValueError:
        return True
    return isinstance(line, dict) and line.get("stage") == stage and int(line.get("step", 0)) > step


def read_log(path: Path) -> list[LogLine]:
    """Return the lines of a training log.

    Raises:
        BispikError: if it cannot be read, or a line is not a JSON object.
    """
    lines: list[LogLine] = []
    for number, text in enumerate(read_text(path, "training log").splitlines(), start=1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise BispikError(f"{path}: line {number} is not JSON: {error}") from error
        if not isinstance(line, dict):
            raise BispikError(f"{path}: line {number} is not a JSON object")
        lines.append(line)
    return lines
