"""A board of chips as a picture: what lies on each router of the mesh, what it costs, what passes its links.

Chips are drawn where they lie on the board, and the board is cut to those that are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.compiler.mapping import Mapped
from bispik.compiler.routes import places_of
from bispik.compiler.traffic import MeshTraffic
from bispik.energy import formats

FloatArray: TypeAlias = npt.NDArray[np.float64]

SHADES = "░▒▓█"
"""Of a quarter each, from the least to the most."""

UNUSED = "·"

WIDEST = 100
"""Characters of a line; wider boards have one character a chip."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """One measure over the routers of a board."""

    title: str
    values: FloatArray
    """(rows, columns)"""
    text: Callable[[float], str]
    """Writes a value."""
    limit: float | None = None
    """Of a router; None: the full colour is that of the largest value."""

    def full(self, values: FloatArray, routers: int = 1) -> tuple[float, str]:
        """Return the value of the full colour, and its text, for sums over so many routers."""
        if self.limit is not None:
            return self.limit * routers, "100%"
        most = float(values.max())
        return most or 1.0, self.text(most)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Board:
    """The used part of a board: whole chips, from the first used column and row to the last."""

    name: str
    chip_columns: int
    """Columns of routers of one chip."""
    chip_rows: int
    chips: npt.NDArray[np.int64]
    """(chip rows, chip columns): their numbers."""
    used: FloatArray
    """(rows, columns): neurocores in use at each router."""
    memory: Layer
    energy: Layer
    messages: Layer
    links: FloatArray
    """(4, rows, columns): messages over the link that leaves each router in each direction."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What is drawn."""
        return self.memory, self.energy, self.messages

    def per_chip(self, values: FloatArray) -> FloatArray:
        """Return the sums over chips, (chip rows, chip columns), of values by router."""
        rows, columns = self.chips.shape
        sums: FloatArray = values.reshape(rows, self.chip_rows, columns, self.chip_columns).sum(axis=(1, 3))
        return sums


def board_of(mapped: Mapped, joules: Sequence[float], each: str, traffic: MeshTraffic) -> Board:
    """Return the picture of a mapping.

    Args:
        mapped: what lies where.
        joules: dynamic energy of each neurocore, per ``each``.
        each: ``token``, ``inference`` or ``step``.
        traffic: what passes the links.
    """
    grid, (x, y) = traffic.grid, traffic.grid.routers(places_of(mapped))
    width, height = grid.chip_columns, grid.chip_rows
    columns = np.arange(int(x.min()) // width, int(x.max()) // width + 1)
    rows = np.arange(int(y.min()) // height, int(y.max()) // height + 1)
    part = (
        slice(int(rows[0]) * height, int(rows[-1] + 1) * height),
        slice(int(columns[0]) * width, int(columns[-1] + 1) * width),
    )

    def by_router(values: Sequence[float]) -> FloatArray:
        table = np.zeros((grid.rows, grid.columns))
        np.add.at(table, (y, x), values)
        return table[part]

    return Board(
        name=mapped.system.name,
        chip_columns=width,
        chip_rows=height,
        chips=rows[:, None] * (grid.columns // width) + columns,
        used=by_router([1.0] * len(mapped.neurocores)),
        memory=Layer(
            title="Memory used",
            values=by_router([core.used("memory") for core in mapped.neurocores]),
            text=formats.count,
            limit=float(mapped.target.resources.memory.value * mapped.target.mesh.neurocores_per_router.value),
        ),
        energy=Layer(title=f"Dynamic energy per {each}", values=by_router(joules), text=formats.joules),
        messages=Layer(
            title="Messages that pass on in a step", values=traffic.sent_by_router()[part], text=formats.count
        ),
        links=traffic.loads.reshape(-1, grid.rows, grid.columns)[:, part[0], part[1]],
    )


def board_text(board: Board) -> str:
    """Return the board as text: a character a router, or a chip if routers would make lines too long."""
    columns = board.used.shape[1]
    by_chip = columns + columns // board.chip_columns - 1 > WIDEST
    unit, routers = ("chip", board.chip_columns * board.chip_rows) if by_chip else ("router", 1)
    used = board.per_chip(board.used) if by_chip else board.used
    lines: list[str] = []
    for layer in board.layers:
        values = board.per_chip(layer.values) if by_chip else layer.values
        full, text = layer.full(values, routers)
        lines.append(f"{layer.title}: {SHADES[-1]} up to {text} of a {unit}")
        for row, (amounts, neurocores) in enumerate(zip(values / full, used, strict=True)):
            if not by_chip and row and row % board.chip_rows == 0:
                lines.append("")
            lines.append("".join(_characters(amounts, neurocores, 0 if by_chip else board.chip_columns)))
        lines.append("")
    shades = " ".join(SHADES)
    return "\n".join([*lines, f"A character is a {unit} of {board.name}: {UNUSED} unused, {shades} a quarter each"])


def _characters(levels: FloatArray, neurocores: FloatArray, gap: int) -> Iterator[str]:
    """Yield the characters of a line, with a blank behind each ``gap`` of them."""
    for column, (level, used) in enumerate(zip(levels.tolist(), neurocores.tolist(), strict=True)):
        if gap and column and column % gap == 0:
            yield " "
        yield SHADES[min(len(SHADES) - 1, int(level * len(SHADES)))] if used else UNUSED
