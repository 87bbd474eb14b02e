"""Plain values, as JSON and TOML hold them, to frozen dataclasses."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from bispik.models.errors import BispikError

RecordT = TypeVar("RecordT")


def record(kind: type[RecordT], values: Mapping[str, Any], where: str) -> RecordT:
    """Build a dataclass of numbers, bools, strings, paths, literals and records; each may also be declared ``| None``.

    A whole number is accepted for a float, a string for a Path; nothing else is converted.

    Args:
        kind: the dataclass.
        values: a value for each field that has no default.
        where: names the source in errors.

    Raises:
        BispikError: for a missing or unknown key, or a value of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(typing.cast("type[Any]", kind))}
    if unknown := sorted(str(name) for name in values if name not in fields):
        raise BispikError(f"{where}: unknown keys {', '.join(unknown)}; known are {', '.join(fields)}")
    missing = [n for n, f in fields.items() if f.default is dataclasses.MISSING and n not in values]
    if missing:
        raise BispikError(f"{where}: missing keys {', '.join(missing)}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _converted(value, hints[name], f"{where}: {name}") for name, value in values.items()})


def _converted(value: Any, hint: Any, what: str) -> Any:
    if typing.get_origin(hint) is typing.Literal:
        if isinstance(value, str) and value in typing.get_args(hint):
            return value
        raise BispikError(f"{what} is {value!r}; choose one of {', '.join(typing.get_args(hint))}")
    if isinstance(hint, types.UnionType):  # X | None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    whole = isinstance(value, int) and not isinstance(value, bool)
    if hint is float and (whole or isinstance(value, float)):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, hint) or (hint is int and not whole):
        raise BispikError(f"{what} is {value!r:.80}; expected {hint.__name__}")
    return value
