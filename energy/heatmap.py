"""Neurocores as coloured cells on their chips: geometry of the pictures in the report."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bispik.compiler.mapping import Mapped, Neurocore

CELL, GAP, ROUTER_GAP, CHIP_GAP, FONT = 10, 1, 4, 18, 9

CHIPS_DRAWN = 32
"""Beyond these a picture would be too small to read; the table names every neurocore."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One neurocore of a chip."""

    x: int
    y: int
    level: float
    """0 to 1 for a used neurocore, of the largest."""
    title: str


@dataclass(frozen=True, slots=True)
class Chip:
    """One chip: its frame, its used neurocores, and the places of the others."""

    name: str
    x: int
    y: int
    width: int
    height: int
    cells: tuple[Cell, ...]
    empty: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """One measure over all neurocores."""

    key: str
    title: str
    description: str
    full: str
    """What the full colour stands for."""
    chips: tuple[Chip, ...]
    width: int
    height: int
    font: int
    """Size of the chips' names: larger where many chips make the picture small."""
    chips_left_out: int


def heat_map(
    mapped: Mapped,
    key: str,
    title: str,
    values: Sequence[float],
    texts: Sequence[str],
    full: tuple[float, str] | None = None,
) -> HeatMap:
    """Return the picture of one measure.

    Args:
        mapped: what lies where.
        key: unique on the page.
        title: the measure.
        values: of each neurocore.
        texts: the values as text.
        full: value of the full colour and its text; None for the largest value.
    """
    largest = max(range(len(values)), key=values.__getitem__)
    top, top_text = full or (values[largest] or 1.0, texts[largest])
    used = sorted({core.chip for core in mapped.neurocores})
    drawn = used[:CHIPS_DRAWN]
    board = _Board(mapped, len(drawn))
    cells: dict[int, list[tuple[Neurocore, float, str]]] = defaultdict(list)
    for core, value, text in zip(mapped.neurocores, values, texts, strict=True):
        cells[core.chip].append((core, min(1.0, value / top), text))
    chips = tuple(board.chip(index, chip, cells[chip]) for index, chip in enumerate(drawn))
    return HeatMap(
        key=key,
        title=title,
        description=(
            f"{len(values)} neurocores on {len(used)} {'chip' if len(used) == 1 else 'chips'}; "
            f"the largest value is {texts[largest]}, of neurocore {mapped.neurocores[largest].index}."
        ),
        full=top_text,
        chips=chips,
        width=board.width,
        height=board.height,
        font=board.font,
        chips_left_out=len(used) - len(drawn),
    )


class _Board:
    """Sizes of a picture of so many chips."""

    def __init__(self, mapped: Mapped, chips: int) -> None:
        mesh = mapped.target.mesh
        self.columns, self.rows = mesh.columns.value, mesh.rows.value
        self.per_router = mesh.neurocores_per_router.value
        self.side = math.ceil(math.sqrt(self.per_router))
        self.pitch = self.side * (CELL + GAP) - GAP + ROUTER_GAP
        self.chip_width = self.columns * self.pitch + ROUTER_GAP
        self.chip_height = self.rows * self.pitch + ROUTER_GAP
        self.across = math.ceil(math.sqrt(chips))
        self.font = round(FONT * (1 + 0.6 * (self.across - 1)))
        self.header = self.font + 7
        self.width = self.across * (self.chip_width + CHIP_GAP) - CHIP_GAP
        self.height = math.ceil(chips / self.across) * (self.chip_height + CHIP_GAP + self.header) - CHIP_GAP

    def chip(self, index: int, number: int, cores: Sequence[tuple[Neurocore, float, str]]) -> Chip:
        left = index % self.across * (self.chip_width + CHIP_GAP)
        top = index // self.across * (self.chip_height + CHIP_GAP + self.header) + self.header
        taken: dict[tuple[int, int], int] = defaultdict(int)
        cells: list[Cell] = []
        for core, level, text in cores:
            slot = taken[core.x, core.y]
            taken[core.x, core.y] += 1
            x, y = self._corner(core.x, core.y, slot)
            cells.append(Cell(left + x, top + y, level, f"Neurocore {core.index}: {text}. {contents(core)}"))
        empty = tuple(
            (left + x, top + y)
            for column in range(self.columns)
            for row in range(self.rows)
            for slot in range(taken[column, row], self.per_router)
            for x, y in [self._corner(column, row, slot)]
        )
        return Chip(f"Chip {number}", left, top, self.chip_width, self.chip_height, tuple(cells), empty)

    def _corner(self, column: int, row: int, slot: int) -> tuple[int, int]:
        x = column * self.pitch + ROUTER_GAP + slot % self.side * (CELL + GAP)
        y = row * self.pitch + ROUTER_GAP + slot // self.side * (CELL + GAP)
        return x, y


def contents(core: Neurocore, most: int = 4) -> str:
    """Return what lies on a neurocore, e.g. ``block_00/attn/query 0–255``."""
    parts = [f"{part.node} {part.start}\N{EN DASH}{part.stop - 1}" for part in core.slices[:most]]
    more = len(core.slices) - most
    return ", ".join(parts) + (f" and {more} more" if more > 0 else "")
