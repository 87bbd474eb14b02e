"""Frozen dataclasses to JSON plus arrays and back, checked against their type annotations.

Nothing is looked up by a name from the file but one of the dataclasses that an annotation allows at that place.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

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
        BispikError: if the value does not fit the annotation.
    """
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, arrays, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(arguments, value, arrays, where)
    if origin is Literal:
        return _expect(value in arguments, value, where, f"one of {arguments}")
    if origin is tuple:
        items = _expect(isinstance(value, list), value, where, "a list")
        return tuple(decode(arguments[0], item, arrays, f"{where}/{index}") for index, item in enumerate(items))
    if origin is np.ndarray:
        return _array(arguments[1], value, arrays, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        items = _expect(isinstance(value, dict) and isinstance(value.get("map"), dict), value, where, "a mapping")
        return {key: decode(arguments[1], item, arrays, f"{where}/{key}") for key, item in items["map"].items()}
    if hint is type(None):
        return _expect(value is None, value, where, "null")
    if hint is float:
        return float(_expect(isinstance(value, (int, float)) and not isinstance(value, bool), value, where, "a number"))
    fits = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    return _expect(fits, value, where, hint.__name__)


def _expect(fits: bool, value: Any, where: str, wanted: str) -> Any:
    if not fits:
        raise BispikError(f"{where}: {str(value)[:60]!r} where {wanted} is expected")
    return value


def _dataclass(kind: type[Any], value: Any, arrays: Mapping[str, npt.NDArray[Any]], where: str) -> Any:
    fits = isinstance(value, dict) and value.get("type") == kind.__name__
    stored = dict(_expect(fits, value, where, kind.__name__))
    del stored["type"]
    hints = _hints(cast(Hashable, kind))
    _expect(
        stored.keys() == hints.keys(), sorted(stored.keys() ^ hints.keys()), where, f"the fields of {kind.__name__}"
    )
    return kind(**{name: decode(hints[name], item, arrays, f"{where}/{name}") for name, item in stored.items()})


@cache
def _hints(kind: Hashable) -> Mapping[str, Any]:
    """Return the annotations of a dataclass's fields; looking them up takes longer than all the rest."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(cast(Any, kind))}


def _union(choices: tuple[Any, ...], value: Any, arrays: Mapping[str, npt.NDArray[Any]], where: str) -> Any:
    if isinstance(value, dict) and "type" in value:
        named = [choice for choice in choices if getattr(choice, "__name__", "") == value["type"]]
        _expect(bool(named), value["type"], where, "a known type")
        return decode(named[0], value, arrays, where)
    for choice in choices:
        if (choice is type(None)) == (value is None):
            try:
                return decode(choice, value, arrays, where)
            except BispikError:
                continue
    return _expect(False, value, where, f"one of {choices}")


def _array(dtype_hint: Any, value: Any, arrays: Mapping[str, npt.NDArray[Any]], where: str) -> npt.NDArray[Any]:
    fits = isinstance(value, dict) and value.get("array") in arrays
    array = arrays[_expect(fits, value, where, "an array of the file")["array"]]
    (scalar,) = get_args(dtype_hint)
    if array.dtype != np.dtype(scalar):
        raise BispikError(f"{where}: array of {array.dtype}, expected {np.dtype(scalar)}")
    if not value.get("transposed", False):
        return array
    if array.ndim != 2 or array.dtype != np.int8:
        raise BispikError(f"{where}: array of {array.dtype} and {array.ndim} dimensions where weights are expected")
    transposed: npt.NDArray[Any] = array.T
    return transposed
