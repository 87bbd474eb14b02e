"""Frozen dataclasses to JSON plus arrays and back, checked against their type annotations.

Nothing is looked up by a name from the file but one of the dataclasses that an annotation allows at that place.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Literal, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from bispik.models.errors import BispikError

Arrays = dict[str, npt.NDArray[Any]]


def encode(value: Any, arrays: Arrays, where: str) -> Any:
    """Return ``value`` as JSON values; its arrays go into ``arrays`` under their path."""
    if dataclasses.is_dataclass(value):
        fields = {
            f.name: encode(getattr(value, f.name), arrays, f"{where}/{f.name}") for f in dataclasses.fields(value)
        }
        return {"type": type(value).__name__, **fields}
    if isinstance(value, np.ndarray):
        if value.ndim == 2 and value.dtype == np.int8:  # weights: stored with the inputs first, see `artifact`
            arrays[where] = value.T
            return {"array": where, "transposed": True}
        arrays[where] = value
        return {"array": where}
    if isinstance(value, Mapping):
        return {"map": {str(key): encode(item, arrays, f"{where}/{key}") for key, item in value.items()}}
    if isinstance(value, tuple):
        return [encode(item, arrays, f"{where}/{index}") for index, item in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{where}: cannot store a {type(value).__name__}")


def decode(hint: Any, value: Any, arrays: Mapping[str, npt.NDArray[Any]], where: str) -> Any:
    """Return what ``encode`` was given, an instance of ``hint``.

    Raises:
        BispikError: if the value does not fit the annotation; the place is named behind ``where``.
    """
    try:
        return _decoder(hint)(value, arrays)
    except _UnfitError as error:
        raise BispikError(f"{'/'.join([where, *reversed(error.path)])}: {error}") from error


class _UnfitError(Exception):
    """A value that does not fit; its place is filled in from the inside to the outside on the way up."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.path: list[str] = []

    def inside(self, place: object) -> _UnfitError:
        self.path.append(str(place))
        return self


_Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
_Decoder: TypeAlias = Callable[[Any, _Arrays], Any]


@cache
def _decoder(hint: Hashable) -> _Decoder:
    """Return what decodes one annotation: looked at once, for a large program has a million values."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass(hint)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is Literal:
        return _plain(lambda value: value in arguments, f"one of {arguments}")
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return _tuple(_decoder(arguments[0]))
        return _fixed_tuple([_decoder(argument) for argument in arguments])
    if origin is np.ndarray:
        number = get_args(arguments[1])[0]
        return _array(None if number is Any else np.dtype(number))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(_decoder(arguments[1]))
    kind = cast(type[Any], hint)
    if kind is type(None):
        return _plain(lambda value: value is None, "null")
    if hint is float:
        number = _plain(lambda value: type(value) in (int, float), "a number")
        return lambda value, arrays: float(number(value, arrays))
    return _plain(lambda value: type(value) is kind, kind.__name__)


def _expect(fits: bool, value: Any, wanted: str) -> Any:
    if not fits:
        raise _UnfitError(f"{str(value)[:60]!r} where {wanted} is expected")
    return value


def _plain(fits: Callable[[Any], bool], wanted: str) -> _Decoder:
    return lambda value, _: value if fits(value) else _expect(False, value, wanted)


def _dataclass(kind: type[Any]) -> _Decoder:
    hints = get_type_hints(kind)
    fields = {field.name: _decoder(hints[field.name]) for field in dataclasses.fields(kind)}
    names = {"type", *fields}

    def decoded(value: Any, arrays: _Arrays) -> Any:
        if not isinstance(value, dict) or value.get("type") != kind.__name__:
            _expect(False, value, kind.__name__)
        if value.keys() != names:
            _expect(False, sorted(value.keys() ^ names), f"the fields of {kind.__name__}")
        values: dict[str, Any] = {}
        name = ""
        try:
            for name, decoder in fields.items():
                values[name] = decoder(value[name], arrays)
        except _UnfitError as error:
            raise error.inside(name) from None
        return kind(**values)

    return decoded


def _union(choices: tuple[type[Any], ...]) -> _Decoder:
    named = {choice.__name__: _dataclass(choice) for choice in choices if dataclasses.is_dataclass(choice)}
    others = [_decoder(cast(Hashable, choice)) for choice in choices if not dataclasses.is_dataclass(choice)]

    def decoded(value: Any, arrays: _Arrays) -> Any:
        if isinstance(value, dict) and "type" in value:
            return named[_expect(value["type"] in named, value["type"], "a known type")](value, arrays)
        for decoder in others:
            with suppress(_UnfitError):
                return decoder(value, arrays)
        return _expect(False, value, f"one of {choices}")

    return decoded


def _tuple(item: _Decoder) -> _Decoder:
    def decoded(value: Any, arrays: _Arrays) -> Any:
        values: list[Any] = []
        try:
            for entry in _expect(isinstance(value, list), value, "a list"):
                values.append(item(entry, arrays))  # noqa: PERF401 - the error needs the place
        except _UnfitError as error:
            raise error.inside(len(values)) from None
        return tuple(values)

    return decoded


def _fixed_tuple(items: Sequence[_Decoder]) -> _Decoder:
    def decoded(value: Any, arrays: _Arrays) -> Any:
        fits = isinstance(value, list) and len(value) == len(items)
        _expect(fits, value, f"a list of {len(items)}")
        values: list[Any] = []
        try:
            for decoder, entry in zip(items, value, strict=True):
                values.append(decoder(entry, arrays))
        except _UnfitError as error:
            raise error.inside(len(values)) from None
        return tuple(values)

    return decoded


def _mapping(item: _Decoder) -> _Decoder:
    def decoded(value: Any, arrays: _Arrays) -> Any:
        fits = isinstance(value, dict) and isinstance(value.get("map"), dict)
        values: dict[str, Any] = {}
        key = ""
        try:
            for key, entry in _expect(fits, value, "a mapping")["map"].items():
                values[key] = item(entry, arrays)
        except _UnfitError as error:
            raise error.inside(key) from None
        return values

    return decoded


def _array(dtype: np.dtype[Any] | None) -> _Decoder:
    def decoded(value: Any, arrays: _Arrays) -> Any:
        fits = isinstance(value, dict) and isinstance(value.get("array"), str) and value["array"] in arrays
        array = arrays[_expect(fits, value, "an array of the file")["array"]]
        if dtype is not None and array.dtype != dtype:
            raise _UnfitError(f"array of {array.dtype}, expected {dtype}")
        if not value.get("transposed", False):
            return array
        if array.ndim != 2 or array.dtype != np.int8:
            raise _UnfitError(f"array of {array.dtype} and {array.ndim} dimensions where weights are expected")
        return array.T

    return decoded
