"""Which networks no other one beats, and a picture of them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from bispik.energy.pareto import Point, front, render_pareto
from bispik.energy.ranges import Range

POSITIVE = st.floats(1e-9, 1e3)


@st.composite
def points(draw: st.DrawFn) -> Point:
    low, default, high = sorted(draw(st.tuples(POSITIVE, POSITIVE, POSITIVE)))
    return Point(
        name=draw(st.text(st.characters(categories=("L", "P")), max_size=5)),
        series=draw(st.sampled_from(["T = 2", "<T & 4>"])),
        mark="8 bit",
        joules=Range(low, default, high),
        bits_per_byte=draw(st.floats(0.5, 9)),
    )


def beats(one: Point, other: Point) -> bool:
    """At least as good in both, and better in one."""
    a, b = (one.joules.default, one.bits_per_byte), (other.joules.default, other.bits_per_byte)
    return a[0] <= b[0] and a[1] <= b[1] and a != b


@given(st.lists(points(), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(given_points: Sequence[Point]) -> None:
    unbeaten = [p for p in given_points if not any(beats(other, p) for other in given_points)]
    found = front(given_points)
    assert {(p.joules.default, p.bits_per_byte) for p in found} == {
        (p.joules.default, p.bits_per_byte) for p in unbeaten
    }
    assert [p.joules.default for p in found] == sorted(p.joules.default for p in found)


@given(st.lists(points(), min_size=1, max_size=12))
def test_every_point_is_drawn_inside_the_frame(given_points: Sequence[Point]) -> None:
    picture = ET.fromstring(render_pareto(given_points, energy="Energy", note="estimated & assumed"))
    _, _, width, height = (float(number) for number in picture.attrib["viewBox"].split())
    space = "{http://www.w3.org/2000/svg}"
    circles = [circle for circle in picture.iter(f"{space}circle") if circle.attrib["r"] in ("4", "6")]
    assert len(circles) == len(given_points)
    for circle in circles:
        assert 0 < float(circle.attrib["cx"]) < width
        assert 0 < float(circle.attrib["cy"]) < height
    for line in picture.iter(f"{space}line"):
        assert 0 < float(line.attrib["x1"]) <= width
        assert 0 < float(line.attrib["x2"]) <= width
