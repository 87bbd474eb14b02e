"""The integer arithmetic of `bispik.compiler.fixed_point` in ONNX operators, exact for every number that it is.

Not among them are ``Clip``, ``Min``, ``Max`` and ``Sign``: onnxruntime up to 1.31 computes them wrongly on x86-64 for
some 64-bit integers beyond 2^31 (github.com/microsoft/onnxruntime/pull/32475). Comparisons and ``Where`` are right.
``ReduceSum``, which goes through doubles there, counts and adds small numbers only; ``Graph.row_sums`` is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

from bispik.backends.onnx.graph import Graph
from bispik.compiler.fixed_point import DECAY_ONE, MEMBRANE_MAX
from bispik.compiler.program import IntegerNorm


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """What became of neurons in a time step; each is the name of a tensor of the neurons' shape."""

    spike: str
    membrane: str
    """Stored: behind a hard reset."""
    clipped: str
    """1 where the membrane saturated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """When neurons spike, and what that does to their membranes."""

    threshold: str
    below: str | None
    """Of ternary neurons, minus the threshold: they spike -1 below it."""
    hard: bool


def decayed(graph: Graph, value: str, kept: str) -> str:
    """Return what a step leaves of a membrane; ``kept`` is 4096 - decay.

    ONNX divides integers toward zero, which is a shift in sign-magnitude.
    """
    return graph.run("Div", graph.run("Mul", value, kept), graph.number(DECAY_ONE))


def saturated(graph: Graph, value: str) -> str:
    """Clip to the 24-bit membrane range."""
    low, high = graph.number(-MEMBRANE_MAX), graph.number(MEMBRANE_MAX)
    below = graph.run("Where", graph.run("Greater", value, high), high, value)
    return graph.run("Where", graph.run("Less", value, low), low, below)


def differs(graph: Graph, one: str, other: str) -> str:
    """Return 1 where two tensors differ, else 0."""
    return graph.whole(graph.run("Not", graph.run("Equal", one, other)))


def fired(graph: Graph, membrane: str, firing: Firing) -> Fired:
    """Saturate the membranes of a step and let the neurons spike."""
    clipped = saturated(graph, membrane)
    spike = graph.whole(graph.run("Greater", clipped, firing.threshold))
    if firing.below is not None:
        spike = graph.run("Sub", spike, graph.whole(graph.run("Less", clipped, firing.below)))
    stored = clipped
    if firing.hard:
        stored = graph.run("Where", graph.run("Equal", spike, graph.number(0)), clipped, graph.number(0))
    return Fired(spike=spike, membrane=stored, clipped=differs(graph, membrane, clipped))


def normalised(graph: Graph, value: str, norm: IntegerNorm) -> str:
    """Return the norm of each row of (steps, size), as `bispik.compiler.program.IntegerNorm` defines it."""
    size, total = graph.number(norm.size), graph.row_sums(value, norm.size)
    spread = graph.run("Add", spread_of(graph, value, norm.size), graph.number(norm.epsilon))
    root = root_rounded_up(graph, graph.shifted(spread, 2 * norm.root_bits))
    # Where the root is 0 there is no deviation either: any divisor gives the 0 that the norm has then.
    divisor = graph.run("Where", graph.run("Equal", root, graph.number(0)), graph.number(1), root)
    deviation = graph.run("Sub", graph.run("Mul", value, size), total)
    doubled = graph.shifted(graph.run("Abs", deviation), norm.fraction_bits + norm.root_bits + 1)
    rounded = graph.run("Div", graph.run("Add", doubled, divisor), graph.shifted(divisor, 1))
    negative = graph.run("Less", deviation, graph.number(0))
    return graph.run("Where", negative, graph.run("Neg", rounded), rounded)


def spread_of(graph: Graph, value: str, size: int) -> str:
    """Return size * sum x^2 - (sum x)^2 of each row of (rows, size): size^2 times the variance, exactly; (rows, 1)."""
    total = graph.row_sums(value, size)
    squares = graph.row_sums(graph.run("Mul", value, value), size)
    return graph.run("Sub", graph.run("Mul", squares, graph.number(size)), graph.run("Mul", total, total))


def root_rounded_up(graph: Graph, value: str) -> str:
    """Return the smallest integers whose squares are at least ``value``, which is below 2^62.

    A double's root is off by less than 1 there: from one below its whole part, count up while the square is too small.
    """
    about = graph.cast(graph.run("Sqrt", graph.cast(value, "float64")), "int64")
    below = graph.run("Sub", about, graph.number(1))
    root = low = graph.run("Where", graph.run("Equal", about, graph.number(0)), about, below)
    for offset in range(3):
        candidate = graph.run("Add", low, graph.number(offset)) if offset else low
        short = graph.run("Less", graph.run("Mul", candidate, candidate), value)
        root = graph.run("Add", root, graph.whole(short))
    return root
