"""NIR's linear nodes as linear maps: what shape they take, what shape they give, their weights and biases.

Shapes have no batch dimension. Tools that write one of 1 in front of the Input's shape are understood: ones in front
are left out where a node expects fewer dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from bispik.compiler.stream.budget import Budget
from bispik.compiler.stream.linear_map import LinearMap, one_to_one
from bispik.compiler.stream.network import FloatArray
from bispik.compiler.stream.nir_graph import NirGraph, NirNode
from bispik.compiler.stream.wiring import Convolution, Dense, Pair

Shape: TypeAlias = tuple[int, ...]

RANKS = {"Linear": 1, "Affine": 1, "Conv1d": 2, "Conv2d": 3, "SumPool2d": 3, "AvgPool2d": 3}
"""Dimensions of what a node takes, where its type says it."""

LINEAR = frozenset((*RANKS, "Scale", "Flatten", "Delay", "Port"))
"""Types of nodes that have no memory but the Delay's, and no threshold."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """A linear node: y(t) = map(x(t - delay)) + bias."""

    map: LinearMap | None
    """None: what comes in goes out."""
    bias: FloatArray | None
    """(outputs,), as one vector."""
    delays: FloatArray | None
    """Seconds: one number, or one for each of the numbers that come in."""


def without_leading_ones(shape: Shape, rank: int) -> Shape:
    """Return a shape of a rank by leaving out ones in front, as far as there are any."""
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return shape


def same_shape(one: Shape, other: Shape) -> bool:
    """Tell whether two shapes differ in ones in front at most."""
    return without_leading_ones(one, 0) == without_leading_ones(other, 0)


def broadcast(graph: NirGraph, node: NirNode, key: str, shape: Shape) -> FloatArray:
    """Return a parameter of each element of a shape, as one vector."""
    values = numbers(node, key)
    if values.size == 1:
        return np.full(math.prod(shape), values.flat[0])
    own = without_leading_ones(values.shape, len(shape))
    inner = without_leading_ones(shape, len(own))
    if len(own) != len(inner) or any(a not in (1, b) for a, b in zip(own, inner, strict=True)):
        raise graph.error(node.path, f"{key} has the shape {values.shape}, but this {node.kind} gets {shape}")
    return np.broadcast_to(values.reshape(own), inner).ravel().copy()


def numbers(node: NirNode, key: str) -> FloatArray:
    """Return a field that is numbers."""
    values = node.fields[key]
    assert not isinstance(values, str)
    return values


def output_shape(graph: NirGraph, node: NirNode, shape: Shape) -> Shape:
    """Return the shape that a linear node gives for the shape that it gets.

    Raises:
        BispikError: naming the node and both shapes, if it does not take that shape.
    """
    kind = node.kind
    if kind in ("Linear", "Affine"):
        weight = numbers(node, "weight")
        if weight.ndim != 2:
            raise graph.error(node.path, f"weight has the shape {weight.shape}, expected (outputs, inputs)")
        _expect(graph, node, shape, (weight.shape[1],))
        return (weight.shape[0],)
    if kind in ("Conv1d", "Conv2d", "SumPool2d", "AvgPool2d"):
        geometry = convolution(graph, node, shape)
        return geometry.target if RANKS[kind] == 3 else (geometry.target[0], geometry.target[2])
    if kind == "Flatten":
        return _flattened(graph, node, shape)
    if "shape" in node.fields:  # a nested graph's input or output
        _expect(graph, node, shape, tuple(int(n) for n in numbers(node, "shape").ravel()))
    return shape


def layer(graph: NirGraph, node: NirNode, shape: Shape, budget: Budget) -> Layer:
    """Return what a linear node does to a signal of a shape.

    Raises:
        BispikError: if its fields contradict each other or the shape.
    """
    kind = node.kind
    if kind in ("Linear", "Affine"):
        weight = numbers(node, "weight")
        wiring = Dense(inputs=weight.shape[1], outputs=weight.shape[0])
        bias = broadcast(graph, node, "bias", (weight.shape[0],)) if kind == "Affine" else None
        return Layer(map=LinearMap(wiring=wiring, weight=weight), bias=bias, delays=None)
    if kind == "Scale":
        return Layer(map=one_to_one(broadcast(graph, node, "scale", shape)), bias=None, delays=None)
    if kind == "Delay":
        delays = numbers(node, "delay")
        return Layer(map=None, bias=None, delays=broadcast(graph, node, "delay", shape) if delays.size > 1 else delays)
    if kind in ("Flatten", "Port"):
        return Layer(map=None, bias=None, delays=None)
    geometry = convolution(graph, node, shape)
    if kind in ("Conv1d", "Conv2d"):
        weight = numbers(node, "weight").reshape(geometry.weight_shape)
        by_channel = broadcast(graph, node, "bias", (geometry.target[0],))
        bias = np.repeat(by_channel, geometry.sharing)
    else:
        budget.take(math.prod(geometry.weight_shape), f"{node.path}: its kernel")
        value = 1.0 if kind == "SumPool2d" else 1.0 / math.prod(geometry.kernel)
        weight, bias = np.full(geometry.weight_shape, value), None
    return Layer(map=LinearMap(wiring=geometry, weight=weight), bias=bias, delays=None)


