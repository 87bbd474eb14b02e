"""NIR files for tests, and what our network from one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir as typed_nir
import numpy as np
import numpy.typing as npt

from bispik.compiler.stream.float_run import run_stream_float
from bispik.compiler.stream.network import StreamNetwork
from bispik.compiler.stream.nir_read import read_nir_stream

nir: Any = typed_nir
"""Its annotations ask for arrays and dictionaries where it takes, and tools write, plain numbers and arrays too."""

Array = npt.NDArray[Any]
Nodes = dict[str, Any]


def graph(nodes: Nodes, *edges: str, metadata: dict[str, Any] | None = None) -> Any:
    """Return a NIR graph; an edge is "a b c" for a to b to c."""
    pairs = [pair for line in edges for pair in zip(line.split()[:-1], line.split()[1:], strict=True)]
    return nir.NIRGraph(nodes=nodes, edges=pairs, metadata=metadata or {}, type_check=False)


def write(folder: Path, nodes: Nodes, *edges: str, metadata: dict[str, Any] | None = None) -> Path:
    """Write a NIR graph."""
    path = folder / "net.nir"
    nir.write(path, graph(nodes, *edges, metadata=metadata), compression=None)
    return path


def read(path: Path, convention: str | None = None, dt: float | None = None, **options: Any) -> StreamNetwork:
    return read_nir_stream(path, convention=convention, dt=dt, **options)


def sent(network: StreamNetwork, values: Array) -> Array:
    """Return what the host reads, (steps, size), for an input of any shape behind its steps."""
    known = {network.input.name}
    for population in network.populations:
        assert {p.source for p in population.inputs if p.delay == 0} <= known
        known.add(population.name)
    flat = np.asarray(values, np.float64).reshape(len(values), -1)
    return run_stream_float(network, flat).sent[network.output]


def entry(*shape: int) -> Any:
    return nir.Input(np.array(shape))


def exit_(*shape: int) -> Any:
    return nir.Output(np.array(shape))


def lif(n: int, **changed: float | Array) -> Any:
    """Return n LIF neurons with a time constant of 4 steps of 1 ms."""
    values: dict[str, float | Array] = {"tau": 4e-3, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0}
    return nir.LIF(**{key: np.broadcast_to(value, (n,)).astype(float) for key, value in (values | changed).items()})
