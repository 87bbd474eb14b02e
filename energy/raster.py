"""Spikes of single neurons over a text, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from bispik.backends.observe import Observed, SpikeRows
from bispik.energy import formats
from bispik.energy.labels import layer_label, population_label

LABELS, HEADER, TOKEN, ROW, GAP = 126, 22, 37, 4, 6
"""Width of names, height of the words, width of a token, height of a neuron, space between blocks."""

LETTERS = 5
"""Of a token that stand above its column."""


@dataclass(frozen=True, slots=True)
class RasterRow:
    """The spikes of one population: an SVG path for those of each sign."""

    title: str
    spikes: str
    negative: str
    odd: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """Spikes of some neurons over tokens and their time steps."""

    width: int
    height: int
    words: tuple[tuple[float, str, str], ...]
    """Where, short and whole."""
    token_lines: tuple[float, ...]
    layers: tuple[tuple[str, float], ...]
    """Name, and height of its first row."""
    rows: tuple[RasterRow, ...]
    top: int
    left: int
    description: str


def raster(observed: Observed, words: Sequence[str]) -> Raster:
    """Return the picture of single spikes.

    Args:
        observed: what spiked.
        words: the text of each token.
    """
    step = TOKEN / observed.steps_per_token
    layers: list[tuple[str, float]] = []
    rows: list[RasterRow] = []
    y = HEADER
    for layer, group in groupby(observed.rows, key=lambda row: row.population.partition("/")[0]):
        layers.append((layer_label(layer), y))
        for number, row in enumerate(group):
            rows.append(
                RasterRow(
                    title=_row_title(row),
                    spikes=_path(row.spikes > 0, y, step),
                    negative=_path(row.spikes < 0, y, step),
                    odd=number % 2 == 1,
                )
            )
            y += ROW * len(row.neurons)
        y += GAP
    spikes = sum(int(np.count_nonzero(row.spikes)) for row in observed.rows)
    places = sum(row.spikes.size for row in observed.rows)
    busiest = max(observed.rows, key=lambda row: np.count_nonzero(row.spikes) / row.spikes.size)
    return Raster(
        width=LABELS + TOKEN * observed.raster_tokens + GAP,
        height=y - GAP + 2,
        words=tuple(
            (LABELS + TOKEN * n + 2, short_word(word), word) for n, word in enumerate(words[: observed.raster_tokens])
        ),
        token_lines=tuple(float(LABELS + TOKEN * n) for n in range(observed.raster_tokens)),
        layers=tuple(layers),
        rows=tuple(rows),
        top=HEADER,
        left=LABELS,
        description=(
            f"{formats.number_of(sum(len(row.neurons) for row in observed.rows), 'neuron')}, spread evenly over "
            f"{formats.number_of(len(observed.rows), 'population')}, over "
            f"{formats.number_of(observed.raster_tokens, 'token')} of {observed.steps_per_token} time steps each: "
            f"a dash is a spike, {formats.percent(spikes / places)} of the places hold one. "
            f"The busiest of these populations is {population_label(busiest.population)}."
        ),
    )


def raster_json(observed: Observed) -> list[dict[str, Any]]:
    """Return a line for each neuron: what it sent in every time step, as one character each.

    A spike is ``x``, a negative one ``n``, none ``.``: no program takes that for a number or a formula.
    """
    return [
        {"node": row.population, "neuron": neuron, "spikes": "".join("n.x"[spike + 1] for spike in line)}
        for row in observed.rows
        for neuron, line in zip(row.neurons.tolist(), row.spikes.tolist(), strict=True)
    ]


def short_word(word: str) -> str:
    """Return a token's text as one short word that can be seen."""
    seen = word.strip(" ").replace("\n", "↵").replace("\t", "⇥") or ("␣" if word else "…")
    return seen if len(seen) <= LETTERS else f"{seen[: LETTERS - 1]}…"


def _row_title(row: SpikeRows) -> str:
    share = formats.percent(np.count_nonzero(row.spikes) / row.spikes.size)
    return f"{population_label(row.population)}: {formats.number_of(len(row.neurons), 'neuron')}, {share}"


def _path(spikes: npt.NDArray[np.bool_], top: int, step: float) -> str:
    """Return a dash for each spike; ``top`` is the first neuron's upper edge."""
    return "".join(
        f"M{LABELS + start * step:.5g} {top + ROW * index + ROW // 2}h{step - 1:.3g}"
        for index, start in np.argwhere(spikes).tolist()
    )
