"""Links of the mesh: which of them a message passes, and how many messages pass each.

A system is one large mesh with XY routing (`bispik.compiler.mesh`): a message first goes along its row of routers, then
along a column. Between neighbouring routers there is one link each way; some join two chips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bispik.compiler.mesh import IntArray, Places
from bispik.compiler.target import System, Target

FloatArray = npt.NDArray[np.float64]

DIRECTIONS = ("east", "west", "south", "north")
"""Of a link; rows are numbered from north to south."""

AT_ONCE = 1 << 20
"""Links on the ways of so many messages are looked at together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """All routers of a system. The link from router (x, y) in direction d is (d rows + y) columns + x."""

    columns: int
    rows: int
    chip_columns: int
    """Columns of routers of one chip."""
    chip_rows: int

    @classmethod
    def of(cls, target: Target, system: System) -> Grid:
        """Return the grid of a system."""
        width, height, chips = target.mesh.columns.value, target.mesh.rows.value, system.chip_columns.value
        rows = -(-system.chips.value // chips)
        return cls(columns=width * chips, rows=height * rows, chip_columns=width, chip_rows=height)

    @property
    def links(self) -> int:
        """Numbers of links that there are; those that would leave the mesh among them."""
        return len(DIRECTIONS) * self.columns * self.rows

    def routers(self, places: Places) -> tuple[IntArray, IntArray]:
        """Return column and row of each place."""
        across = self.columns // self.chip_columns
        x: IntArray = places.chip % across * self.chip_columns + places.x
        y: IntArray = places.chip // across * self.chip_rows + places.y
        return x, y

    def between_chips(self, link: IntArray) -> npt.NDArray[np.bool_]:
        """Return which links join two chips."""
        direction, y, x = self._parts(link)
        last_x, last_y = x % self.chip_columns, y % self.chip_rows
        ends = [last_x == self.chip_columns - 1, last_x == 0, last_y == self.chip_rows - 1, last_y == 0]
        crosses: npt.NDArray[np.bool_] = np.choose(direction, ends)
        return crosses

    def describe(self, link: int) -> str:
        """Return where a link is, e.g. ``chip 4, router (7, 2) east to chip 5``."""
        direction, y, x = (int(part) for part in self._parts(np.array(link)))
        name = DIRECTIONS[direction]
        where = f"chip {self._chip(x, y)}, router ({x % self.chip_columns}, {y % self.chip_rows}) {name}"
        if not self.between_chips(np.array(link)):
            return where
        step_x, step_y = {"east": (1, 0), "west": (-1, 0), "south": (0, 1), "north": (0, -1)}[name]
        return f"{where} to chip {self._chip(x + step_x, y + step_y)}"

    def _chip(self, x: int, y: int) -> int:
        return x // self.chip_columns + y // self.chip_rows * (self.columns // self.chip_columns)

    def _parts(self, link: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        direction, router = np.divmod(link, self.columns * self.rows)
        y, x = np.divmod(router, self.columns)
        return direction, y, x


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Passes:
    """How often the messages of each flow pass each link, (k,) each; pairs that do not meet are left out."""

    flow: IntArray
    link: IntArray
    times: IntArray
    """Links that one output of the flow passes here: one for each destination beyond."""

    def load(self, grid: Grid, messages: FloatArray) -> FloatArray:
        """Return the messages over each link, (links,), from the outputs that each flow sends."""
        load = np.zeros(grid.links)
        np.add.at(load, self.link, self.times * messages[self.flow])
        return load


def passes(grid: Grid, places: Places, flow: IntArray, sender: IntArray, destination: IntArray) -> Passes:
    """Return which links are passed.

    Args:
        grid: all routers.
        places: of the neurocores.
        flow: (m,): number of a flow, for each of its destinations.
        sender: (m,): index of the neurocore that it comes from.
        destination: (m,): index of the neurocore that it goes to.
    """
    x, y = grid.routers(places)
    found = [np.empty((2, 0), np.int64)]
    for part in _parts(np.abs(x[sender] - x[destination]) + np.abs(y[sender] - y[destination])):
        start, end = sender[part], destination[part]
        for link, of in (_along_row(grid, x[start], x[end], y[start]), _along_column(grid, x[end], y[start], y[end])):
            keys, times = np.unique(flow[part][of] * grid.links + link, return_counts=True)
            found.append(np.stack([keys, times]))
    keys, times = np.concatenate(found, axis=1)
    pairs, inverse = np.unique(keys, return_inverse=True)
    total = np.zeros(len(pairs), np.int64)
    np.add.at(total, inverse, times)
    return Passes(flow=pairs // grid.links, link=pairs % grid.links, times=total)


def _parts(lengths: IntArray) -> Iterator[slice]:
    """Yield consecutive ranges of ways with about `AT_ONCE` links together."""
    number = np.cumsum(lengths) // AT_ONCE
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    yield from (slice(first, stop) for first, stop in pairwise([*starts.tolist(), len(lengths)]))


def _along_row(grid: Grid, start: IntArray, end: IntArray, y: IntArray) -> tuple[IntArray, IntArray]:
    of, x, backwards = _steps(start, end)
    return (backwards * grid.rows + y[of]) * grid.columns + x, of


def _along_column(grid: Grid, x: IntArray, start: IntArray, end: IntArray) -> tuple[IntArray, IntArray]:
    of, y, backwards = _steps(start, end)
    return ((2 + backwards) * grid.rows + y) * grid.columns + x[of], of


def _steps(start: IntArray, end: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return every step from start to end: which way it belongs to, where it begins, and 1 if it goes backwards."""
    lengths, backwards = np.abs(end - start), (end < start).astype(np.int64)
    of = np.repeat(np.arange(len(start)), lengths)
    number = np.arange(len(of)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return of, start[of] + np.where(end < start, -1, 1)[of] * number, backwards[of]
