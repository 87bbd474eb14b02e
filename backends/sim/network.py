"""A program handed to the C++ engine: the same nodes, dense weights input-major, and how wide its numbers are."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.backends.sim import _kernels
from bispik.compiler.bounds import OutputRange, output_ranges, score_range
from bispik.compiler.fixed_point import DECAY_ONE, MEMBRANE_MAX
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNeurons,
    IntegerNode,
    IntegerNorm,
    IntegerPopulation,
    IntegerReadout,
    QuantizedProgram,
)
from bispik.models.errors import BispikError

NARROW = 1 << 30
"""Currents, biases and thresholds that stay below are added in 32 bits, with room for a membrane."""

SMALL = 1 << 32
"""A membrane times its decay that stays below is computed as one 32-bit product, if it cannot saturate either."""

WEIGHT_MAX = 1 << 7
"""Largest magnitude of an int8 weight."""

SUM_MAX = (1 << 31) - 1
"""The kernels add up the products of one byte of a matrix's inputs in 32 bits."""


@dataclass(frozen=True, eq=False)  # without slots: sessions of a program find it through a weak reference
class NativeNetwork:
    """A program in the engine."""

    program: QuantizedProgram
    network: _kernels.Network
    index: dict[str, int]
    """Number of each node in the engine."""


_SHARED: weakref.WeakValueDictionary[int, NativeNetwork] = weakref.WeakValueDictionary()


def native_network(program: QuantizedProgram) -> NativeNetwork:
    """Build the network, or return that of another session of the same program, which is still alive.

    Weights that lie input-major in memory, as in a mapped ``program.bspk``, are used where they are; others are copied.

    Raises:
        BispikError: for a matrix too wide for the kernels.
    """
    shared = _SHARED.get(id(program))
    if shared is None or shared.program is not program:
        shared = _SHARED[id(program)] = _Builder(program).build()
    return shared


class _Builder:
    def __init__(self, program: QuantizedProgram) -> None:
        self.program = program
        self.ranges = output_ranges(program.nodes, program.window)
        self.network = _kernels.Network(steps=program.steps_per_token, window=program.window)
        self.index: dict[str, int] = {}

    def build(self) -> NativeNetwork:
        for node in self.program.nodes:
            self.index[node.name] = self._add(node)
        return NativeNetwork(self.program, self.network, self.index)

    def _add(self, node: IntegerNode) -> int:
        match node:
            case IntegerInjection():
                largest = -2 * int(np.iinfo(np.int16).min) * max(abs(gain) for gain in node.step_gain)
                self.ranges[node.name] = OutputRange(-largest, largest)
                tokens, positions = (np.ascontiguousarray(t) for t in (node.token_table, node.position_table))
                return self.network.injection(tokens, positions, list(node.step_gain))
            case IntegerPopulation():
                return self._population(node)
            case IntegerJoin():
                inputs = [(self.index[s], e) for s, e in zip(node.inputs, node.exponents, strict=True)]
                outputs = self.ranges[node.name]
                return self.network.join(inputs, magnitude=outputs.magnitude, negative=outputs.signed)
            case IntegerNorm():
                return self.network.norm(
                    self.index[node.source],
                    fraction_bits=node.fraction_bits,
                    root_bits=node.root_bits,
                    epsilon=node.epsilon,
                    magnitude=self.ranges[node.name].magnitude,
                )
            case IntegerAttention():
                scores = score_range(node, self.ranges)
                neurons = self._neurons(node.neurons, scores.magnitude << node.exponent)
                outputs = self.ranges[node.name]
                query, key, value = (self.index[source] for source in node.sources)
                return self.network.attention(
                    (query, key, value),
                    heads=node.heads,
                    exponent=node.exponent,
                    neurons=neurons,
                    magnitude=outputs.magnitude,
                    negative=outputs.signed,
                )
            case IntegerReadout():
                magnitude = self.ranges[node.source].magnitude * self.program.steps_per_token
                _require_sums(node.name, node.weight, magnitude)
                return self.network.readout(self.index[node.source], _input_major(node.weight))

    def _population(self, node: IntegerPopulation) -> int:
        inputs: list[tuple[int, npt.NDArray[np.int8] | None, int]] = []
        largest = 0
        for projection in node.inputs:
            weight, magnitude = projection.weight, self.ranges[projection.source].magnitude
            dense = weight is not None and weight.ndim == 2
            if weight is not None and dense:
                _require_sums(node.name, weight, magnitude)
            # Any weights at all: adding up those of a large network would take longer than opening it may.
            reached = magnitude if weight is None else WEIGHT_MAX * magnitude * (weight.shape[1] if dense else 1)
            largest += reached << projection.exponent
            stored = None if weight is None else _input_major(weight) if dense else np.ascontiguousarray(weight)
            inputs.append((self.index[projection.source], stored, projection.exponent))
        return self.network.population(inputs, self._neurons(node.neurons, largest))

    def _neurons(self, neurons: IntegerNeurons, current: int) -> _kernels.Neurons:
        """Constants of neurons whose current is at most ``current`` in magnitude."""
        threshold, subtract, bias = (
            np.ascontiguousarray(constant, np.int32) for constant in (neurons.threshold, neurons.subtract, neurons.bias)
        )
        added = current + sum(int(np.abs(constant.astype(np.int64)).max(initial=0)) for constant in (subtract, bias))
        keep = DECAY_ONE - neurons.decay
        gain = sum((keep / DECAY_ONE) ** step for step in range(self.program.steps_per_token))
        return _kernels.Neurons(
            decay=neurons.decay,
            hard=neurons.reset == "hard",
            ternary=neurons.spikes == "ternary",
            small=added * gain * keep < SMALL and added * gain <= MEMBRANE_MAX,
            wide=added >= NARROW,
            threshold=threshold,
            subtract=subtract,
            bias=bias,
        )


def _require_sums(name: str, weight: npt.NDArray[np.int8], magnitude: int) -> None:
    """Refuse a matrix that no real network has.

    Raises:
        BispikError: if the products of one byte of its inputs could leave 32 bits.
    """
    inputs = weight.shape[1]
    reached = WEIGHT_MAX * min(magnitude, 255) * inputs
    if reached > SUM_MAX:
        raise BispikError(
            f"{name}: {inputs:,} inputs could add up to {reached:,}, and the simulator's kernels add in 32 bits; "
            "use --backend reference"
        )


def _input_major(weight: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Return (source size, neurons), contiguous."""
    return np.ascontiguousarray(weight.T)
