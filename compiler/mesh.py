"""Geometry: where neurocores can lie, and how far a message travels.

Assumption (no public source says how boards are wired): chips lie on a grid and their meshes carry on across the edges,
so that a system is one large mesh with XY routing, some of whose links join two chips. A message from router to router
takes the Manhattan way; links between chips count as crossings, all others as hops.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.target import System, Target

IntArray = npt.NDArray[np.int64]

STRIP = 4
"""Height of the space-filling curve: a chip's four rows of routers, and four rows of chips."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Places:
    """Routers by chip and coordinates on the chip, each (n,); several neurocores share one."""

    chip: IntArray
    x: IntArray
    y: IntArray

    def __getitem__(self, index: IntArray) -> Places:
        """Return some of the places."""
        return Places(chip=self.chip[index], x=self.x[index], y=self.y[index])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distance:
    """Ways of messages, each (n,)."""

    x_hops: IntArray
    """Links east or west that stay on a chip."""
    y_hops: IntArray
    """Links north or south that stay on a chip."""
    crossings: IntArray
    """Links from chip to chip."""

    @property
    def local(self) -> npt.NDArray[np.bool_]:
        """Whether the message stays at its router."""
        local: npt.NDArray[np.bool_] = self.x_hops + self.y_hops + self.crossings == 0
        return local

    @property
    def inter_chip(self) -> npt.NDArray[np.bool_]:
        """Whether the message leaves its chip."""
        return self.crossings > 0


def usable_places(target: Target, system: System, chips: int) -> Places:
    """Return a place for each usable neurocore of a system's first chips, along a space-filling curve.

    The curve goes chip by chip, and router by router on each. The neurocores that a chip lacks are those of the
    target's mask and those at its end.
    """
    mesh = target.mesh
    routers = serpentine(mesh.columns.value, mesh.rows.value)
    unmasked = [(x, y) for x, y in routers for _ in mesh.usable_on_router(x, y)]
    on_chip = np.array(unmasked[: mesh.usable_neurocores.value])
    columns = system.chip_columns.value
    grid = list(serpentine(columns, system.chips.value // columns))[:chips]
    numbers = np.array([column + columns * row for column, row in grid])
    return Places(
        chip=np.repeat(numbers, len(on_chip)),
        x=np.tile(on_chip[:, 0], len(numbers)),
        y=np.tile(on_chip[:, 1], len(numbers)),
    )


def serpentine(columns: int, rows: int) -> Iterator[tuple[int, int]]:
    """Yield (column, row) of a grid in strips of `STRIP` rows: up and down their columns, there and back again.

    Cells that follow each other are neighbours, and k cells in a row cover a compact block.
    """
    for strip, low in enumerate(range(0, rows, STRIP)):
        across = range(columns) if strip % 2 == 0 else range(columns - 1, -1, -1)
        for turn, column in enumerate(across):
            up = range(low, min(low + STRIP, rows))
            for row in up if turn % 2 == 0 else reversed(up):
                yield column, row


def distance(target: Target, system: System, source: Places, destination: Places) -> Distance:
    """Return the way from each source to the destination at the same index."""
    columns, rows = target.mesh.columns.value, target.mesh.rows.value
    source_chip, destination_chip = _chip_grid(system, source), _chip_grid(system, destination)
    across: IntArray = np.abs(source_chip[0] - destination_chip[0])
    along: IntArray = np.abs(source_chip[1] - destination_chip[1])
    east_west = np.abs(source_chip[0] * columns + source.x - destination_chip[0] * columns - destination.x)
    north_south = np.abs(source_chip[1] * rows + source.y - destination_chip[1] * rows - destination.y)
    return Distance(x_hops=east_west - across, y_hops=north_south - along, crossings=across + along)


def stretched(target: Target, system: System, places: Places) -> tuple[IntArray, IntArray]:
    """Return coordinates whose Manhattan distance is hops + crossing_hops * crossings."""
    crossing = target.mesh.crossing_hops.value
    column, row = _chip_grid(system, places)
    x = column * (target.mesh.columns.value - 1 + crossing) + places.x
    y = row * (target.mesh.rows.value - 1 + crossing) + places.y
    return x, y


def _chip_grid(system: System, places: Places) -> tuple[IntArray, IntArray]:
    return places.chip % system.chip_columns.value, places.chip // system.chip_columns.value
