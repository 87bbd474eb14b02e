"""A quantity known within bounds: low, default and high are carried through every sum and product."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """0 <= low <= default <= high, in SI units.

    Bounds are combined as if every quantity were at its low, or at its high, at once: the widest honest interval.
    """

    low: float
    default: float
    high: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.low <= self.default <= self.high < math.inf):
            raise ValueError(f"not a range: {self.low} <= {self.default} <= {self.high} must hold, from 0 on")

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.default + other.default, self.high + other.high)

    def __mul__(self, factor: float | Range) -> Range:
        if isinstance(factor, Range):
            return Range(self.low * factor.low, self.default * factor.default, self.high * factor.high)
        return Range(self.low * factor, self.default * factor, self.high * factor)

    def __truediv__(self, divisor: float) -> Range:
        return Range(self.low / divisor, self.default / divisor, self.high / divisor)

    @property
    def width(self) -> float:
        """High less low."""
        return self.high - self.low

    def to_dict(self) -> dict[str, float]:
        """Return plain values for JSON."""
        return {"low": self.low, "default": self.default, "high": self.high}


ZERO = Range(0.0, 0.0, 0.0)


def exactly(value: float) -> Range:
    """Return a range without width."""
    return Range(value, value, value)


def total(ranges: Iterable[Range]) -> Range:
    """Return the sum, each bound rounded once."""
    rows = list(ranges)
    low, default, high = (math.fsum(getattr(row, bound) for row in rows) for bound in ("low", "default", "high"))
    return Range(low, default, high)
