"""Numbers as people read them."""

from __future__ import annotations

import pytest

from bispik.energy import formats
from bispik.energy.ranges import Range


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 J"),
        (1.23456e-5, "12.3 µJ"),
        (1e-12, "1.00 pJ"),
        (0.9999e-6, "1.00 µJ"),
        (9.99e-7, "999 nJ"),
        (0.5, "500 mJ"),
        (3e3, "3.00 kJ"),
        (1e-17, "0.0100 fJ"),
    ],
)
def test_joules(value: float, text: str) -> None:
    assert formats.joules(value).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Range(1e-6, 2e-6, 3.5e-6), "1.00–3.50 µJ"),
        (Range(1e-9, 2e-6, 3.5e-6), "1.00 nJ–3.50 µJ"),
        (Range(0, 2e-6, 3.5e-6), "0–3.50 µJ"),
        (Range(2e-6, 2e-6, 2e-6), "2.00 µJ"),
        (Range(0, 0, 0), "0 J"),
    ],
)
def test_span(value: Range, text: str) -> None:
    assert formats.span(value, "J").replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (0.125, "0.125"),
        (12.5, "12.5"),
        (1234.4, "1,234"),
        (99_999, "99,999"),
        (2_314_000, "2.31 M"),
    ],
)
def test_count(value: float, text: str) -> None:
    assert formats.count(value).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0%"), (0.00001, "< 0.1%"), (0.1234, "12.3%"), (1, "100%"), (2.5, "250%"), (0.9996, "100%")]
)
def test_percent(value: float, text: str) -> None:
    assert formats.percent(value).replace("\N{NO-BREAK SPACE}", " ") == text


def test_ranges_must_be_in_order() -> None:
    with pytest.raises(ValueError, match="not a range"):
        Range(2.0, 1.0, 3.0)
    with pytest.raises(ValueError, match="not a range"):
        Range(0.0, float("nan"), 3.0)
