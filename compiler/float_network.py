"""The spiking graph run in real numbers: what the integers are calibrated on and compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.graph import Attention, Injection, Join, Neurons, Norm, Population, Readout, SpikingGraph

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatActivity:
    """One run over sequences from their first token. B sequences, L tokens, T time steps."""

    outputs: Mapping[str, Array]
    """By node but the readout: (T, B, L, size)."""
    currents: Mapping[str, Array]
    """By population, where asked for: its input current without bias, (T, B, L, size)."""
    score_currents: Mapping[str, Array]
    """By attention, where asked for: q . k, (T, B, heads, L, L)."""
    logits: Array
    """(B, L, vocabulary)."""

    def mean_outputs(self) -> dict[str, float]:
        """By node: mean magnitude of an output per channel and time step; for a population its firing rate."""
        return {name: float(np.abs(output).mean()) for name, output in self.outputs.items()}


def run_float(graph: SpikingGraph, token_ids: npt.NDArray[np.int64], *, keep_currents: bool = False) -> FloatActivity:
    """Run sequences in double precision, all tokens of a layer at once.

    Args:
        graph: the network.
        token_ids: (B, L); every sequence begins at position 0.
        keep_currents: also return the currents, which calibration needs.
    """
    outputs: dict[str, Array] = {}
    currents: dict[str, Array] = {}
    scores: dict[str, Array] = {}
    logits: Array | None = None
    for node in graph.nodes:
        match node:
            case Injection():
                table = node.token_table[token_ids].astype(np.float64)
                table += node.position_table[: token_ids.shape[1]]
                outputs[node.name] = np.array(node.step_gain).reshape(-1, 1, 1, 1) * table
            case Population():
                current = _current(node, outputs)
                if keep_currents:
                    currents[node.name] = current
                outputs[node.name] = membranes_and_spikes(node.neurons, current)[1]
            case Join():
                outputs[node.name] = np.sum([outputs[name] for name in node.inputs], axis=0)
            case Norm():
                outputs[node.name] = _normal(outputs[node.source], node.epsilon)
            case Attention():
                outputs[node.name], score = _attention(node, outputs)
                if keep_currents:
                    scores[node.name] = score
            case Readout():
                logits = _logits(node, outputs[node.source])
    if logits is None:
        raise ValueError("the graph has no readout")
    return FloatActivity(outputs=outputs, currents=currents, score_currents=scores, logits=logits)


def membranes_and_spikes(neurons: Neurons, current: Array, *, trailing_axes: int = 0) -> tuple[Array, Array]:
    """Run neurons from rest over time, the first axis of ``current``.

    The neuron's constants belong to the last axis of the current, or to the one before ``trailing_axes`` more.

    Returns:
        The membranes at which each step decides to spike, and the spikes; both shaped as ``current``.
    """
    shape = (-1,) + (1,) * trailing_axes
    threshold, bias = (constant.astype(np.float64).reshape(shape) for constant in (neurons.threshold, neurons.bias))
    membranes, fired = np.empty_like(current), np.empty_like(current)
    membrane = np.zeros_like(current[0])
    spike = np.zeros_like(current[0])
    for step in range(len(current)):
        if neurons.reset == "soft":
            membrane = neurons.decay * membrane + current[step] + bias - threshold * spike
        else:
            membrane = neurons.decay * membrane * (1 - np.abs(spike)) + current[step] + bias
        spike = _beyond(membrane, threshold, neurons)
        if neurons.spikes == "ternary":
            spike = spike - _beyond(-membrane, threshold, neurons)
        membranes[step], fired[step] = membrane, spike
    return membranes, fired


def _beyond(membrane: Array, threshold: Array, neurons: Neurons) -> Array:
    return (membrane >= threshold if neurons.fire == "ge" else membrane > threshold).astype(np.float64)


def _current(node: Population, outputs: Mapping[str, Array]) -> Array:
    total: Array | float = 0.0
    for projection in node.inputs:
        arriving = outputs[projection.source]
        if projection.weight is not None:
            weight = projection.weight.astype(np.float64)
            arriving = arriving * weight if weight.ndim == 1 else arriving @ weight.T
        total = total + arriving
    return np.asarray(total)


def _normal(values: Array, epsilon: float) -> Array:
    """Return (values - mean) / sqrt(variance + epsilon) over the last axis."""
    centred = values - values.mean(axis=-1, keepdims=True)
    normal: Array = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return normal


def _attention(node: Attention, outputs: Mapping[str, Array]) -> tuple[Array, Array]:
    query, key, value = (_split(node, outputs[name]) for name in (node.query, node.key, node.value))
    score = query @ key.swapaxes(-1, -2)
    fired = membranes_and_spikes(node.neurons, score, trailing_axes=2)[1]
    mixed = np.tril(fired) @ value
    steps, batch, _, length, _ = mixed.shape
    return mixed.swapaxes(2, 3).reshape(steps, batch, length, node.size), score


def _split(node: Attention, output: Array) -> Array:
    """(T, B, L, size) to (T, B, heads, L, head_dim)."""
    steps, batch, length, _ = output.shape
    return output.reshape(steps, batch, length, node.heads, node.head_dim).swapaxes(2, 3)


def _logits(node: Readout, output: Array) -> Array:
    normal = _normal(output.mean(axis=0), node.epsilon)
    result: Array = (normal * node.gamma + node.beta) @ node.weight.T.astype(np.float64) * node.scale
    return result
