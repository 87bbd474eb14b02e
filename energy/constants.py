"""Constants with unit, source and grade, read from TOML; a figure without a source does not load."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

from bispik.compiler.target import Grade
from bispik.energy.ranges import ZERO, Range
from bispik.models.errors import BispikError, first_line

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GRADES: dict[Grade, str] = {
    "M": "measured on silicon",
    "P": "published",
    "D": "derived from published figures",
    "X": "extrapolated or assumed",
}
"""The best first."""

Dimension: TypeAlias = Literal["energy", "power", "time"]

UNITS: Mapping[Dimension, Mapping[str, float]] = {
    "energy": {"fJ": 1e-15, "pJ": 1e-12, "nJ": 1e-9},
    "power": {"mW": 1e-3, "W": 1.0},
    "time": {"ns": 1e-9, "us": 1e-6},
}
"""SI value of each unit that a sheet may use."""

FIELDS = frozenset({"low", "default", "high", "unit", "grade", "source"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """One figure of an energy sheet."""

    name: str
    value: Range
    """SI units."""
    unit: str
    """The sheet's unit, for display."""
    scale: float
    """SI value of one ``unit``."""
    source: str
    grade: Grade | None
    """None if the sheet leaves the event out of its account; the value is 0 then."""


def parse_toml(sheet: str, where: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises:
        BispikError: if it is no TOML.
    """
    try:
        return tomllib.loads(sheet)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is no TOMLDecodeError, nor are deep lists
        raise BispikError(f"{where}: is no TOML: {first_line(error)}") from error


def only_keys(table: Mapping[str, Any], allowed: frozenset[str], required: frozenset[str], where: str) -> None:
    """Raise BispikError if a table lacks keys or has others, naming each."""
    if unknown := sorted(set(table) - allowed):
        raise BispikError(f"{where}: unknown keys {', '.join(unknown)}; known are {', '.join(sorted(allowed))}")
    if missing := sorted(required - set(table)):
        raise BispikError(f"{where}: missing keys {', '.join(missing)}")


def text(table: Mapping[str, Any], key: str, where: str) -> str:
    """Return a text that is not empty.

    Raises:
        BispikError: if it is anything else.
    """
    value = table[key]
    if not isinstance(value, str) or not value.strip():
        raise BispikError(f"{where}: {key} is {value!r}; expected a text")
    return value


def parse_constant(name: str, table: object, dimension: Dimension, where: str) -> Constant:
    """Return one constant of a sheet.

    Raises:
        BispikError: for a missing or unknown key, a missing source, an unknown unit or grade, or bounds out of order.
    """
    where = f"{where}: {name}"
    if not isinstance(table, dict):
        raise BispikError(f"{where} is {table!r}; expected low, default, high, unit, grade and source")
    only_keys(table, FIELDS, FIELDS, where)
    unit, grade, source = (text(table, key, where) for key in ("unit", "grade", "source"))
    if unit not in UNITS[dimension]:
        raise BispikError(f"{where}: unit is {unit!r}; units of {dimension} are {', '.join(UNITS[dimension])}")
    if grade not in get_args(Grade):
        raise BispikError(f"{where}: grade is {grade!r}; grades are {', '.join(GRADES)}")
    scale = UNITS[dimension][unit]
    low, default, high = (_number(table, key, where) for key in ("low", "default", "high"))
    try:
        value = Range(low * scale, default * scale, high * scale)
    except ValueError as error:
        raise BispikError(f"{where}: 0 <= low {low} <= default {default} <= high {high} does not hold") from error
    return Constant(name=name, value=value, unit=unit, scale=scale, source=source, grade=cast(Grade, grade))


def uncounted(name: str, reason: str) -> Constant:
    """Return a constant that a sheet leaves out of its account, and why."""
    return Constant(name=name, value=ZERO, unit="", scale=1.0, source=f"not counted: {reason}", grade=None)


def _number(table: Mapping[str, Any], key: str, where: str) -> float:
    value = table[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BispikError(f"{where}: {key} is {value!r}; expected a number")
    return float(value)
