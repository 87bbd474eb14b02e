"""Whether the sizes and constants of a spiking graph fit together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bispik.compiler.deferred import Matrix
from bispik.compiler.graph import (
    Attention,
    Injection,
    Join,
    Neurons,
    Norm,
    Population,
    Readout,
    SpikingGraph,
)
from bispik.models.errors import BispikError

FLOATS: tuple[np.dtype[Any], ...] = (np.dtype(np.float32), np.dtype(np.float64))


def check_sizes(graph: SpikingGraph) -> None:
    """Check every shape in a graph against the shapes of what it is wired to.

    Raises:
        BispikError: for the first that does not fit.
    """
    _require(graph.dt > 0 and math.isfinite(graph.dt), f"dt is {graph.dt} s; it must be positive")
    _require(graph.steps_per_token > 0, f"{graph.steps_per_token} steps per token; there must be at least 1")
    _require(graph.max_positions > 0, f"{graph.max_positions} positions; there must be at least 1")
    sizes: dict[str, int] = {}
    for node in graph.nodes:
        inputs = [sizes[name] for name in node.sources]
        match node:
            case Injection():
                _injection(node, graph)
            case Population():
                _population(node, inputs)
            case Join():
                for source, size in zip(node.inputs, inputs, strict=True):
                    _one_to_one(node.name, source, size, node.size)
            case Norm():
                _one_to_one(node.name, node.source, inputs[0], node.size)
                _require(node.size > 0, f"{node.name}: no channels")
                _require(node.epsilon >= 0, f"{node.name}: epsilon is {node.epsilon}; it must not be negative")
            case Attention():
                _attention(node, inputs)
            case Readout():
                _readout(node, inputs[0])
        sizes[node.name] = node.size


def _injection(node: Injection, graph: SpikingGraph) -> None:
    _shape(node.name, "token table", node.token_table, (None, None))
    _shape(node.name, "position table", node.position_table, (None, node.size))
    rows, gains = len(node.position_table), len(node.step_gain)
    _require(rows >= graph.max_positions, f"{node.name}: {rows} position vectors for {graph.max_positions} positions")
    _require(all(map(math.isfinite, node.step_gain)), f"{node.name}: step gains are {node.step_gain}")
    _require(
        gains == graph.steps_per_token, f"{node.name}: {gains} step gains for {graph.steps_per_token} steps per token"
    )


def _population(node: Population, inputs: list[int]) -> None:
    _neurons(node.name, node.neurons, node.size)
    for projection, size in zip(node.inputs, inputs, strict=True):
        if projection.weight is None:
            _one_to_one(node.name, projection.source, size, node.size)
        elif projection.weight.ndim == 1:
            _one_to_one(node.name, projection.source, size, node.size)
            _shape(node.name, f"weight from {projection.source}", projection.weight, (node.size,))
        else:
            _shape(node.name, f"weight from {projection.source}", projection.weight, (node.size, size))


def _attention(node: Attention, inputs: list[int]) -> None:
    _neurons(node.name, node.neurons, node.heads)
    for source, size in zip(node.sources, inputs, strict=True):
        _require(
            size == node.size,
            f"{node.name}: {node.heads} heads of {node.head_dim} channels for the {size} neurons of {source}",
        )


def _readout(node: Readout, size: int) -> None:
    _shape(node.name, "weight", node.weight, (None, size))
    _shape(node.name, "gamma", node.gamma, (size,))
    _shape(node.name, "beta", node.beta, (size,))
    _require(node.epsilon >= 0, f"{node.name}: epsilon is {node.epsilon}; it must not be negative")
    _require(math.isfinite(node.scale), f"{node.name}: scale is {node.scale}")


def _neurons(name: str, neurons: Neurons, size: int) -> None:
    _shape(name, "threshold", neurons.threshold, (size,))
    _shape(name, "bias", neurons.bias, (size,))
    _require(size > 0, f"{name}: no neurons")
    _require(0 <= neurons.decay < 1, f"{name}: decay is {neurons.decay}; it must be at least 0 and below 1")
    if neurons.spikes == "ternary":
        wrong = np.flatnonzero(neurons.threshold <= 0)
        what = f"{name}: threshold of {wrong.size} ternary neurons is not positive, the first is neuron {wrong[:1]}"
        _require(not wrong.size, what)
    for what, values in (("threshold", neurons.threshold), ("bias", neurons.bias)):
        bad = np.flatnonzero(~np.isfinite(values))
        _require(not bad.size, f"{name}: {what} of {bad.size} neurons is not finite, the first is neuron {bad[:1]}")


def _one_to_one(name: str, source: str, size: int, expected: int) -> None:
    _require(size == expected, f"{name}: {expected} channels one-to-one from the {size} of {source}")


def _shape(name: str, what: str, array: Matrix, expected: tuple[int | None, ...]) -> None:
    fits = array.ndim == len(expected) and all(e in (None, n) for n, e in zip(array.shape, expected, strict=True))
    wanted = " x ".join("any" if n is None else str(n) for n in expected)
    _require(fits, f"{name}: {what} is {' x '.join(map(str, array.shape))}, expected {wanted}")
    _require(array.dtype in FLOATS, f"{name}: {what} is {array.dtype}, expected float32 or float64")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise BispikError(message)
