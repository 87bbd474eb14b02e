"""Several programs or runs in one table: what they are, what they cost, how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from bispik.energy import formats
from bispik.energy.activity_views import rate_table
from bispik.energy.pareto import Point
from bispik.energy.ranges import Range
from bispik.energy.report import ReportInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One program, with the account of one run. Joules, synops and spikes are per token."""

    name: str
    target: str
    steps_per_token: int
    bits: int
    neurons: str
    chips: int
    neurocores: int
    mean_rate: float
    """Spikes per neuron and step."""
    bits_per_byte: float | None
    """Of the integers on held-out text; None if the program was not verified."""
    spike_agreement: float | None
    synops: float
    spikes: float
    dynamic: Range
    total: Range
    seconds: Range
    ratio_to_ann: tuple[tuple[str, float], ...]
    """By precision of the ANN of the same shape; static power left out."""
    fully_binary: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        ranges = {"dynamic": self.dynamic, "total": self.total, "seconds": self.seconds}
        names = [name for name in self.__dataclass_fields__ if name not in ranges and name != "ratio_to_ann"]
        return {
            **{name: getattr(self, name) for name in names},
            **{name: value.to_dict() for name, value in ranges.items()},
            "ratio_to_ann": dict(self.ratio_to_ann),
        }


def compared(name: str, report: ReportInput) -> Compared:
    """Return a program and its run as a row of the comparison."""
    program, energy = report.mapped.program, report.energy
    verification, tokens = program.verification, energy.tokens
    return Compared(
        name=name,
        target=report.mapped.target.name,
        steps_per_token=program.steps_per_token,
        bits=program.bits,
        neurons=program.neuron_program,
        chips=report.mapped.chips,
        neurocores=len(report.mapped.neurocores),
        mean_rate=rate_table(program, report.counts).mean,
        bits_per_byte=verification.bpb_integer if verification else None,
        spike_agreement=verification.spike_agreement if verification else None,
        synops=energy.synops / tokens,
        spikes=energy.spikes / tokens,
        dynamic=energy.scope("dynamic") / tokens,
        total=energy.per_token,
        seconds=energy.seconds / tokens,
        ratio_to_ann=tuple((baseline.precision, energy.ratio(baseline).default) for baseline in energy.baselines),
        fully_binary=report.audit.fully_binary,
    )


def compare_table(rows: Sequence[Compared], title: str) -> Table:
    """Return the programs as rows."""
    table = Table(title=title, title_justify="left", caption_justify="left")
    for name in ("Program", "Target"):
        table.add_column(name)
    for name in ("T", "Bits", "Rate", "Bits per byte", "Synops", "Dynamic", "All", "ANN FP32", "int8"):
        table.add_column(name, justify="right")
    for row in rows:
        ratios = dict(row.ratio_to_ann)
        table.add_row(
            row.name,
            row.target,
            str(row.steps_per_token),
            str(row.bits),
            formats.percent(row.mean_rate),
            "" if row.bits_per_byte is None else f"{row.bits_per_byte:.3f}",
            formats.count(row.synops),
            formats.joules(row.dynamic.default),
            formats.joules(row.total.default),
            formats.ratio(ratios["FP32"]),
            formats.ratio(ratios["int8"]),
        )
    table.caption = "Per token. ×: dynamic and host energy over that of the ANN of the same shape"
    return table


def pareto_points(rows: Sequence[Compared]) -> tuple[Point, ...]:
    """Return the programs whose quality is known as points of a picture: dynamic energy against bits per byte."""
    return tuple(
        Point(
            name=f"{row.name}, {row.bits} bit, {formats.joules(row.dynamic.default)} a token",
            series=f"T = {row.steps_per_token}, {row.target}",
            mark=row.name,
            joules=row.dynamic,
            bits_per_byte=row.bits_per_byte,
        )
        for row in rows
        if row.bits_per_byte is not None
    )
