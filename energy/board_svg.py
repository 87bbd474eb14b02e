"""Geometry of the board's picture: a square a router, a line a link. What is alike is one path: that keeps it small."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bispik.energy import formats
from bispik.energy.board import Board, FloatArray, Layer

LEVELS = 10
"""Shades of a colour."""

WIDTH = 960
"""Of the picture: panels lie side by side as long as they fit."""

MARGIN, CAPTION, CHIP_GAP = 12, 26, 3

LETTER = 7
"""Room for one letter of a caption, 12 pixels high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shade:
    """All squares, or all lines, of one shade."""

    opacity: float
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipFrame:
    """One chip of a panel."""

    x: float
    y: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One measure."""

    x: float
    y: float
    title: str
    chips: tuple[ChipFrame, ...]
    squares: tuple[Shade, ...]
    links: tuple[Shade, ...] = ()
    """Between routers of one chip."""
    chip_links: tuple[Shade, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What the template ``board.svg.j2`` draws."""

    name: str
    width: float
    height: float
    chip_width: float
    chip_height: float
    line: float
    """Width of a link's line."""
    panels: tuple[Panel, ...]


def picture_of(board: Board) -> Picture:
    """Return the picture of a board: memory, energy, and messages with the links that carry them."""
    return _Geometry(board).picture()


class _Geometry:
    def __init__(self, board: Board) -> None:
        self.board = board
        chips = board.chips.size
        self.cell = 16 if chips <= 2 else 9 if chips <= 16 else 6 if chips <= 40 else 4
        self.chip_width = board.chip_columns * self.cell + CHIP_GAP
        self.chip_height = board.chip_rows * self.cell + CHIP_GAP
        self.width = board.chips.shape[1] * self.chip_width
        self.height = board.chips.shape[0] * self.chip_height
        self.captions = [f"{layer.title}; full colour: {layer.full(layer.values)[1]}" for layer in board.layers]
        self.pitch = MARGIN + max(self.width, LETTER * max(len(caption) for caption in self.captions))
        self.across = max(1, min(len(board.layers), (WIDTH - MARGIN) // self.pitch))
        rows, columns = board.used.shape
        self.x = np.arange(columns) * self.cell + np.arange(columns) // board.chip_columns * CHIP_GAP
        self.y = np.arange(rows) * self.cell + np.arange(rows) // board.chip_rows * CHIP_GAP

    def picture(self) -> Picture:
        panels = tuple(self._panel(number, layer) for number, layer in enumerate(self.board.layers))
        down = -(-len(panels) // self.across)
        return Picture(
            name=self.board.name,
            width=self.across * self.pitch + MARGIN,
            height=down * (self.height + CAPTION + MARGIN) + MARGIN,
            chip_width=self.chip_width - CHIP_GAP,
            chip_height=self.chip_height - CHIP_GAP,
            line=round(self.cell / 6, 2),
            panels=panels,
        )

    def _panel(self, number: int, layer: Layer) -> Panel:
        full, _ = layer.full(layer.values)
        with_links = layer is self.board.messages
        inside, between = self._links() if with_links else ((), ())
        return Panel(
            x=MARGIN + number % self.across * self.pitch,
            y=MARGIN + CAPTION + number // self.across * (self.height + CAPTION + MARGIN),
            title=self.captions[number],
            chips=tuple(self._chips(layer)),
            squares=self._squares(layer.values / full, 0.35 if with_links else 1.0),
            links=inside,
            chip_links=between,
        )

    def _chips(self, layer: Layer) -> Iterator[ChipFrame]:
        board, sums, used = self.board, self.board.per_chip(layer.values), self.board.per_chip(self.board.used)
        limit = layer.limit and layer.limit * board.chip_columns * board.chip_rows
        for (row, column), chip in np.ndenumerate(board.chips):
            value = float(sums[row, column])
            text = formats.percent(value / limit) if limit else layer.text(value)
            neurocores = formats.number_of(int(used[row, column]), "neurocore")
            yield ChipFrame(
                x=column * self.chip_width,
                y=row * self.chip_height,
                title=f"Chip {chip}: {neurocores}, {layer.title.lower()}: {text}",
            )

    def _squares(self, levels: FloatArray, strongest: float) -> tuple[Shade, ...]:
        side = self.cell - 1
        shades: dict[int, list[str]] = {}
        for row, column in np.argwhere(self.board.used > 0).tolist():
            shade = min(LEVELS - 1, int(levels[row, column] * LEVELS))
            shades.setdefault(shade, []).append(f"M{self.x[column]} {self.y[row]}h{side}v{side}h-{side}z")
        return _shaded(shades, strongest)

    def _links(self) -> tuple[tuple[Shade, ...], tuple[Shade, ...]]:
        """Return the links within chips and between chips; both directions of a link are one line."""
        board, links = self.board, self.board.links
        across = links[0][:, :-1] + links[1][:, 1:]
        along = links[2][:-1] + links[3][1:]
        most = max(float(across.max(initial=0)), float(along.max(initial=0))) or 1.0
        inside: dict[int, list[str]] = {}
        between: dict[int, list[str]] = {}
        half = (self.cell - 1) / 2
        for loads, sideways in ((across, True), (along, False)):
            for row, column in np.argwhere(loads > 0).tolist():
                shade = min(LEVELS - 1, int(loads[row, column] / most * LEVELS))
                start, place = (self.x, column) if sideways else (self.y, row)
                length = int(start[place + 1] - start[place])
                path = f"M{self.x[column] + half:g} {self.y[row] + half:g}{'h' if sideways else 'v'}{length}"
                size = board.chip_columns if sideways else board.chip_rows
                (between if (place + 1) % size == 0 else inside).setdefault(shade, []).append(path)
        return _shaded(inside, 1.0), _shaded(between, 1.0)


def _shaded(shades: dict[int, list[str]], strongest: float) -> tuple[Shade, ...]:
    return tuple(
        Shade(opacity=round(strongest * (0.08 + 0.92 * (shade + 1) / LEVELS), 3), path="".join(shades[shade]))
        for shade in sorted(shades)
    )