def convolution(graph: NirGraph, node: NirNode, shape: Shape) -> Convolution:
    """Return the geometry of a convolution or pooling on a feature map; Conv1d has a map of one row."""
    rank = RANKS[node.kind]
    taken = without_leading_ones(shape, rank)
    if len(taken) != rank:
        wanted = "(channels, places)" if rank == 2 else "(channels, height, width)"
        raise graph.error(node.path, f"this {node.kind} gets the shape {shape}, expected {wanted}")
    source = (taken[0], 1, taken[1]) if rank == 2 else (taken[0], taken[1], taken[2])
    pools = node.kind in ("SumPool2d", "AvgPool2d")
    if pools:
        kernel, channels, groups, dilation = _pair(graph, node, "kernel_size", rank, 1), source[0], source[0], (1, 1)
    else:
        weight = numbers(node, "weight")
        if weight.ndim != rank + 1 or 0 in weight.shape:
            raise graph.error(node.path, f"weight has the shape {weight.shape}, expected {rank + 1} dimensions")
        groups = _groups(graph, node, weight.shape, source[0])
        channels = weight.shape[0]
        kernel = (1, weight.shape[2]) if rank == 2 else (weight.shape[2], weight.shape[3])
        dilation = _pair(graph, node, "dilation", rank, 1)
        _check_input_shape(graph, node, taken[1:])
    stride = _pair(graph, node, "stride", rank, 1)
    before, around = _padding(graph, node, rank, kernel, stride, dilation)
    room = [source[axis + 1] + around[axis] - (kernel[axis] - 1) * dilation[axis] - 1 for axis in (0, 1)]
    if min(room) < 0:
        reach = tuple((kernel[axis] - 1) * dilation[axis] + 1 for axis in (0, 1))
        raise graph.error(node.path, f"its kernel reaches over {reach}, more than the padded map of {shape}")
    return Convolution(
        source=source,
        target=(channels, room[0] // stride[0] + 1, room[1] // stride[1] + 1),
        kernel=kernel,
        stride=stride,
        padding=before,
        dilation=dilation,
        groups=groups,
    )


def _expect(graph: NirGraph, node: NirNode, shape: Shape, expected: Shape) -> None:
    if not same_shape(shape, expected):
        what = "nested graph's port" if node.kind == "Port" else node.kind
        hint = "; if that is a batch of samples, export with a batch of one" if shape[1:] == expected else ""
        raise graph.error(node.path, f"this {what} gets the shape {shape}, expected {expected}{hint}")


def _groups(graph: NirGraph, node: NirNode, weight: Shape, channels: int) -> int:
    groups = _integers(graph, node, "groups", 1)
    if len(groups) != 1 or channels % groups[0] or weight[0] % groups[0]:
        both = f"{channels} channels to {weight[0]}"
        raise graph.error(node.path, f"groups is {groups}, which does not divide {both}")
    if weight[1] * groups[0] != channels:
        needed = f"{weight[1] * groups[0]} channels (weight {weight}, groups {groups[0]})"
        raise graph.error(node.path, f"this {node.kind} gets {channels} channels, expected {needed}")
    return groups[0]


def _check_input_shape(graph: NirGraph, node: NirNode, places: Shape) -> None:
    if "input_shape" not in node.fields:
        return
    said = tuple(int(n) for n in numbers(node, "input_shape").ravel())
    if said not in ((), places):
        raise graph.error(node.path, f"input_shape is {said}, but this {node.kind} gets a map of {places}")


def _padding(
    graph: NirGraph, node: NirNode, rank: int, kernel: Pair, stride: Pair, dilation: Pair
) -> tuple[Pair, Pair]:
    """Return the padding above and to the left, and the padding on both sides together."""
    padding = node.fields["padding"]
    if not isinstance(padding, str):
        pad = _pair(graph, node, "padding", rank, 0)
        return pad, (2 * pad[0], 2 * pad[1])
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding != "same" or stride != (1, 1):
        raise graph.error(
            node.path,
            f"padding is {padding[:40]!r} the stride is {stride}; expected numbers, 'valid', or 'same' with stride 1",
        )
    around = ((kernel[0] - 1) * dilation[0], (kernel[1] - 1) * dilation[1])
    return (around[0] // 2, around[1] // 2), around


def _pair(graph: NirGraph, node: NirNode, key: str, rank: int, least: int) -> Pair:
    """Return a setting along y and along x."""
    found = _integers(graph, node, key, least)
    if rank == 2 and len(found) == 1:
        return (1 if least else 0, found[0])
    if rank == 3 and len(found) in (1, 2):
        return (found[0], found[-1])
    raise graph.error(node.path, f"{key} has {len(found)} numbers, expected {'one' if rank == 2 else 'one or two'}")


def _integers(graph: NirGraph, node: NirNode, key: str, least: int) -> list[int]:
    values = numbers(node, key).ravel()
    if (values != np.floor(values)).any() or (values < least).any() or (values >= 2**31).any():
        raise graph.error(node.path, f"{key} is {values.tolist()[:9]}, expected whole numbers of {least} or more")
    return [int(n) for n in values]


def _flattened(graph: NirGraph, node: NirNode, shape: Shape) -> Shape:
    if "input_type" in node.fields:
        said = tuple(int(n) for n in numbers(node, "input_type").ravel())
        if said and not same_shape(said, shape):
            raise graph.error(node.path, f"input_type is {said}, but this Flatten gets {shape}")
    rank = len(shape)
    start, end = (int(numbers(node, key).flat[0]) for key in ("start_dim", "end_dim"))
    start, end = (index + rank if index < 0 else index for index in (start, end))
    start = min(start, rank - 1)  # a signal of one dimension has nothing to flatten
    if not 0 <= start <= end < rank:
        raise graph.error(node.path, f"start_dim {start} and end_dim {end} do not fit the shape {shape} that it gets")
    return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
