"""Which synapses a projection has: their pattern, apart from their weights, which are real numbers or integers.

A pattern has ``inputs`` source neurons and ``outputs`` neurons, and weights of ``weight_shape``. Neurons of a
feature map are numbered channel by channel, row by row: neuron (c, y, x) of a map (C, H, W) is (c H + y) W + x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[Any]
"""float64 or int64: what a pattern's weights are multiplied in."""

Map: TypeAlias = tuple[int, int, int]
"""Channels, height and width of a feature map."""

Pair: TypeAlias = tuple[int, int]
"""Along y, along x."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """Every source neuron reaches every neuron. Weights: (outputs, inputs)."""

    inputs: int
    outputs: int

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights."""
        return (self.outputs, self.inputs)

    @property
    def sharing(self) -> int:
        """Consecutive neurons that share their weights."""
        return 1

    def apply(self, weight: Numbers, values: Numbers) -> Numbers:
        """Return the currents (steps, outputs) that outputs of the source (steps, inputs) cause."""
        result: Numbers = values @ weight.T
        return result

    def row_peaks(self, weight: Numbers) -> Numbers:
        """Return the largest magnitude of each neuron's weights, (outputs,)."""
        peaks: Numbers = np.abs(weight).max(axis=1, initial=0)
        return peaks

    def scaled(self, weight: Numbers, factor: Numbers) -> Numbers:
        """Multiply each neuron's weights by its factor, (outputs,)."""
        return weight * factor[:, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneToOne:
    """Source neuron i reaches neuron i alone. Weights: (size,)."""

    size: int

    @property
    def inputs(self) -> int:
        """Source neurons."""
        return self.size

    @property
    def outputs(self) -> int:
        """Neurons."""
        return self.size

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights."""
        return (self.size,)

    @property
    def sharing(self) -> int:
        """Consecutive neurons that share their weights."""
        return 1

    def apply(self, weight: Numbers, values: Numbers) -> Numbers:
        """Return the currents (steps, outputs) that outputs of the source (steps, inputs) cause."""
        return values * weight

    def row_peaks(self, weight: Numbers) -> Numbers:
        """Return the magnitude of each neuron's weight, (outputs,)."""
        return np.abs(weight)

    def scaled(self, weight: Numbers, factor: Numbers) -> Numbers:
        """Multiply each neuron's weight by its factor, (outputs,)."""
        return weight * factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A kernel slides over the source's feature map (cross-correlation, as every framework has it).

    I[o, y, x] = sum over c, i, j of weight[o, c, i, j] *
                 source[g + c, y stride_y + i dilation_y - padding_y, x stride_x + j dilation_x - padding_x]

    with 0 outside of the source, and g the first channel of o's group. Weights: (target channels, source channels /
    groups, i, j). Pooling is a convolution with a group per channel.
    """

    source: Map
    target: Map
    kernel: Pair
    stride: Pair
    padding: Pair
    """Above and to the left; what lies below and to the right follows from the target's size."""
    dilation: Pair
    groups: int

    @property
    def inputs(self) -> int:
        """Source neurons."""
        return math.prod(self.source)

    @property
    def outputs(self) -> int:
        """Neurons."""
        return math.prod(self.target)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights."""
        return (self.target[0], self.source[0] // self.groups, *self.kernel)

    @property
    def sharing(self) -> int:
        """Consecutive neurons that share their weights: those of a channel."""
        return self.target[1] * self.target[2]

    def apply(self, weight: Numbers, values: Numbers) -> Numbers:
        """Return the currents (steps, outputs) that outputs of the source (steps, inputs) cause."""
        steps, groups = len(values), self.groups
        maps = values.reshape(steps, groups, self.source[0] // groups, *self.source[1:])
        kernels = weight.reshape(groups, self.target[0] // groups, *weight.shape[1:])
        result = np.zeros((steps, groups, self.target[0] // groups, *self.target[1:]), np.result_type(weight, values))
        for i in range(self.kernel[0]):
            to_y, from_y = self._overlap(0, i)
            for j in range(self.kernel[1]):
                to_x, from_x = self._overlap(1, j)
                taken = maps[:, :, :, from_y, from_x]
                result[:, :, :, to_y, to_x] += np.einsum("goc,sgcyx->sgoyx", kernels[:, :, :, i, j], taken)
        return result.reshape(steps, self.outputs)

    def row_peaks(self, weight: Numbers) -> Numbers:
        """Return the largest magnitude of each neuron's weights, (outputs,)."""
        return np.repeat(np.abs(weight).max(axis=(1, 2, 3), initial=0), self.sharing)

    def scaled(self, weight: Numbers, factor: Numbers) -> Numbers:
        """Multiply each neuron's weights by its factor, (outputs,), which is one for all neurons of a channel."""
        return weight * factor.reshape(self.target[0], -1)[:, :1, None, None]

    def _overlap(self, axis: int, tap: int) -> tuple[slice, slice]:
        """Return where on the target a tap of the kernel meets the source along an axis, and what it meets there."""
        stride, size, last = self.stride[axis], self.source[axis + 1], self.target[axis + 1]
        shift = tap * self.dilation[axis] - self.padding[axis]
        first = max(0, -(shift // stride))  # the smallest p with p * stride + shift >= 0
        stop = max(first, min(last, (size - 1 - shift) // stride + 1))
        start = first * stride + shift
        return slice(first, stop), slice(start, start + (stop - first) * stride, stride)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sparse:
    """Any pattern at all, row by row. Weights: (synapses,)."""

    inputs: int
    outputs: int
    starts: npt.NDArray[np.int64]
    """(outputs + 1,): neuron j's synapses are [starts[j], starts[j + 1])."""
    sources: npt.NDArray[np.int32]
    """(synapses,): the source neuron of each; ascending within a row."""

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights."""
        return self.sources.shape

    @property
    def sharing(self) -> int:
        """Consecutive neurons that share their weights."""
        return 1

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """(synapses,): the neuron of each."""
        return np.repeat(np.arange(self.outputs), np.diff(self.starts))

    def apply(self, weight: Numbers, values: Numbers) -> Numbers:
        """Return the currents (steps, outputs) that outputs of the source (steps, inputs) cause."""
        result = np.zeros((len(values), self.outputs), np.result_type(weight, values))
        for step, sent in enumerate(values):
            np.add.at(result[step], self.rows, weight * sent[self.sources])
        return result

    def row_peaks(self, weight: Numbers) -> Numbers:
        """Return the largest magnitude of each neuron's weights, (outputs,)."""
        peaks = np.zeros(self.outputs, weight.dtype)
        np.maximum.at(peaks, self.rows, np.abs(weight))
        return peaks

    def scaled(self, weight: Numbers, factor: Numbers) -> Numbers:
        """Multiply each neuron's weights by its factor, (outputs,)."""
        return weight * factor[self.rows]


Wiring: TypeAlias = Dense | OneToOne | Convolution | Sparse


def restricted(wiring: Sparse, start: int, stop: int) -> Sparse:
    """Return the synapses from source neurons [start, stop) alone; `within` says which they are."""
    kept = within(wiring, start, stop)
    before = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(kept, out=before[1:])
    return Sparse(
        inputs=wiring.inputs,
        outputs=wiring.outputs,
        starts=before[wiring.starts],
        sources=wiring.sources[kept],
    )


def within(wiring: Sparse, start: int, stop: int) -> npt.NDArray[np.bool_]:
    """Return which synapses come from source neurons [start, stop), (synapses,)."""
    kept: npt.NDArray[np.bool_] = (wiring.sources >= start) & (wiring.sources < stop)
    return kept


def row_sums(wiring: Wiring, weight: Numbers) -> tuple[Numbers, Numbers]:
    """Return each neuron's sum of negative weights and of positive ones, (outputs,) both."""
    every = np.ones((1, wiring.inputs), weight.dtype)
    return wiring.apply(np.minimum(weight, 0), every)[0], wiring.apply(np.maximum(weight, 0), every)[0]
