"""Patterns of synapses of stream programs in ONNX operators."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.onnx.graph import Graph
from bispik.backends.onnx.inputs import stored_weights
from bispik.compiler.stream.program import IntegerStreamProjection
from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Sparse


def current(graph: Graph, name: str, projection: IntegerStreamProjection, arriving: str) -> str:
    """Return the current (outputs,) that what arrives (inputs,) causes; constants are called after ``name``."""
    wiring, weight = projection.wiring, projection.weight
    match wiring:
        case Dense():
            summed = graph.run("MatMul", arriving, stored_weights(graph, f"{name}.weight", weight.T))
        case OneToOne():
            summed = graph.run("Mul", arriving, stored_weights(graph, f"{name}.weight", weight))
        case Convolution():
            summed = _convolution(graph, name, wiring, weight, arriving)
        case Sparse():
            summed = _sparse(graph, name, wiring, weight, arriving)
    return graph.shifted(summed, projection.exponent)


def _convolution(graph: Graph, name: str, wiring: Convolution, weight: npt.NDArray[np.int8], arriving: str) -> str:
    """Look up what each place of the target sees, then multiply by the kernels of its group.

    ONNX's own ``ConvInteger`` takes 8-bit inputs only and pads no less than nothing; this is exact for every input
    and geometry.
    """
    seen = graph.constant(f"{name}.seen", receptive_fields(wiring))
    kernels = weight.reshape(wiring.groups, wiring.target[0] // wiring.groups, -1)
    padded = graph.run("Concat", arriving, graph.numbers([0]), axis=0)
    taken = graph.run("Gather", padded, seen, axis=0)
    found = graph.run("MatMul", stored_weights(graph, f"{name}.weight", kernels), taken)
    return graph.reshaped(found, [wiring.outputs])


def _sparse(graph: Graph, name: str, wiring: Sparse, weight: npt.NDArray[np.int8], arriving: str) -> str:
    nothing = graph.constant(f"{name}.nothing", np.zeros(wiring.outputs, np.int64))
    if not len(weight):
        return nothing
    taken = graph.run("Gather", arriving, graph.constant(f"{name}.sources", wiring.sources), axis=0)
    products = graph.run("Mul", taken, stored_weights(graph, f"{name}.weight", weight))
    rows = graph.constant(f"{name}.rows", wiring.rows)
    return graph.run("ScatterElements", nothing, rows, products, axis=0, reduction="add")


def receptive_fields(wiring: Convolution) -> npt.NDArray[np.int64]:
    """Return which source neuron each weight of a kernel meets at each place of the target; ``inputs`` is none.

    Shape: (groups, source channels / groups * taps, target height * width).
    """
    (ky, kx), (_, height, width), (channels, *_) = wiring.kernel, wiring.target, wiring.source
    rows = _positions(wiring, 0, ky, height)[:, None, :, None]
    columns = _positions(wiring, 1, kx, width)[None, :, None, :]
    inside = (rows >= 0) & (rows < wiring.source[1]) & (columns >= 0) & (columns < wiring.source[2])
    first = np.arange(channels)[:, None, None, None, None] * wiring.source[1] * wiring.source[2]
    found = np.where(inside, first + rows * wiring.source[2] + columns, wiring.inputs)
    return found.reshape(wiring.groups, channels // wiring.groups * ky * kx, height * width)


def _positions(wiring: Convolution, axis: int, taps: int, places: int) -> npt.NDArray[np.int64]:
    """Return where each tap meets the source along an axis, at each place: (taps, places)."""
    tap = np.arange(taps)[:, None] * wiring.dilation[axis] - wiring.padding[axis]
    return tap + np.arange(places)[None, :] * wiring.stride[axis]
