"""What ``bispik-eval`` prints: progress, tables, one JSON object."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bispik.backends.counts import SYNOPS
from bispik.backends.multiple_choice import Score
from bispik.cli.evaluate_flow import Evaluated, TaskEvaluation, TextEvaluation


class Bars:
    """Progress bars on a terminal; nothing elsewhere, and nothing left of them behind the block."""

    def __init__(self, terminal: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=terminal,
            transient=True,
            disable=not terminal.is_terminal,
        )

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start(self, title: str, length: int) -> Callable[[int], None]:
        """Begin a bar; returns what takes steps."""
        bar = self._progress.add_task(title, total=length)
        return lambda steps: self._progress.update(bar, advance=steps)


def tables(evaluated: Evaluated) -> Iterator[Table | str]:
    """Yield what to print, in order."""
    modes = evaluated.modes
    reference = "teacher" if "teacher" in modes else next(iter(modes))
    if text := evaluated.text:
        yield f"{text.path}: {text.tokens:,} tokens predicted, {text.num_bytes:,} bytes"
        yield _text_table(text, reference)
        if text.counts:
            events = text.counts["events"]
            synops = sum(events[event] for event in SYNOPS.values())
            yield f"integer: {text.counts['tokens']:,} tokens run, {events['spike']:,} spikes, {synops:,} synops"
    for task in evaluated.tasks:
        yield f"{task.path}: {task.examples:,} examples, chance {task.chance:.1%}"
        yield _task_table(task)
    rooms = ", ".join(f"{row} {window}" for row, window in evaluated.windows.items())
    alike = set(evaluated.windows.values()) == {evaluated.window}
    yield f"windows of {evaluated.window} tokens" + ("" if alike else f", the smallest of {rooms}")
    if "integer" in modes:
        yield f"integer ran on {modes['integer']}"


def as_json(evaluated: Evaluated) -> dict[str, Any]:
    """Return everything as plain values."""
    text = evaluated.text
    return {
        "window": evaluated.window,
        "windows": evaluated.windows,
        "execution_modes": evaluated.modes,
        "text": text and {**dataclasses.asdict(text), "path": str(text.path)},
        "tasks": [{**dataclasses.asdict(task), "path": str(task.path)} for task in evaluated.tasks],
    }


def _text_table(text: TextEvaluation, reference: str) -> Table:
    table = Table("Network")
    for heading in ("Bits per byte", "Perplexity per token", f"Relative to {reference}"):
        table.add_column(heading, justify="right")
    base = next(result for row, result in text.results.items() if row == reference).bits_per_byte
    for row, result in text.results.items():
        table.add_row(
            row,
            f"{result.bits_per_byte:.4f}",
            f"{result.perplexity:.2f}",
            f"{result.bits_per_byte / base:.4f}×" if base else "–",
        )
    return table


def _task_table(task: TaskEvaluation) -> Table:
    table = Table("Network")
    for heading in ("Accuracy", "Accuracy, likelihood per byte"):
        table.add_column(heading, justify="right")
    for row, result in task.results.items():
        table.add_row(row, _shown(result.accuracy), _shown(result.accuracy_per_byte))
    return table


def _shown(score: Score) -> str:
    error = "" if score.standard_error is None else f" ± {score.standard_error:.1%}"
    return f"{score.value:.1%}{error}"
