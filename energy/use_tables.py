"""A program in use and how sure its energy is, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from bispik.energy import formats
from bispik.energy.operating import OperatingPoint
from bispik.energy.ranges import Range
from bispik.energy.uncertainty import PERCENTILES, Distribution, Measurement


def use_table(point: OperatingPoint) -> Table:
    """Return joules per token, per 1,000 tokens and per inference."""
    at = "" if point.tokens_per_second is None else f", {formats.plain(point.tokens_per_second)} tokens a second"
    table = Table(title=f"In use: {formats.number_of(point.batch, 'sequence')} at once{at}", title_justify="left")
    table.add_column("Energy")
    for name in ("Joules", "Low to high"):
        table.add_column(name, justify="right")
    rows: list[tuple[str, Range]] = [
        ("Per token, dynamic", point.dynamic),
        ("Per token, static", point.static),
        ("Per token, host", point.host),
        ("Per token", point.per_token),
        ("Per 1,000 tokens", point.per_token * 1000),
        (f"Per inference of {formats.number_of(point.run_tokens, 'token')}", point.per_token * point.run_tokens),
    ]
    for label, value in rows:
        table.add_row(label, formats.joules(value.default), formats.span(value, "J") if value.width else "")
    if point.batch > 1:
        table.caption = f"Keys and values of {point.batch} sequences: this mapping has room for those of one"
        table.caption_justify = "left"
    return table


def certainty_lines(
    measurements: Sequence[Measurement], distribution: Distribution | None, each: int, unit: str
) -> list[str]:
    """Return sentences: what to measure, and the distribution if one was drawn; joules divided by ``each``."""
    lines: list[str] = []
    if measurements:
        named = ", then ".join(measurement.unknown.label.lower() for measurement in measurements)
        left = formats.span(measurements[-1].range / each, "J")
        lines.append(f"To halve this range, measure: {named}. It would be {left} per {unit}, at the defaults.")
    if distribution:
        values = dict(zip(PERCENTILES, distribution.percentiles, strict=True))
        low, middle, high = (formats.joules(values[at] / each) for at in PERCENTILES)
        lines.append(f"Drawn {distribution.draws:,} times: {middle}, 90% between {low} and {high} per {unit}.")
    return lines
