"""Time and traffic of a run in the terminal: how long steps last, what they wait for, how far messages go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from bispik.compiler.traffic import MeshTraffic, Ways
from bispik.energy import formats
from bispik.energy.labels import LIMIT_LABELS
from bispik.energy.latency import LIMITS, TimeSplit
from bispik.energy.ranges import Range

LEAST_SHARE = 0.005
"""Of the time; what steps wait for less is not named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRow:
    """One way of running."""

    name: str
    seconds: Range
    """Of the whole run."""
    pieces: int
    """Tokens or sequences that it is of."""
    split: TimeSplit


def time_table(rows: Sequence[TimeRow], piece: str) -> Table:
    """Return how long a step and a piece of each row last, and what the steps wait for."""
    table = Table(title="Time on the chips", title_justify="left")
    table.add_column("Run")
    for name in ("Per step", f"Per {piece}", "Low to high", f"{piece.capitalize()}s a second"):
        table.add_column(name, justify="right")
    table.add_column("Steps wait for")
    for row in rows:
        if not row.seconds.default:
            table.add_row(row.name, "-", "-", "-", "-", "the profile knows no times")
            continue
        each = row.seconds / row.pieces
        table.add_row(
            row.name,
            formats.seconds(row.split.total / row.split.steps),
            formats.seconds(each.default),
            formats.span(each, "s"),
            formats.count(1 / each.default),
            limits_text(row.split),
        )
    return table


def limits_text(split: TimeSplit) -> str:
    """Return what steps wait for, that which takes most first, e.g. ``busiest link 81%, barrier 19%``."""
    shown = [(split.share(limit), LIMIT_LABELS[limit]) for limit in LIMITS if split.share(limit) >= LEAST_SHARE]
    return ", ".join(f"{name} {100 * share:.0f}%" for share, name in sorted(shown, reverse=True))


def traffic_table(traffic: MeshTraffic) -> Table:
    """Return how far messages go, beside other placements, and which links are the busiest."""
    found = traffic.comparison
    table = Table(title="Messages between neurocores, in a time step", title_justify="left")
    table.add_column("Placement")
    for name in ("Messages", "To other chips", "Hops", "Chip links", "Links each", "This one's"):
        table.add_column(name, justify="right")
    others = {"random order": found.random, "network's order": found.sequential}
    _add(table, "this one", found.placed, "")
    for name, other in others.items():
        against = found.placed.against(other)
        _add(table, name, other, "" if against is None else formats.ratio(against))
    notes = ["Links each: hops and links between chips of a message; this one's: over those of the other placement"]
    for kind, between in (("on a chip", False), ("between chips", True)):
        if link := traffic.busiest(between_chips=between):
            notes.append(f"busiest link {kind}: {link.where}, {formats.count(link.messages)} messages")
    table.caption = "\n".join(notes)
    table.caption_justify = "left"
    return table


def _add(table: Table, name: str, ways: Ways, against: str) -> None:
    each = ways.links / ways.messages if ways.messages else 0.0
    numbers = (ways.messages, ways.inter_chip, ways.hops, ways.crossings)
    table.add_row(name, *map(formats.count, numbers), formats.plain(each), against)
