"""The page, the JSON and the terminal tables of one report."""

from __future__ import annotations

import io
import json
import math
import re

import pytest
from rich.console import Console

from bispik.energy.heatmap import CHIPS_DRAWN
from bispik.energy.json_report import report_json
from bispik.energy.profiles import list_profiles
from bispik.energy.report import render_html
from bispik.energy.tables import audit_table, energy_table, resource_table
from tests.energy.pages import Page
from tests.energy.runs import report_input


@pytest.mark.parametrize("profile", list_profiles())
@pytest.mark.parametrize("verified", [True, False])
def test_page_has_every_section(profile: str, verified: bool) -> None:
    page = Page(render_html(report_input(profile, verified=verified)))
    sections = {attrs["id"] for attrs in page.all("section")}
    assert sections == {"summary", "energy", "chips", "network", "audit", "trust"}
    links = {attrs["href"] for attrs in page.all("a")}
    assert links == {f"#{name}" for name in sections | {"main"}}
    assert len(page.all("h1")) == 1


def test_page_is_self_contained() -> None:
    text = render_html(report_input())
    page = Page(text)
    assert not page.all("script")
    assert not re.search(r"""(src|href|action)\s*=\s*["']?(https?:)?//""", text)
    assert "url(" not in text
    assert "@import" not in text
    assert len(text) < 5_000_000


def test_page_escapes_what_users_wrote() -> None:
    text = render_html(report_input(title="<img src=x onerror=alert(1)>"))
    assert "<script" not in text
    assert "<img" not in text
    assert " &lt;script&gt;alert(1)&lt;/script&gt; &amp; more</span>" in text


def test_page_is_accessible() -> None:
    page = Page(render_html(report_input()))
    assert len(page.ids) == len(set(page.ids))
    assert len(page.all("caption")) == len(page.all("table")) > 8
    assert all(attrs.get("scope") in {"row", "col"} for attrs in page.all("th"))
    assert all(attrs.get("aria-hidden") or attrs.get("role") == "img" for attrs in page.all("svg"))
    for _, attrs in page.elements:
        for name in (attrs.get("aria-labelledby") or "").split():
            assert name in page.ids
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("title")) > 1  # of the page and of each picture


def test_same_input_same_page() -> None:
    assert render_html(report_input()) == render_html(report_input())


def test_every_neurocore_is_drawn() -> None:
    report = report_input()
    cells = [attrs for attrs in Page(render_html(report)).all("rect") if attrs.get("class") == "cell"]
    assert report.mapped.chips <= CHIPS_DRAWN
    assert len(cells) == 3 * len(report.mapped.neurocores)


@pytest.mark.parametrize("profile", list_profiles())
def test_json_has_the_promised_keys_and_sums_to_its_totals(profile: str) -> None:
    report = json.loads(json.dumps(report_json(report_input(profile)), allow_nan=False))
    energy = report["energy"]
    promised = {
        "profile",
        "j_per_token",
        "dynamic_j_per_token",
        "static_j_per_token",
        "synops_per_token",
        "spikes_per_token",
        "ratio_to_ann_fp32",
    }
    assert promised <= set(energy)
    for bound in ("low", "default", "high"):
        for scope in ("dynamic", "static", "host"):
            parts = [line["joules"][bound] for line in energy["lines"] if line["scope"] == scope]
            assert math.fsum(parts) == energy["totals"][scope][bound]
        assert math.fsum(line["joules"][bound] for line in energy["lines"]) == energy["totals"]["all"][bound]
        per_token = energy["totals"]["all"][bound] / energy["tokens_counted"]
        assert energy["j_per_token"][bound] == pytest.approx(per_token)
    assert sum(token["joules"] for token in energy["tokens"]) == pytest.approx(energy["totals"]["all"]["default"])
    assert all(line["source"] for line in energy["lines"])
    assert {"operation", "where", "count_per_token", "number_type", "reason"} <= set(report["audit"][0])


def test_terminal_tables() -> None:
    report = report_input()
    written = io.StringIO()
    console = Console(file=written, width=120)
    for table in (resource_table(report.mapped), energy_table(report.energy), audit_table(report.audit)):
        console.print(table)
    text = written.getvalue()
    for words in ("4,095 neurons", "Estimated, not measured", "Block 1", "int8", "Fully binary: no", "Final norm"):
        assert words in text
