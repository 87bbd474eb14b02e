"""Numbers as people read them: three significant digits and a unit with a prefix."""

from __future__ import annotations

import math

from bispik.energy.ranges import Range

PREFIXES = (
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
    (1e-12, "p"),
    (1e-15, "f"),
)

NO_BREAK = "\N{NO-BREAK SPACE}"

EN_DASH = "\N{EN DASH}"


def quantity(value: float, unit: str) -> str:
    """Return e.g. ``12.3 µJ``."""
    number, prefix = _scaled(value)
    return f"{number}{NO_BREAK}{prefix}{unit}"


def joules(value: float) -> str:
    """Return an energy, e.g. ``12.3 µJ``."""
    return quantity(value, "J")


def round_joules(value: float) -> str:
    """Return a power of ten as an energy, e.g. ``10 µJ``."""
    size, prefix = next((p for p in PREFIXES if value >= 0.9995 * p[0]), PREFIXES[-1])
    return f"{value / size:,.3g}{NO_BREAK}{prefix}J"


def seconds(value: float) -> str:
    """Return a duration, e.g. ``1.20 ms``."""
    return quantity(value, "s")


def span(value: Range, unit: str) -> str:
    """Return low to high, e.g. ``3.80\N{EN DASH}30.0 pJ``; one number if they are the same."""
    low, high = _scaled(value.low), _scaled(value.high)
    if low == high:
        return quantity(value.default, unit)
    if low[1] == high[1] or value.low == 0:
        return f"{low[0]}{EN_DASH}{high[0]}{NO_BREAK}{high[1]}{unit}"
    return f"{low[0]}{NO_BREAK}{low[1]}{unit}{EN_DASH}{high[0]}{NO_BREAK}{high[1]}{unit}"


def plain(value: float) -> str:
    """Return three significant digits with thousands separators and no exponent, e.g. ``0.0123`` or ``1,230``."""
    value = float(f"{value:.2e}")
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def count(value: float) -> str:
    """Return a whole number in full below 100,000, else e.g. ``2.31 M``."""
    if value == 0 or abs(value) >= 1e5:
        return f"{_scaled(value)[0]}{NO_BREAK}{_scaled(value)[1]}".rstrip(NO_BREAK)
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else plain(value)


def number_of(count: int, thing: str) -> str:
    """Return e.g. ``1 chip`` or ``1,024 chips``."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share, e.g. ``12.3%``."""
    if share and abs(share) < 0.0005:
        return f"<{NO_BREAK}0.1%" if share > 0 else f">{NO_BREAK}\N{MINUS SIGN}0.1%"
    return f"{100 * share:.0f}%" if abs(share) >= 0.9995 or share == 0 else f"{100 * share:.1f}%"


def ratio(value: float) -> str:
    """Return a factor, e.g. ``0.31×``."""
    return f"{plain(value)}×"


def _scaled(value: float) -> tuple[str, str]:
    if value == 0:
        return "0", ""
    # 999.6 would be printed as 1,000: it belongs to the next prefix.
    size, prefix = next((p for p in PREFIXES if abs(value) >= 0.9995 * p[0]), PREFIXES[-1])
    return plain(value / size), prefix
