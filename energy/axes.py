"""Axes of the report's plots: round numbers, and where they lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bispik.energy.views import Tick

MOST_TICKS = 6


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis from 0 to ``top``, drawn from one place to another; both in units of the picture."""

    top: float
    step: float
    """Between two ticks."""
    start: float
    end: float

    @classmethod
    def to(cls, largest: float, start: float, end: float) -> Axis:
        """Return the axis that ends at the first round number that is not below the largest value."""
        largest = largest if largest > 0 else 1.0
        power = 10.0 ** math.floor(math.log10(largest))
        steps = (factor * power / 10 for factor in (1.0, 2.0, 2.5, 5.0, 10.0, 20.0))
        step = next(step for step in steps if math.ceil(round(largest / step, 9)) <= MOST_TICKS)
        return cls(step * math.ceil(round(largest / step, 9)), step, start, end)

    def at(self, value: float) -> float:
        """Return where a value lies."""
        return self.start + (self.end - self.start) * value / self.top

    def ticks(self, text: Callable[[float], str]) -> tuple[Tick, ...]:
        """Return all ticks, from 0 on."""
        number = math.floor(self.top / self.step + 1e-9)
        return tuple(Tick(label=text(self.step * n), at=self.at(self.step * n)) for n in range(number + 1))
