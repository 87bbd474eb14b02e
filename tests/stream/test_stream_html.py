"""The page of a stream program's run."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from bispik.backends.stream.counts import StreamCounter
from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.compiler.stream.mapping import map_stream
from bispik.compiler.stream.program import StreamVerification
from bispik.compiler.target import load_target
from bispik.energy.profiles import list_profiles, load_profile
from bispik.energy.stream_html import POINTS, StreamReportInput, render_stream_html
from bispik.energy.stream_report import stream_account
from tests.energy.pages import Page
from tests.stream.layers import CONVOLUTION, one_layer


def report_input(
    profile: str = "loihi2", *, title: str = "net", steps: int = 9, verified: bool = True, whole: bool = True
) -> StreamReportInput:
    program = one_layer(CONVOLUTION)
    if verified:
        checked = StreamVerification(
            steps=4, input="a random input", spike_agreement=0.97, spikes_in_common=0.9, populations=()
        )
        program = replace(program, verification=checked)
    mapped = map_stream(program, load_target("loihi2"))
    session, counter = ReferenceStreamSession(program), StreamCounter(mapped)
    values = (np.random.default_rng(0).random((steps, program.input.size)) < 0.2).astype(np.int32)
    counts = counter.count(session.feed(values))
    if not whole:
        counts = counter.count(session.feed(values))
    energy = stream_account(mapped, counts, load_profile(profile))
    return StreamReportInput(title=title, mapped=mapped, counts=counts, energy=energy, execution_mode="a test")


@pytest.mark.parametrize("profile", list_profiles())
@pytest.mark.parametrize("verified", [True, False])
def test_the_page_has_every_section_and_loads_nothing(profile: str, verified: bool) -> None:
    text = render_stream_html(report_input(profile, verified=verified))
    page = Page(text)
    sections = {attrs["id"] for attrs in page.all("section")}
    assert sections == {"summary", "energy", "activity", "chips", "audit", "trust"}
    assert {attrs["href"] for attrs in page.all("a")} == {f"#{name}" for name in sections | {"main"}}
    assert text.startswith("<!doctype html>")
    assert not page.all("script")
    assert not re.search(r"""(src|href|action)\s*=\s*["']?(https?:)?//""", text)
    assert len(text) < 5_000_000


def test_the_page_is_accessible() -> None:
    page = Page(render_stream_html(report_input()))
    assert len(page.ids) == len(set(page.ids))
    assert len(page.all("caption")) == len(page.all("table")) > 8
    assert all(attrs.get("scope") in {"row", "col"} for attrs in page.all("th"))
    assert all(attrs.get("aria-hidden") or attrs.get("role") == "img" for attrs in page.all("svg"))
    for _, attrs in page.elements:
        assert set((attrs.get("aria-labelledby") or "").split()) <= set(page.ids)


def test_the_page_escapes_what_users_wrote() -> None:
    assert "<script" not in render_stream_html(report_input(title="<script>alert(1)</script>"))


def test_the_same_run_gives_the_same_page() -> None:
    assert render_stream_html(report_input()) == render_stream_html(report_input())


def test_steps_within_a_sequence_are_reported_by_step() -> None:
    text = render_stream_html(report_input(whole=False))
    assert "What does a step cost?" in text
    assert "per inference" not in text


@pytest.mark.parametrize("steps", [1, 2, POINTS + 60])
def test_a_curve_has_a_point_a_step_up_to_its_width(steps: int) -> None:
    curves = Page(render_stream_html(report_input(steps=steps))).all("polyline")
    assert len(curves) == 3
    for curve in curves:
        assert len((curve["points"] or "").split()) == min(steps, POINTS)
