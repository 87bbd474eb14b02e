"""Interval proofs: the largest output, membrane and accumulator that any input could cause."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.fixed_point import DECAY_ONE
from bispik.compiler.graph import Spikes
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNode,
    IntegerNorm,
    IntegerPopulation,
    IntegerReadout,
)

FloatArray = npt.NDArray[np.float64]

NORM_LIMIT = 1 << 62
"""Every number on the way of a norm stays below, so that 64 bits hold it and its square root is found safely."""


WEIGHTS_AT_ONCE = 1 << 19


@dataclass(frozen=True, slots=True)
class OutputRange:
    """Every output of a node lies in [low, high], and low <= 0 <= high."""

    low: int
    high: int
    length: float | None = None
    """Largest Euclidean length of all of a node's outputs in one step, where that says more than their range."""

    @property
    def magnitude(self) -> int:
        """Largest distance from 0."""
        return max(-self.low, self.high)

    @property
    def signed(self) -> bool:
        """Whether an output can be negative."""
        return self.low < 0


SPIKE_RANGES: Mapping[Spikes, OutputRange] = {"binary": OutputRange(0, 1), "ternary": OutputRange(-1, 1)}


def output_ranges(nodes: Iterable[IntegerNode], window: int) -> dict[str, OutputRange]:
    """Return the outputs of every population, join, norm and attention of a network, in the order of its nodes.

    Args:
        nodes: in the order in which a time step visits them.
        window: tokens that an attention sums over at most.
    """
    ranges: dict[str, OutputRange] = {}
    injections: dict[str, IntegerInjection] = {}
    for node in nodes:
        if isinstance(node, IntegerInjection):
            injections[node.name] = node
        elif not isinstance(node, IntegerReadout):
            # Only a stream of real numbers passes a table's numbers on: that of a large vocabulary is not read in vain.
            read = {name: injected_range(injections[name]) for name in injections if _joins(node, name)}
            ranges[node.name] = output_range(node, {**ranges, **read}, window)
    return ranges


def _joins(node: IntegerNode, source: str) -> bool:
    return isinstance(node, IntegerJoin) and source in node.inputs


def output_range(node: IntegerNode, ranges: Mapping[str, OutputRange], window: int) -> OutputRange:
    """Return the outputs of one node whose sources have ``ranges``."""
    match node:
        case IntegerInjection():
            return injected_range(node)
        case IntegerPopulation():
            return SPIKE_RANGES[node.neurons.spikes]
        case IntegerJoin():
            return join_range(node.inputs, node.exponents, ranges)
        case IntegerNorm():
            return norm_range(node.size, node.fraction_bits)
        case IntegerAttention():
            signed = node.neurons.spikes == "ternary" or ranges[node.value].signed
            return OutputRange(-window if signed else 0, window)
        case IntegerReadout():
            raise ValueError(f"{node.name}: accumulators are read by the host and sent to no one")


def injected_range(injection: IntegerInjection) -> OutputRange:
    """Return the range of the current that the host injects, over all tokens, positions and time steps."""
    low = int(injection.token_table.min(initial=0)) + int(injection.position_table.min(initial=0))
    high = int(injection.token_table.max(initial=0)) + int(injection.position_table.max(initial=0))
    ends = [gain * end for gain in injection.step_gain for end in (low, high)]
    return OutputRange(min(0, *ends), max(0, *ends))


def join_range(inputs: Iterable[str], exponents: Iterable[int], ranges: Mapping[str, OutputRange]) -> OutputRange:
    """Return the range of sum over inputs of output(source) << exponent."""
    shifted = [(ranges[source], exponent) for source, exponent in zip(inputs, exponents, strict=True)]
    return OutputRange(
        sum(r.low << exponent for r, exponent in shifted), sum(r.high << exponent for r, exponent in shifted)
    )


def norm_range(size: int, fraction_bits: int) -> OutputRange:
    """Return the range and length of a norm's outputs.

    One channel of n lies no further from the mean than sqrt(n - 1) standard deviations, and all n together have a
    length of at most sqrt(n) of them; rounding adds a half to each.
    """
    largest = math.isqrt((size - 1) << 2 * fraction_bits) + 1
    return OutputRange(-largest, largest, math.sqrt(size) * ((1 << fraction_bits) + 0.5))


def norm_fits_64_bits(node: IntegerNorm, magnitude: int) -> bool:
    """Say whether whole numbers of 64 bits suffice to normalise inputs of at most ``magnitude``."""
    spread = (node.size * magnitude) ** 2 + node.epsilon
    deviation = 2 * node.size * magnitude
    shift = node.fraction_bits + node.root_bits + 1
    return spread << 2 * node.root_bits < NORM_LIMIT and deviation << shift < NORM_LIMIT


def score_range(node: IntegerAttention, ranges: Mapping[str, OutputRange]) -> OutputRange:
    """Return the range of an attention's scores q . k."""
    signed = ranges[node.query].signed or ranges[node.key].signed
    return OutputRange(-node.head_dim if signed else 0, node.head_dim)


def current_range(weight: FloatArray, source: OutputRange) -> tuple[FloatArray, FloatArray]:
    """Return the lowest and the highest sum over inputs in ``source``, by row of ``weight``.

    A row can add up no more than its own Euclidean length times that of its inputs (Cauchy-Schwarz).
    """
    negative, positive = np.minimum(weight, 0).sum(axis=-1), np.maximum(weight, 0).sum(axis=-1)
    low, high = negative * source.high + positive * source.low, positive * source.high + negative * source.low
    if source.length is None:
        return low, high
    reach = np.ceil(np.sqrt((weight**2).sum(axis=-1)) * source.length)
    return np.maximum(low, -reach), np.minimum(high, reach)


def weight_range(weight: npt.NDArray[np.int8] | None, source: OutputRange, size: int) -> tuple[FloatArray, FloatArray]:
    """Return the lowest and the highest sum over inputs in ``source``, by neuron, of integer weights.

    Args:
        weight: (size, inputs), (size,), or None for one-to-one synapses of weight 1.
        source: range of the inputs.
        size: number of neurons.
    """
    low, high = np.empty(size), np.empty(size)
    if weight is None:
        low[:], high[:] = current_range(np.ones((1, 1)), source)
        return low, high
    matrix = weight.reshape(size, -1)
    rows = max(1, WEIGHTS_AT_ONCE // max(1, matrix.shape[1]))
    for start in range(0, size, rows):
        some = slice(start, start + rows)
        low[some], high[some] = current_range(matrix[some].astype(np.float64), source)
    return low, high


def membrane_bound(
    low: FloatArray,
    high: FloatArray,
    bias: FloatArray,
    subtract: FloatArray,
    spikes: Spikes,
    decay: int,
    steps: int,
) -> FloatArray:
    """Return a bound on |v| for currents in [low, high] over the steps of one token, from rest.

    With k = (4096 - decay) / 4096 and g = 1 + k + ... + k^(steps-1):
    v <= g * max(0, high + bias + a) and v >= g * min(0, low + bias - subtract), where a, which a spike of -1 adds,
    is subtract for ternary spikes and 0 for binary ones.
    A hard reset only brings the membrane closer to 0.
    """
    keep = (DECAY_ONE - decay) / DECAY_ONE
    gain = sum(keep**step for step in range(steps))
    added = subtract if spikes == "ternary" else 0.0
    above = gain * np.maximum(0.0, high + bias + added)
    below = gain * np.maximum(0.0, -(low + bias - subtract))
    bound: FloatArray = np.maximum(above, below)
    return bound
