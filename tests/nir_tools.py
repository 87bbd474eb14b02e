"""Other tools as they import a NIR file and run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import norse.torch as norse
import numpy as np
import numpy.typing as npt
import pytest
import torch
from snntorch.import_nir import import_from_nir as import_into_snntorch

Array = npt.NDArray[Any]
TOOLS = ("norse", "snntorch", "spikingjelly")


def imported(tool: str, graph: Any, dt: float = 1e-4) -> Any:
    """Return the tool's module of a NIR graph: (input, state) to (output, state); a new one has its first state."""
    if tool == "norse":
        return norse.from_nir(graph, dt=dt)
    if tool == "snntorch":
        return import_into_snntorch(graph)
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange", reason="needs Python 3.11 or later")
    return exchange.import_from_nir(graph, dt=dt)


def run(module: Any, values: Array, watch: tuple[str, ...] = ()) -> tuple[Array, dict[str, Array]]:
    """Run a module from its first state; returns its output, and that of the nodes to watch, step by step."""
    seen: dict[str, list[Array]] = {name: [] for name in watch}
    handles = [getattr(module, name).register_forward_hook(_keep(seen[name])) for name in watch]
    state: Any = ()
    outputs: list[Array] = []
    with torch.no_grad():
        for value in torch.from_numpy(values).float():
            output, *state = module(value, *state)
            outputs.append(_array(output))
    for handle in handles:
        handle.remove()
    return np.array(outputs), {name: np.array(rows) for name, rows in seen.items()}


def read(path: Path) -> Any:
    """Return a file's graph as every tool reads it."""
    return nir.read(path)


def _keep(rows: list[Array]) -> Callable[[Any, Any, Any], None]:
    return lambda _module, _inputs, output: rows.append(_array(output))


def _array(output: Any) -> Array:
    first: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return first.detach().numpy().copy()
