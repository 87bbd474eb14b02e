"""Quality against energy: which networks no other one beats on both, and a picture of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bispik.energy.formats import round_joules
from bispik.energy.ranges import Range
from bispik.energy.report import template

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 170, 24, 56
"""Margins in pixels: axes to the left and below, the legend to the right."""

HEIGHT_STEPS = 6
"""Lines across the picture, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One network."""

    name: str
    series: str
    """What it shares colour and legend with."""
    mark: str
    """What is written beside it, if no other one beats it."""
    joules: Range
    bits_per_byte: float


@dataclass(frozen=True, slots=True)
class _Tick:
    place: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dot:
    x: float
    y: float
    low: float
    high: float
    series: int
    mark: str
    title: str
    best: bool


def front(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the points that no other one beats in both joules (default) and bits per byte, the cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.joules.default, p.bits_per_byte)):
        if not best or point.bits_per_byte < best[-1].bits_per_byte:
            best.append(point)
    return tuple(best)


def render_pareto(points: Sequence[Point], *, energy: str, note: str) -> str:
    """Return an SVG picture: energy per token, logarithmic, against bits per byte; bars are low to high.

    Args:
        points: at least one; every energy is above 0.
        energy: title of the horizontal axis.
        note: printed below: how the numbers came about.
    """
    x, x_ticks = _logarithmic([p.joules.low for p in points] + [p.joules.high for p in points])
    y, y_ticks = _linear([p.bits_per_byte for p in points])
    series = list(dict.fromkeys(p.series for p in points))
    unbeaten = front(points)
    dots = [
        _Dot(
            x=x(p.joules.default),
            y=y(p.bits_per_byte),
            low=x(p.joules.low),
            high=x(p.joules.high),
            series=series.index(p.series),
            mark=p.mark,
            title=f"{p.name}: {p.bits_per_byte:.3f} bits per byte",
            best=p in unbeaten,
        )
        for p in points
    ]
    return template("pareto.svg.j2").render(
        dots=dots,
        front=[(x(p.joules.default), y(p.bits_per_byte)) for p in unbeaten],
        series=series,
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        energy=energy,
        note=note,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
    )


class _Scale:
    """Maps values to pixels."""

    def __init__(self, low: float, high: float, start: float, end: float, *, logarithmic: bool) -> None:
        self.transform = math.log10 if logarithmic else float
        self.low, self.high, self.start, self.end = self.transform(low), self.transform(high), start, end

    def __call__(self, value: float) -> float:
        share = (self.transform(value) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def _logarithmic(values: Sequence[float]) -> tuple[_Scale, list[_Tick]]:
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 2)
    steps = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    first = max(index for index, step in enumerate(steps) if step <= min(values))
    last = next(index for index, step in enumerate(steps) if step >= max(values) and index > first)
    scale = _Scale(steps[first], steps[last], LEFT, WIDTH - RIGHT, logarithmic=True)
    return scale, [_Tick(scale(step), round_joules(step)) for step in steps[first : last + 1]]


def _linear(values: Sequence[float]) -> tuple[_Scale, list[_Tick]]:
    spread = max(values) - min(values) or 0.1
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if s * HEIGHT_STEPS >= spread)
    first, last = math.floor(min(values) / step), math.ceil(max(values) / step)
    last = max(last, first + 1)
    scale = _Scale(first * step, last * step, HEIGHT - BOTTOM, TOP, logarithmic=False)
    return scale, [_Tick(scale(number * step), f"{number * step:.2f}") for number in range(first, last + 1)]
