"""The spiking graph run in real numbers: what the integers are calibrated on and compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.compiler.deferred import numbers
from bispik.compiler.graph import Attention, Injection, Join, Neurons, Node, Norm, Population, Readout, SpikingGraph

Array = npt.NDArray[np.float64]


LOGITS_AT_ONCE = 1 << 22
"""So many logits are made together, if they are of more than one token."""

HEAD_WEIGHTS_AT_ONCE = 1 << 23
SCORES_AT_ONCE = 1 << 22

Progress: TypeAlias = Callable[[int, int], None]
"""Is called with what is done, and of how much."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NodeActivity:
    """What one node did in a run. B sequences, L tokens, T time steps."""

    node: Node
    output: Array
    """(T, B, L, size); of a readout what its weight is applied to, (1, B, L, size of its source), see `logits`."""
    membranes: Array | None = None
    """Of a population: the membranes at which each step decides to spike, (T, B, L, size)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatActivity:
    """One run over sequences from their first token. B sequences, L tokens, T time steps."""

    outputs: Mapping[str, Array]
    """By node but the readout: (T, B, L, size)."""
    logits: Array
    """(B, L, vocabulary)."""


def run_float(graph: SpikingGraph, token_ids: npt.NDArray[np.int64]) -> FloatActivity:
    """Run sequences and keep everything that came out, which is for small networks; see `walk_float`.

    Args:
        graph: the network.
        token_ids: (B, L); every sequence begins at position 0.
    """
    outputs: dict[str, Array] = {}
    logits_of: list[Array] = []
    for activity in walk_float(graph, token_ids):
        if isinstance(activity.node, Readout):
            sequences = [logits(activity.node, hidden) for hidden in activity.output[0]]
            logits_of = [np.concatenate([some for _, some in parts]) for parts in sequences]
        else:
            outputs[activity.node.name] = activity.output
    if not logits_of:
        raise ValueError("the graph has no readout")
    return FloatActivity(outputs=outputs, logits=np.stack(logits_of))


def walk_float(graph: SpikingGraph, token_ids: npt.NDArray[np.int64]) -> Iterator[NodeActivity]:
    """Run sequences in double precision, node after node, all tokens and steps of a node at once.

    One node's weights are in memory at a time, and an output only until its last reader has run.

    Args:
        graph: the network.
        token_ids: (B, L); every sequence begins at position 0.
    """
    last = {source: node.name for node in graph.nodes for source in node.sources}
    live: dict[str, Array] = {}
    for node in graph.nodes:
        activity = _run(node, live, token_ids)
        for source in {source for source in node.sources if last[source] == node.name}:
            del live[source]
        if node.name in last:
            live[node.name] = activity.output
        yield activity
        del activity  # the caller may be done with it; the next node needs the memory


def run_node(node: Node, outputs: Mapping[str, Array], token_ids: npt.NDArray[np.int64]) -> Array:
    """Return the output of one node whose sources have ``outputs``; see `NodeActivity`."""
    return _run(node, outputs, token_ids).output


def _run(node: Node, live: Mapping[str, Array], token_ids: npt.NDArray[np.int64]) -> NodeActivity:
    match node:
        case Injection():
            table = numbers(node.token_table)[token_ids].astype(np.float64)
            table += numbers(node.position_table)[: token_ids.shape[1]]
            return NodeActivity(node=node, output=np.array(node.step_gain).reshape(-1, 1, 1, 1) * table)
        case Population():
            membranes, spikes = membranes_and_spikes(node.neurons, _current(node, live))
            return NodeActivity(node=node, output=spikes, membranes=membranes)
        case Join():
            return NodeActivity(node=node, output=np.sum([live[name] for name in node.inputs], axis=0))
        case Norm():
            return NodeActivity(node=node, output=_normal(live[node.source], node.epsilon))
        case Attention():
            return NodeActivity(node=node, output=_attention(node, live))
        case Readout():
            normal = _normal(live[node.source].mean(axis=0), node.epsilon)
            return NodeActivity(node=node, output=(normal * node.gamma + node.beta)[None])


def logits(node: Readout, hidden: Array) -> Iterator[tuple[slice, Array]]:
    """Yield the logits of some tokens at a time: which, and (tokens, vocabulary).

    Args:
        node: the readout.
        hidden: its output in one sequence, (L, size of its source).
    """
    weight = numbers(node.weight)
    for tokens in blocks(len(hidden), LOGITS_AT_ONCE // max(1, node.size)):
        result = np.empty((len(hidden[tokens]), node.size))
        for rows in blocks(node.size, HEAD_WEIGHTS_AT_ONCE // max(1, hidden.shape[1])):
            result[:, rows] = hidden[tokens] @ weight[rows].T.astype(np.float64) * node.scale
        yield tokens, result


def blocks(length: int, at_once: int) -> list[slice]:
    """Cut a length into pieces of ``at_once``, which may be less than 1, and a shorter last one."""
    step = max(1, at_once)
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


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
            weight = numbers(projection.weight).astype(np.float64)
            arriving = arriving * weight if weight.ndim == 1 else arriving @ weight.T
        total = total + arriving
    return np.asarray(total)


def _normal(values: Array, epsilon: float) -> Array:
    """Return (values - mean) / sqrt(variance + epsilon) over the last axis."""
    centred = values - values.mean(axis=-1, keepdims=True)
    normal: Array = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return normal


def _attention(node: Attention, outputs: Mapping[str, Array]) -> Array:
    """Some heads of one sequence at a time: what is scored grows with the square of its length."""
    query, key, value = (_split(node, outputs[name]) for name in (node.query, node.key, node.value))
    steps, batch, heads, length, _ = query.shape
    mixed = np.empty(query.shape)
    for sequence in range(batch):
        for some in blocks(heads, SCORES_AT_ONCE // (steps * length**2)):
            place = (slice(None), sequence, some)
            score = query[place] @ key[place].swapaxes(-1, -2)
            fired = membranes_and_spikes(_heads(node.neurons, some), score, trailing_axes=2)[1]
            mixed[place] = np.tril(fired) @ value[place]
    return mixed.swapaxes(2, 3).reshape(steps, batch, length, node.size)


def _heads(neurons: Neurons, some: slice) -> Neurons:
    return replace(neurons, threshold=neurons.threshold[some], bias=neurons.bias[some])


def _split(node: Attention, output: Array) -> Array:
    """(T, B, L, size) to (T, B, heads, L, head_dim)."""
    steps, batch, length, _ = output.shape
    return output.reshape(steps, batch, length, node.heads, node.head_dim).swapaxes(2, 3)
