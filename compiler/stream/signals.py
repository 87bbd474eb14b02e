"""What reaches each node of a graph, in terms of what neurons and the host send: chains of linear nodes, composed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bispik.compiler.stream.budget import Budget
from bispik.compiler.stream.linear_map import LinearMap, behind, one_to_one
from bispik.compiler.stream.network import FloatArray
from bispik.compiler.stream.nir_graph import NirGraph
from bispik.compiler.stream.nir_layers import LINEAR, Shape, layer, output_shape, same_shape
from bispik.compiler.stream.wiring import Sparse

MAX_TERMS = 64
"""Ways from sources to one node; more are refused."""

WHOLE = 1e-6
"""How far, in steps, a delay may be from a whole number of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Term:
    """What one source sent some steps ago, through linear nodes."""

    source: str
    delay: int
    """Steps."""
    map: LinearMap | None
    """None: unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Signal:
    """A sum of terms and a constant."""

    terms: tuple[Term, ...]
    constant: FloatArray | None
    """As one vector; None: 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wired:
    """A graph with shapes and an order of execution."""

    graph: NirGraph
    inputs: Mapping[str, tuple[str, ...]]
    """By node, what it gets something from."""
    shapes: Mapping[str, Shape]
    """By node, what it gives; of an Output, what it gets."""
    taken: Mapping[str, Shape]
    """By node, what it gets."""


def infer_shapes(graph: NirGraph, start: Shape, budget: Budget) -> Wired:
    """Find out every shape, from the Input on; neurons give the shape that they get.

    Raises:
        BispikError: naming the nodes and both shapes where they do not fit, and nodes that nothing reaches or that
            reach nothing.
    """
    inputs: dict[str, list[str]] = {path: [] for path in graph.nodes}
    readers: dict[str, list[str]] = {path: [] for path in graph.nodes}
    for source, target in graph.edges:
        inputs[target].append(source)
        readers[source].append(target)
    budget.take(8 * math.prod(start), f"{graph.input}: its shape {start}")
    shapes, taken, first = {graph.input: start}, {graph.input: start}, {graph.input: ""}
    queue = deque([graph.input])
    while queue:
        path = queue.popleft()
        for reader in readers[path]:
            node, shape = graph.nodes[reader], shapes[path]
            if reader not in taken:
                given = output_shape(graph, node, shape) if node.kind in LINEAR else shape
                budget.take(8 * math.prod(given), f"{reader}: its shape {given}")
                taken[reader], shapes[reader], first[reader] = shape, given, path
                queue.append(reader)
            elif not same_shape(taken[reader], shape):
                both = f"{first[reader]} gives the shape {taken[reader]} and {path} gives {shape}"
                raise graph.error(reader, f"edges that meet are summed, but {both}; give both the same shape")
    _check_reached(graph, inputs, taken)
    return Wired(graph=graph, inputs={p: tuple(found) for p, found in inputs.items()}, shapes=shapes, taken=taken)


def whole_delays(graph: NirGraph, path: str, delays: FloatArray, dt: float) -> FloatArray:
    """Return delays in steps.

    Raises:
        BispikError: for a delay that is negative or no whole number of steps, with the nearest one that is.
    """
    steps = np.round(delays / dt)
    off = np.abs(delays / dt - steps)
    if (delays < 0).any() or (steps >= 2**31).any():
        raise graph.error(
            path, f"delay is {delays.min():g} to {delays.max():g} s, expected 0 or more, below 2^31 steps"
        )
    if (off > WHOLE).any():
        worst = int(off.argmax())
        raise graph.error(
            path,
            f"delay is {delays.flat[worst]:g} s, which is {delays.flat[worst] / dt:g} steps of {dt:g} s; "
            f"the nearest whole number of steps is {steps.flat[worst] * dt:g} s",
        )
    return steps


def signals(
    wired: Wired, order: Mapping[str, int], late: Mapping[str, FloatArray], budget: Budget
) -> dict[str, Signal]:
    """Return what every neuron node and the Output get, summed.

    Args:
        wired: the graph.
        order: by node, when it runs within a step; what a node gets from one that runs later is of the step before.
        late: by Delay node, its delays in steps.
        budget: pays for composed weights.

    Raises:
        BispikError: for a loop of linear nodes, a bias that a Delay would hold back, too many ways, too many weights.
    """
    graph = wired.graph
    given: dict[str, Signal] = {}
    gotten: dict[str, Signal] = {}
    linear = _linear_order(wired)
    for path, node in graph.nodes.items():
        if node.kind not in LINEAR:
            given[path] = Signal(terms=(Term(source=path, delay=0, map=None),), constant=None)
    for path in linear:
        entering = _sum(wired, path, order, late, given, budget)
        given[path] = _through(wired, path, entering, late, budget)
    for path, node in graph.nodes.items():
        if node.kind not in LINEAR and path != graph.input:
            gotten[path] = _sum(wired, path, order, late, given, budget)
    return gotten


