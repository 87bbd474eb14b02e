"""What each token of a run cost, beside its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bispik.backends.counts import SYNOPS, EventCounts, IntArray
from bispik.energy import formats
from bispik.energy.account import EnergyReport
from bispik.energy.axes import Axis
from bispik.energy.plots import Mark, Plot

TOKENS_LISTED = 256
"""In the table, the picture and the tinted text."""

LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 66, 992, 12, 150, 196


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """One token that was run."""

    position: int
    text: str
    generated: bool
    joules: float
    """Default, all scopes."""
    seconds: float
    """Default."""
    spikes: int
    synops: int
    level: float
    """Of its joules: 0 for the cheapest token listed, 1 for the dearest."""


def token_rows(counts: EventCounts, energy: EnergyReport, words: Sequence[str], prompt_tokens: int) -> list[TokenRow]:
    """Return the first tokens of a run.

    Args:
        counts: of the run.
        energy: its account.
        words: the text of each token of the sequence.
        prompt_tokens: how many of them were given.
    """
    listed = slice(TOKENS_LISTED)
    joules = energy.token_joules[listed]
    low, high = float(joules.min()), float(joules.max())
    positions: list[int] = counts.positions[listed].tolist()
    synops: IntArray = np.sum([counts.per_token[event] for event in SYNOPS.values()], axis=0)
    return [
        TokenRow(
            position=position,
            text=words[position],
            generated=position >= prompt_tokens,
            joules=cost,
            seconds=seconds,
            spikes=spikes,
            synops=reached,
            level=(cost - low) / (high - low) if high > low else 0.0,
        )
        for position, cost, seconds, spikes, reached in zip(
            positions,
            joules.tolist(),
            energy.token_seconds[listed].tolist(),
            counts.per_token["spike"][listed].tolist(),
            synops[listed].tolist(),
            strict=True,
        )
    ]


def token_plot(rows: Sequence[TokenRow]) -> Plot:
    """Return the joules of each token as bars, in the order of the text."""
    dearest, cheapest = max(rows, key=lambda row: row.joules), min(rows, key=lambda row: row.joules)
    y = Axis.to(dearest.joules, BOTTOM, TOP)
    width = (RIGHT - LEFT) / len(rows)
    positions = Axis(max(1, len(rows) - 1), max(1, Axis.to(len(rows), 0, 1).step), LEFT + width / 2, RIGHT - width / 2)
    return Plot(
        key="tokens",
        title="Energy of each token",
        description=(
            f"{formats.number_of(len(rows), 'token')}, from {formats.joules(cheapest.joules)} at position "
            f"{cheapest.position} to {formats.joules(dearest.joules)} at position {dearest.position}, with the "
            "profile's defaults."
        ),
        across="Position in the text",
        up="Joules",
        width=1000,
        height=HEIGHT,
        left=LEFT,
        right=RIGHT,
        top=TOP,
        bottom=BOTTOM,
        x_ticks=positions.ticks(lambda number: f"{number:.0f}"),
        y_ticks=y.ticks(formats.joules),
        marks=tuple(
            Mark(
                LEFT + (index + 0.1) * width,
                y.at(row.joules),
                0.8 * width,
                BOTTOM - y.at(row.joules),
                f"Position {row.position}, {row.text.strip() or 'space'}: {formats.joules(row.joules)}",
                other=not row.generated,
            )
            for index, row in enumerate(rows)
        ),
    )
