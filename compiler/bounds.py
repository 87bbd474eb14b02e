"""Interval proofs: the largest output, membrane and accumulator that any input could cause."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.fixed_point import DECAY_ONE
from bispik.compiler.graph import Attention, Join, Node, Population, Spikes
from bispik.compiler.program import IntegerAttention, IntegerJoin, IntegerNode, IntegerPopulation

FloatArray = npt.NDArray[np.float64]


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


def output_ranges(nodes: Iterable[Node] | Iterable[IntegerNode], window: int) -> dict[str, OutputRange]:
    """Return the outputs of every population, join and attention of a network, in the order of its nodes.

    Args:
        nodes: in the order in which a time step visits them.
        window: tokens that an attention sums over at most.
    """
    ranges: dict[str, OutputRange] = {}
    for node in nodes:
        if isinstance(node, Population | IntegerPopulation):
            ranges[node.name] = SPIKE_RANGES[node.neurons.spikes]
        elif isinstance(node, Join | IntegerJoin):
            ranges[node.name] = _sum_range([ranges[source] for source in node.inputs if source in ranges])
        elif isinstance(node, Attention | IntegerAttention):
            signed = node.neurons.spikes == "ternary" or ranges[node.value].signed
            ranges[node.name] = OutputRange(-window if signed else 0, window)
    return ranges


def score_range(node: Attention | IntegerAttention, ranges: Mapping[str, OutputRange]) -> OutputRange:
    """Return the range of an attention's scores q . k."""
    signed = ranges[node.query].signed or ranges[node.key].signed
    return OutputRange(-node.head_dim if signed else 0, node.head_dim)


def current_range(weight: FloatArray, source: OutputRange) -> tuple[FloatArray, FloatArray]:
    """Return the lowest and the highest sum over inputs in ``source``, by row of ``weight``."""
    negative, positive = np.minimum(weight, 0).sum(axis=-1), np.maximum(weight, 0).sum(axis=-1)
    return negative * source.high + positive * source.low, positive * source.high + negative * source.low


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


def _sum_range(ranges: Sequence[OutputRange]) -> OutputRange:
    return OutputRange(sum(entry.low for entry in ranges), sum(entry.high for entry in ranges))
