"""The reports' pages in a real browser: nothing is loaded, nothing fails, everything can be seen and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page

from bispik.energy.report import render_html
from bispik.energy.stream_html import render_stream_html
from tests.energy.runs import report_input
from tests.stream.test_stream_html import report_input as stream_input

PAGES: dict[str, Callable[[], str]] = {
    "language model": lambda: render_html(report_input()),
    "language model, unverified, 45 nm": lambda: render_html(report_input("paper-45nm", verified=False)),
    "stream": lambda: render_stream_html(stream_input()),
}

VIEWS = ((1280, "light"), (320, "dark"))
"""Width in pixels and colour scheme; WCAG 1.4.10 asks for 320."""

CHARTS = {
    "Token by token",
    "Spikes over the text",
    "How many neurons spike how often",
    "Firing rates, floats against integers",
}

PICTURES = """() => [...document.querySelectorAll('svg[role=img]')].map(svg => {
  const named = (svg.getAttribute('aria-labelledby') ?? '').split(' ').map(id => document.getElementById(id));
  const box = svg.getBoundingClientRect();
  const name = svg.getAttribute('aria-label') ?? named[0]?.textContent ?? '';
  const cut = [...svg.querySelectorAll('text')].filter(text => {
    const inner = text.getBoundingClientRect();
    return inner.left < box.left - 1 || inner.right > box.right + 1
      || inner.top < box.top - 1 || inner.bottom > box.bottom + 1;
  });
  return {name: name.trim(), width: box.width, height: box.height, cut: cut.map(text => text.firstChild.textContent)};
})"""
"""Name and size of each picture, and the words in it that do not fit it."""

CONTRASTS = """() => {
  const shades = color => color.match(/[\\d.]+/g).map(Number);
  const luminance = color => {
    const [r, g, b] = shades(color).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      const ground = !(e instanceof SVGElement) || e instanceof SVGSVGElement;
      if (ground && (shades(color)[3] ?? 1) === 1) return color;
    }
  };
  const least = {};
  const look = (selector, paint) => document.querySelectorAll(selector).forEach(element => {
    const [a, b] = [luminance(getComputedStyle(element)[paint]), luminance(behind(element))];
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const key = selector + ' ' + (element.getAttribute('class') ?? '');
    least[key] = Math.min(least[key] ?? 21, contrast);
  });
  look('svg text', 'fill');
  look('svg :is(.bar, .other, .mark, .dot, .k0, .k1, .k2)', 'fill');
  look('svg path:not(.unused, .heat)', 'stroke');
  return least;
}"""
"""The smallest contrast of words and shapes in pictures, which axe does not look into, by kind."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A page, and what went on while it was opened and folded out."""

    file: Path
    width: int
    page: Page
    messages: list[str]
    requests: list[str]


def open_page(context: BrowserContext, file: Path, width: int) -> Opened:
    """Load a file, and fold out every detail in it."""
    page = context.new_page()
    opened = Opened(file=file, width=width, page=page, messages=[], requests=[])
    page.on("console", lambda message: opened.messages.append(message.text))
    page.on("pageerror", lambda error: opened.messages.append(str(error)))
    page.on("request", lambda request: opened.requests.append(request.url))
    page.goto(file.as_uri())
    page.evaluate("() => document.querySelectorAll('details').forEach(details => { details.open = true })")
    return opened


@pytest.fixture(scope="module", params=PAGES)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "report.html"
    path.write_text(PAGES[request.param](), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=VIEWS, ids=lambda view: f"{view[0]} {view[1]}")
def opened(request: pytest.FixtureRequest, browser: Browser, file: Path) -> Iterator[Opened]:
    width, scheme = request.param
    with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True) as context:
        yield open_page(context, file, width)


def test_it_loads_nothing_and_logs_nothing(opened: Opened) -> None:
    assert [url for url in opened.requests if not url.startswith("data:")] == [opened.file.as_uri()]
    assert opened.messages == []


def test_axe_finds_nothing(opened: Opened) -> None:
    found = Axe().run(opened.page)
    assert found.violations_count == 0, found.generate_report()


def test_pictures_have_contrast(opened: Opened) -> None:
    contrasts: dict[str, float] = opened.page.evaluate(CONTRASTS)
    assert contrasts
    for kind, contrast in contrasts.items():
        assert contrast >= (4.5 if "text" in kind else 3), kind


def test_pictures_have_a_name_a_size_and_whole_words(opened: Opened) -> None:
    pictures = opened.page.evaluate(PICTURES)
    assert len(pictures) > 4
    for picture in pictures:
        assert picture["name"]
        assert picture["width"] >= 200
        assert picture["height"] >= 15
        assert not picture["cut"], picture


def test_only_tables_and_wide_pictures_scroll_sideways(opened: Opened) -> None:
    assert opened.page.evaluate("() => document.scrollingElement.scrollWidth") <= opened.width


def test_every_chart_is_there(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(PAGES["language model"](), encoding="utf-8")
    with browser.new_context() as context:
        page = open_page(context, tmp_path / "report.html", 0).page
        for name in CHARTS:
            assert page.get_by_role("img", name=name, exact=True).is_visible()
        assert page.locator("#chips svg[role=img]").count() >= 1


def test_the_keyboard_is_enough(browser: Browser, file: Path) -> None:
    with browser.new_context() as context:
        page = open_page(context, file, 0).page
        page.keyboard.press("Tab")
        box = page.get_by_role("link", name="Skip to the report").bounding_box()
        assert box is not None
        assert box["x"] >= 0  # it shows itself
        page.keyboard.press("Enter")
        reached = set[str]()
        for _ in range(page.locator("main :is(a, summary, [tabindex='0'])").count()):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("() => document.activeElement.getAttribute('aria-labelledby') ?? ''"))
        assert page.evaluate("() => document.activeElement.closest('main') !== null")
        regions = page.locator(".scroll")
        assert set(regions.evaluate_all("all => all.map(region => region.getAttribute('aria-labelledby'))")) <= reached
