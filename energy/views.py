"""Rows of the report's tables, with the positions of their bars; per token, or per inference of a stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bispik.compiler.target import Grade
from bispik.energy import formats
from bispik.energy.account import EnergyReport
from bispik.energy.constants import GRADES
from bispik.energy.labels import EVENT_LABELS, SCOPE_LABELS, layer_label
from bispik.energy.latency import TIMES
from bispik.energy.lines import Accounted, EnergyLine, Scope
from bispik.energy.ranges import Range, total


@dataclass(frozen=True, slots=True, kw_only=True)
class BarRow:
    """A quantity with its range, and where its bar begins and ends, in percent of the bar's column."""

    label: str
    value: Range
    low: float
    default: float
    high: float
    count: float | None = None
    """Events per token, or per inference of a stream, where there is one kind."""
    share: float | None = None
    """Of the default total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A labelled place on an axis."""

    label: str
    at: float
    """Percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRow:
    """A network on the logarithmic energy axis."""

    label: str
    note: str
    ours: bool
    value: Range
    low: float
    default: float
    high: float
    ratio: Range | None
    """This network's energy over the baseline's; None for the network itself."""


def scope_rows(report: EnergyReport) -> list[BarRow]:
    """Return dynamic, static and host energy."""
    return bars(report.lines, report.tokens, lambda line: SCOPE_LABELS[line.scope], sort=False)


def layer_rows(report: EnergyReport) -> list[BarRow]:
    """Return dynamic energy by layer, in the order of the network."""
    dynamic = [line for line in report.lines if line.scope == "dynamic"]
    order = dict.fromkeys(line.layer for line in sorted(dynamic, key=lambda line: _layer_order(line.layer)))
    ordered = [line for layer in order for line in dynamic if line.layer == layer]
    return bars(ordered, report.tokens, lambda line: layer_label(line.layer), sort=False)


def event_rows(report: EnergyReport) -> list[BarRow]:
    """Return dynamic energy and count by kind of event, the most expensive first."""
    return _by_event(report, "dynamic")


def host_rows(report: EnergyReport) -> list[BarRow]:
    """Return energy and count by kind of host operation, the most expensive first."""
    return _by_event(report, "host")


def _by_event(report: EnergyReport, scope: Scope) -> list[BarRow]:
    lines = [line for line in report.lines if line.scope == scope]
    return bars(lines, report.tokens, lambda line: EVENT_LABELS[line.event], sort=True)


def grade_shares(report: Accounted) -> Mapping[Grade, float]:
    """Return which share of the default energy rests on constants of each grade, the best grade first.

    Static energy is power times time: it is no better than the worst constant in it.
    """
    grades: dict[Grade, float] = dict.fromkeys(GRADES, 0.0)
    for line in report.lines:
        if grade := grade_of(report, line):
            grades[grade] += line.energy.default
    whole = sum(grades.values())
    return {grade: joules / whole for grade, joules in grades.items() if joules} if whole else {}


def grade_of(report: Accounted, line: EnergyLine) -> Grade | None:
    """Return the worst grade among the constants that a line's energy is made of; None if the profile leaves it out."""
    names = (line.constant, *TIMES) if line.scope == "static" else (line.constant,)
    found = [report.profile.constants[name].grade for name in names]
    if None in found:
        return None
    return next(grade for grade in reversed(GRADES) if grade in found)


def baseline_rows(report: EnergyReport) -> tuple[list[BaselineRow], list[Tick]]:
    """Return this network and the ANN of its shape on one logarithmic axis."""
    memory = "with memory traffic" if report.profile.counts_memory else "arithmetic only"
    named: list[tuple[str, str, Range, Range | None]] = [
        ("This network", "with static power", report.total, None),
        ("This network", "events only", report.compared, None),
    ]
    named += [(f"ANN, {b.precision}", memory, report.cost_of(b), report.ratio(b)) for b in report.baselines]
    values = [value / report.tokens for _, _, value, _ in named]
    axis = LogAxis.over(values)
    rows = [
        BaselineRow(
            label=label,
            note=note,
            ours=ratio is None,
            value=value,
            low=axis.at(value.low),
            default=axis.at(value.default),
            high=axis.at(value.high),
            ratio=ratio,
        )
        for (label, note, _, ratio), value in zip(named, values, strict=True)
    ]
    return rows, axis.ticks()


@dataclass(frozen=True, slots=True)
class LogAxis:
    """Decades from 10^first to 10^last."""

    first: int
    last: int

    @classmethod
    def over(cls, values: Iterable[Range]) -> LogAxis:
        """Return the decades that hold all positive bounds."""
        bounds = [bound for value in values for bound in (value.low, value.high) if bound > 0] or [1.0]
        first, last = math.floor(math.log10(min(bounds))), math.ceil(math.log10(max(bounds)))
        return cls(first, max(last, first + 1))

    def at(self, value: float) -> float:
        """Return a place in percent; 0 lies at the beginning."""
        if value <= 0:
            return 0.0
        return 100 * (math.log10(value) - self.first) / (self.last - self.first)

    def ticks(self) -> list[Tick]:
        """Return every decade, or every second one if they are many."""
        step = 1 if self.last - self.first <= 6 else 2
        return [
            Tick(label=formats.round_joules(10.0**power), at=self.at(10.0**power))
            for power in range(self.first, self.last + 1, step)
        ]


def bars(lines: Iterable[EnergyLine], each: int, label: Callable[[EnergyLine], str], *, sort: bool) -> list[BarRow]:
    """Return the lines as rows by label, each number divided by ``each``; the most expensive first if sorted."""
    groups: dict[str, list[EnergyLine]] = {}
    for line in lines:
        groups.setdefault(label(line), []).append(line)
    sums = {name: total(line.energy for line in group) / each for name, group in groups.items()}
    order = sorted(sums, key=lambda name: -sums[name].default) if sort else list(sums)
    longest = max((value.high for value in sums.values()), default=0.0) or 1.0
    whole = sum(value.default for value in sums.values()) or 1.0
    return [
        BarRow(
            label=name,
            value=sums[name],
            low=100 * sums[name].low / longest,
            default=100 * sums[name].default / longest,
            high=100 * sums[name].high / longest,
            count=_one_count(groups[name], each),
            share=sums[name].default / whole,
        )
        for name in order
    ]


def _one_count(lines: list[EnergyLine], each: int) -> float | None:
    """Events per token, or whatever ``each`` counts, if the lines are of one kind; power has none."""
    if len({line.event for line in lines}) > 1 or lines[0].scope == "static":
        return None
    return sum(line.count for line in lines) / each


def _layer_order(layer: str) -> tuple[int, str]:
    return {"embed": 0, "stream": 0, "head": 2}.get(layer, 1), layer