def _check_reached(graph: NirGraph, inputs: Mapping[str, list[str]], taken: Mapping[str, Shape]) -> None:
    for path, node in graph.nodes.items():
        if path not in taken:
            raise graph.error(path, f"nothing that the Input sends reaches this {node.kind}; wire it, or remove it")
    useful, queue = {graph.output}, deque([graph.output])
    while queue:
        for source in inputs[queue.popleft()]:
            if source not in useful:
                useful.add(source)
                queue.append(source)
    for path, node in graph.nodes.items():
        if path not in useful:
            raise graph.error(path, f"nothing of this {node.kind} reaches the Output; wire it, or remove it")


def _linear_order(wired: Wired) -> list[str]:
    """Return the linear nodes such that each comes behind the linear nodes that it reads."""
    nodes = wired.graph.nodes
    waiting = {p: [s for s in wired.inputs[p] if nodes[s].kind in LINEAR] for p in nodes if nodes[p].kind in LINEAR}
    readers: dict[str, list[str]] = {path: [] for path in waiting}
    for path, sources in waiting.items():
        for source in sources:
            readers[source].append(path)
    left = {path: len(sources) for path, sources in waiting.items()}
    queue = deque(path for path, count in left.items() if count == 0)
    found: list[str] = []
    while queue:
        found.append(queue.popleft())
        for reader in readers[found[-1]]:
            left[reader] -= 1
            if left[reader] == 0:
                queue.append(reader)
    if len(found) < len(waiting):
        loop = ", ".join(sorted(set(waiting) - set(found))[:9])
        raise wired.graph.error("", f"a loop without neurons: {loop}; put neurons on it, or cut it")
    return found


def _sum(
    wired: Wired,
    path: str,
    order: Mapping[str, int],
    late: Mapping[str, FloatArray],
    given: Mapping[str, Signal],
    budget: Budget,
) -> Signal:
    """Add up what a node gets; terms of the same source, delay and pattern become one."""
    terms: list[Term] = []
    constant: FloatArray | None = None
    for source in wired.inputs[path]:
        signal = given[source]
        back = int(order[source] >= order[path] and not _is_late(late, source))
        terms += [Term(source=t.source, delay=t.delay + back, map=t.map) for t in signal.terms]
        if signal.constant is not None:
            constant = signal.constant if constant is None else constant + signal.constant
    merged: list[Term] = []
    for term in terms:
        index = next((i for i, other in enumerate(merged) if _alike(term, other)), None)
        if index is None:
            merged.append(term)
        else:
            merged[index] = _added(wired, merged[index], term, budget)
    if len(merged) > MAX_TERMS:
        raise wired.graph.error(path, f"{len(merged)} ways lead here, more than {MAX_TERMS}; use fewer parallel paths")
    return Signal(terms=tuple(merged), constant=constant)


def _is_late(late: Mapping[str, FloatArray], path: str) -> bool:
    return path in late and bool((late[path] >= 1).all())


def _alike(one: Term, other: Term) -> bool:
    if (one.source, one.delay) != (other.source, other.delay):
        return False
    if one.map is None or other.map is None:
        return one.map is other.map
    return not isinstance(one.map.wiring, Sparse) and one.map.wiring == other.map.wiring


def _added(wired: Wired, one: Term, other: Term, budget: Budget) -> Term:
    if one.map is None or other.map is None:
        size = math.prod(wired.shapes[one.source])
        return Term(source=one.source, delay=one.delay, map=one_to_one(np.full(size, 2.0)))
    budget.take(one.map.weight.size, "a sum of weights")
    total = LinearMap(wiring=one.map.wiring, weight=one.map.weight + other.map.weight)
    return Term(source=one.source, delay=one.delay, map=total)


def _through(wired: Wired, path: str, signal: Signal, late: Mapping[str, FloatArray], budget: Budget) -> Signal:
    """Pass a signal through a linear node."""
    graph = wired.graph
    node = graph.nodes[path]
    if path in late:
        return _delayed(graph, path, signal, late[path], budget)
    made = layer(graph, node, wired.taken[path], budget)
    constant = signal.constant
    if made.map is not None:
        constant = None if constant is None else made.map.apply(constant)
    if made.bias is not None and made.bias.any():
        constant = made.bias if constant is None else constant + made.bias
    terms = [Term(source=t.source, delay=t.delay, map=_chained(made.map, t.map, budget, path)) for t in signal.terms]
    return Signal(terms=tuple(terms), constant=constant)


def _chained(second: LinearMap | None, first: LinearMap | None, budget: Budget, path: str) -> LinearMap | None:
    if second is None or first is None:
        return second or first
    return behind(second, first, budget, f"{path}: its weights behind those of the layers before")


def _delayed(graph: NirGraph, path: str, signal: Signal, steps: FloatArray, budget: Budget) -> Signal:
    """Delay a signal; channels that wait for different times become terms of their own."""
    if signal.constant is not None:
        raise graph.error(path, "a bias in front of this Delay would set in late; put the Delay in front of the bias")
    terms: list[Term] = []
    for value in np.unique(steps):
        mask = None if steps.size == 1 or (steps == value).all() else one_to_one((steps == value).astype(np.float64))
        terms += [
            Term(source=t.source, delay=t.delay + int(value), map=_chained(mask, t.map, budget, path))
            for t in signal.terms
        ]
        if len(terms) > MAX_TERMS:
            raise graph.error(path, f"more than {MAX_TERMS} different delays; use fewer")
    return Signal(terms=tuple(terms), constant=None)
