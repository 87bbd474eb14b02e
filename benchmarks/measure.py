"""What is measured: lines with a goal, and times of things that take turns."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Turn = Callable[[], float]
"""Does its work once and returns seconds per piece of it."""

SECONDS_MAX, ROUNDS_MIN = 20.0, 3
"""Of one comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One measured number, held against its goal."""

    part: str
    name: str
    value: float | None
    """None: not measured, and `note` says why."""
    unit: Literal["×", "%", "s", "ms", "GB", "tokens/s"]
    goal: float | None = None
    """None: measured for comparison."""
    at_most: bool = False
    """The goal is an upper limit."""
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None if there is none or nothing was measured."""
        if self.goal is None or self.value is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of one thing, one value per turn."""

    turns: tuple[float, ...]

    @property
    def best(self) -> float:
        """The fastest turn: what the code takes when nothing else disturbs the machine."""
        return min(self.turns)

    @property
    def median(self) -> float:
        """The typical turn."""
        return statistics.median(self.turns)

    @property
    def mean(self) -> float:
        """All turns together."""
        return statistics.fmean(self.turns)


def take_turns(turns: Mapping[str, Turn], rounds: int) -> dict[str, Times]:
    """Run everything once per round, A B C A B C ..., so that what else the machine does disturbs all alike.

    One round before these is not counted. On a slow machine there are fewer rounds, but a few at least.
    """
    for turn in turns.values():
        turn()
    times: dict[str, list[float]] = {name: [] for name in turns}
    stop = time.perf_counter() + SECONDS_MAX
    for done in range(rounds):
        if done >= ROUNDS_MIN and time.perf_counter() > stop:
            break
        for name, turn in turns.items():
            times[name].append(turn())
    return {name: Times(tuple(seconds)) for name, seconds in times.items()}


def timed(work: Callable[[], object], pieces: int = 1) -> Turn:
    """Return a turn that does work and counts it as so many pieces."""

    def turn() -> float:
        started = time.perf_counter()
        work()
        return (time.perf_counter() - started) / pieces

    return turn


def progress(text: str) -> None:
    """Say on stderr what is being done, if someone is looking."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
