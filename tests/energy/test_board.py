"""The board as a picture."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from bispik.compiler.mesh_links import Grid
from bispik.energy.board import SHADES, UNUSED, WIDEST, Board, Layer, board_text
from bispik.energy.report import render_board, render_html
from tests.energy.runs import report_input


def wide_board(chips: tuple[int, int], empty: int = 0) -> Board:
    """So many rows and columns of chips, the last ``empty`` without a neurocore."""
    rows, columns = chips[0] * 4, chips[1] * 8
    used = np.full((rows, columns), 4.0)
    if empty:
        used[-4:, -8 * empty :] = 0
    layer = Layer(title="Memory used", values=used, text=str, limit=4.0)
    return Board(
        name="a-board",
        chip_columns=8,
        chip_rows=4,
        chips=np.arange(chips[0] * chips[1]).reshape(chips),
        used=used,
        memory=layer,
        energy=layer,
        messages=layer,
        links=np.ones((4, rows, columns)),
    )


def test_every_used_router_is_a_character() -> None:
    report = report_input()
    board, text = report.board(), board_text(report.board())
    drawn = text[: text.index("A character is")]
    routers = {(core.chip, core.x, core.y) for core in report.mapped.neurocores}
    headings = sum(line.count(SHADES[-1]) for line in drawn.splitlines() if ": " in line)
    assert sum(drawn.count(shade) for shade in SHADES) - headings == 3 * len(routers)
    assert drawn.count(UNUSED) == 3 * (board.used.size - len(routers))
    assert board.per_chip(board.used).sum() == len(report.mapped.neurocores)
    assert board.links.sum() == pytest.approx(report.traffic().comparison.placed.links)


def test_a_wide_board_has_a_character_a_chip() -> None:
    lines = board_text(wide_board((4, 36), empty=2)).splitlines()
    assert lines[1:5] == [SHADES[-1] * 36] * 3 + [SHADES[-1] * 34 + UNUSED * 2]
    assert "A character is a chip" in lines[-1]
    assert max(map(len, board_text(wide_board((4, 8))).splitlines()[1:-1])) <= WIDEST


@pytest.mark.parametrize("chips", [(1, 1), (3, 4), (4, 35)])
def test_the_picture_is_one_small_file_with_a_title_for_each_chip(chips: tuple[int, int]) -> None:
    picture = render_board(wide_board(chips))
    root = ET.fromstring(picture)
    titles = [node.text for node in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == 3 * chips[0] * chips[1]
    assert titles[0] == "Chip 0: 128 neurocores, memory used: 100%"
    assert float(root.get("width", "nan")) <= 1700
    assert len(picture) < 700_000
    assert render_board(wide_board(chips)) == picture


def test_the_page_shows_the_board() -> None:
    page = render_html(report_input())
    assert "between routers the links" in page
    assert 'aria-label="Board ' in page


def test_a_link_says_where_it_is() -> None:
    grid = Grid(columns=16, rows=8, chip_columns=8, chip_rows=4)
    east = grid.columns * 1 + 7
    assert grid.describe(east) == "chip 0, router (7, 1) east to chip 1"
    south = (2 * grid.rows + 3) * grid.columns + 9
    assert grid.describe(south) == "chip 1, router (1, 3) south to chip 3"
    assert grid.describe(grid.rows * grid.columns + 1) == "chip 0, router (1, 0) west"
