"""The two libraries of the extra ``onnx``, and what is missing without them."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from bispik.models.errors import BispikError


def import_onnx() -> Any:
    """Return the module ``onnx``, with the parts of it that we use.

    Raises:
        BispikError: if it is not installed or cannot be loaded.
    """
    module = _imported("onnx")
    for part in ("checker", "helper", "numpy_helper", "shape_inference"):
        importlib.import_module(f"onnx.{part}")
    return module


def import_onnxruntime() -> Any:
    """Return the module ``onnxruntime``.

    Raises:
        BispikError: if it is not installed or cannot be loaded.
    """
    return _imported("onnxruntime")


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BispikError(f"{name} cannot be imported ({error}): pip install 'bispik[onnx]'") from error
