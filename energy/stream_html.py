"""The report of a counted run of a stream program as one page that loads nothing and runs no script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bispik.backends.stream.counts import STREAM_SYNOPS, StreamCounts
from bispik.compiler.stream.mapping import MappedStream
from bispik.energy import formats
from bispik.energy.activity_views import NEUROCORES_LISTED, NeurocoreRow
from bispik.energy.board import Board, board_of
from bispik.energy.board_svg import picture_of
from bispik.energy.constants import GRADES
from bispik.energy.heatmap import HeatMap, contents, heat_map
from bispik.energy.labels import CONSTANT_LABELS, STREAM_EVENT_LABELS, STREAM_SCOPE_LABELS
from bispik.energy.latency import FloatArray
from bispik.energy.report import template
from bispik.energy.stream_account import StreamEnergyReport
from bispik.energy.stream_audit import stream_audit
from bispik.energy.stream_report import firing_rates
from bispik.energy.views import BarRow, bars, grade_shares

POINTS = 240
"""Of a curve over time at most; longer runs are averaged."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamReportInput:
    """Everything that a page is made of."""

    title: str
    """Of the network."""
    mapped: MappedStream
    counts: StreamCounts
    energy: StreamEnergyReport
    execution_mode: str
    """What ran, in words, from the session."""

    @property
    def each(self) -> int:
        """What energies are divided by: sequences, or steps if none began."""
        return self.energy.sequences or self.energy.steps

    @property
    def unit(self) -> str:
        """What ``each`` counts."""
        return "inference" if self.energy.sequences else "step"

    def board(self) -> Board:
        """Return the picture of the board."""
        each = (self.energy.neurocore_joules[:, 1] / self.each).tolist()
        return board_of(self.mapped, each, self.unit, self.energy.traffic)


def render_stream_html(report: StreamReportInput) -> str:
    """Return the report as one HTML page."""
    return template("stream.html.j2").render(_context(report))


def _context(report: StreamReportInput) -> dict[str, Any]:
    mapped, counts, energy = report.mapped, report.counts, report.energy
    rows = _neurocore_rows(report)
    rates = firing_rates(counts)
    return {
        "report": report,
        "each": report.each,
        "unit": report.unit,
        "mapped": mapped,
        "program": mapped.program,
        "counts": counts,
        "energy": energy,
        "whole": energy.total / report.each,
        "profile": energy.profile,
        "audit": stream_audit(mapped.program, energy, mapped.parts),
        "verification": mapped.program.verification,
        "neurons": sum(population.size for population in mapped.program.populations),
        "usable_neurocores": mapped.target.neurocores(mapped.system),
        "scopes": bars(energy.lines, report.each, lambda line: STREAM_SCOPE_LABELS[line.scope], sort=False),
        "population_rows": _rows(report, "dynamic", by_population=True),
        "event_rows": _rows(report, "dynamic", by_population=False),
        "host_rows": _rows(report, "host", by_population=False),
        "rates": [(p, rates[p.name]) for p in mapped.program.populations],
        "highest_rate": max(rates.values()) or 1.0,
        "curves": [
            _curve("Joules, all together", energy.step_joules, "J"),
            _curve("Spikes", counts.per_step["spike"].astype(np.float64), ""),
            _curve("Synops", sum_of(counts), ""),
        ],
        "grade_shares": grade_shares(energy),
        "neurocores": rows,
        "neurocores_listed": NEUROCORES_LISTED,
        "picture": picture_of(report.board()),
        "heat_maps": _heat_maps(report, rows),
        "grades": GRADES,
        "constant_labels": CONSTANT_LABELS,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One quantity over the time steps, in a box of `POINTS` by 60."""

    title: str
    points: str
    """Of an SVG polyline."""
    description: str


def sum_of(counts: StreamCounts) -> FloatArray:
    """Return the synops of all formats by step, (steps,)."""
    total = np.zeros(counts.steps)
    for event in STREAM_SYNOPS.values():
        total += counts.per_step[event]
    return total


def _curve(title: str, values: FloatArray, unit: str) -> Curve:
    parts = np.array_split(values, min(POINTS, len(values)))
    means = np.array([part.mean() for part in parts])
    largest = float(means.max()) or 1.0
    across = np.linspace(0, POINTS, len(means)) if len(means) > 1 else np.zeros(1)
    down = 58 - 56 * means / largest
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across.tolist(), down.tolist(), strict=True))
    low, mean, high = (formats.quantity(float(v), unit) for v in (values.min(), values.mean(), values.max()))
    return Curve(title=title, points=points, description=f"{low} to {high} a step, {mean} on average")


def _rows(report: StreamReportInput, scope: str, *, by_population: bool) -> list[BarRow]:
    lines = [line for line in report.energy.lines if line.scope == scope]
    if by_population:
        order = {population.name: place for place, population in enumerate(report.mapped.program.populations)}
        lines.sort(key=lambda line: order[line.node])
        return bars(lines, report.each, lambda line: line.node, sort=False)
    return bars(lines, report.each, lambda line: STREAM_EVENT_LABELS[line.event], sort=True)


def _neurocore_rows(report: StreamReportInput) -> list[NeurocoreRow]:
    mapped, counts, each = report.mapped, report.counts, report.each
    synops, messages = counts.by_neurocore(*STREAM_SYNOPS.values()), counts.by_neurocore("message")
    limit = mapped.target.resources.memory.value
    return [
        NeurocoreRow(
            index=core.index,
            place=f"chip {core.chip}, router ({core.x}, {core.y})",
            memory=core.used("memory") / limit,
            synops=int(synops[place]) / each,
            messages=int(messages[place]) / each,
            joules=float(report.energy.neurocore_joules[place, 1]) / each,
            contents=contents(core, most=6),
        )
        for place, core in enumerate(mapped.neurocores)
    ]


def _heat_maps(report: StreamReportInput, rows: list[NeurocoreRow]) -> list[HeatMap]:
    mapped, unit = report.mapped, report.unit
    memory, joules, messages = ([getattr(row, what) for row in rows] for what in ("memory", "joules", "messages"))
    return [
        heat_map(mapped, "memory", "Memory used", memory, [formats.percent(v) for v in memory], (1.0, "100%")),
        heat_map(mapped, "energy", f"Dynamic energy per {unit}", joules, [formats.joules(v) for v in joules]),
        heat_map(mapped, "messages", f"Messages sent per {unit}", messages, [formats.count(v) for v in messages]),
    ]
