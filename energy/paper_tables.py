"""The papers' table as plain values and as tables for the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from bispik.energy import formats
from bispik.energy.paper import ASSUMPTIONS, CONTEXT, RATES, PaperTable, RatioRow, Reproduction
from bispik.energy.paper_program import ProgramPoints
from bispik.energy.published import published


def paper_json(table: PaperTable, points: ProgramPoints | None) -> dict[str, Any]:
    """Return every number of the table."""
    return {
        "convention": "45 nm: 0.9 pJ for an addition, 4.6 pJ for a multiply-accumulate, nothing else",
        "context": CONTEXT,
        "ratios": [
            {
                "shape": row.shape,
                "steps": row.steps,
                "assumption": row.assumption,
                "floor": row.floor,
                **{f"rate_{rate:g}": ratio for rate, ratio in zip(RATES, row.ratios, strict=True)},
            }
            for row in table.rows
        ],
        "published": [
            {
                **dataclasses.asdict(entry.published),
                "assumption": entry.assumption,
                "floor": entry.floor,
                "reproduced": entry.rates is not None,
                "rate_low": entry.rates[0] if entry.rates else None,
                "rate_high": entry.rates[1] if entry.rates else None,
            }
            for entry in table.reproductions
        ],
        "sample": {
            **dataclasses.asdict(published().sample),
            "tokens": [dataclasses.asdict(length) for length in table.samples],
        },
        "with_weights_from_memory": [{"name": row.published.name, **dict(row.ratios)} for row in table.memory],
        "anchors": [anchor.to_dict() for anchor in published().anchors],
        "program": None if points is None else dataclasses.asdict(points),
    }


def paper_tables(table: PaperTable, points: ProgramPoints | None) -> Iterator[Table]:
    """Yield what is printed, one after the other."""
    yield _ratios(table)
    if points:
        yield _program(points)
    yield _reproductions(table)
    yield _memory(table)
    yield _anchors()


def _ratios(table: PaperTable) -> Table:
    result = _table(
        "Energy over that of the ANN of the same shape, by the papers' 45 nm convention, at mean firing rates",
        ("Network", "T", "Counted"),
        ("Floor", *(formats.percent(rate) for rate in RATES)),
    )
    groups: dict[tuple[str, int, float], list[RatioRow]] = {}
    for row in table.rows:
        groups.setdefault((row.shape, row.steps, row.floor), []).append(row)
    for (shape, steps, least), rows in groups.items():
        numbers = [formats.percent(value) for value in (least, *rows[0].ratios)]
        result.add_row(shape, str(steps), _alike([row.assumption for row in rows]), *numbers)
        if rows[-1].assumption == ASSUMPTIONS[-1].name:
            result.add_section()
    result.caption = "Floor: what stays a multiplication. OPT-350M's own head is 512 wide: as MACs, a floor of 7.8%."
    return result


def _program(points: ProgramPoints) -> Table:
    title = f"This program, T = {points.steps}, counted over {formats.number_of(points.tokens, 'token')}"
    result = _table(title, ("Counted",), ("Firing rate", "Energy over the ANN's"))
    for point in points.points:
        result.add_row(point.assumption, formats.percent(point.rate), formats.percent(point.ratio))
    result.add_section()
    result.add_row("every synop, as our audit has it", "", formats.percent(points.audited))
    result.caption = "Firing rate: of what meets weights, spikes or numbers. Audit: numbers that meet weights are MACs."
    return result


def _reproductions(table: PaperTable) -> Table:
    result = _table("What gives the published ratios", ("Published", "Counted"), ("Ratio", "Floor", "Firing rate"))
    groups: dict[tuple[str, float], list[Reproduction]] = {}
    for entry in table.reproductions:
        groups.setdefault((entry.published.name, entry.floor), []).append(entry)
    for (name, least), entries in groups.items():
        given, rates = entries[0].published, "impossible"
        if found := entries[0].rates:
            rates = " to ".join(dict.fromkeys(formats.percent(rate) for rate in found))
        ratio = " to ".join(dict.fromkeys(f"{value:.2%}" for value in (given.low, given.high)))
        counted = _alike([entry.assumption for entry in entries])
        result.add_row(name, counted, ratio, formats.percent(least), rates)
        if entries[-1].assumption == ASSUMPTIONS[-1].name:
            result.add_section()
    sample = published().sample
    lengths = ", ".join(f"{length.tokens:.0f} ({length.assumption})" for length in table.samples)
    share = f"{sample.snn_joules / sample.ann_joules:.2%}"
    result.caption = (
        f"{formats.joules(sample.ann_joules)} a sample are so many tokens: {lengths}. The 125M network's {share} lie "
        "outside of the range that is published over sizes."
    )
    return result


def _alike(assumptions: Sequence[str]) -> str:
    """Name assumptions that give the same numbers."""
    if len(assumptions) == 1:
        return assumptions[0]
    return f"{assumptions[0]}; the same with more that spikes: {assumptions[-1].removeprefix(assumptions[0] + ', ')}"


def _memory(table: PaperTable) -> Table:
    constant = published().weight_fetched
    result = _table(
        f"The same rates with {formats.joules(constant.value.default)} for every operation's weight, on both sides",
        ("Published",),
        ("By the convention", *(f"Against {precision}" for precision, _ in table.memory[0].ratios)),
    )
    for row in table.memory:
        numbers = [formats.percent(ratio) for _, ratio in row.ratios]
        result.add_row(row.published.name, f"{row.published.high:.2%}", *numbers)
    result.caption = f"A weight: {constant.source}"
    return result


def _anchors() -> Table:
    result = _table(
        "Measured on hardware, other networks: quoted, part of no number above", ("Network",), ("Per token", "Tokens/s")
    )
    for anchor in published().anchors:
        joules = " to ".join(dict.fromkeys(formats.joules(value) for value in (anchor.low, anchor.high)))
        speed = "" if anchor.tokens_per_second is None else formats.plain(anchor.tokens_per_second)
        result.add_row(anchor.name, joules, speed)
    result.caption = published().anchors[0].source
    return result


def _table(title: str, words: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    result = Table(title=title, title_justify="left", caption_justify="left")
    for name in words:
        result.add_column(name)
    for name in numbers:
        result.add_column(name, justify="right")
    return result
