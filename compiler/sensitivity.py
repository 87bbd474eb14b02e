"""The loss that each population causes: the float network with this one population in integers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.float_network import Array, logits, run_node
from bispik.compiler.graph import Node, Population, Readout, SpikingGraph
from bispik.compiler.integer_network import run_integers
from bispik.compiler.program import IntegerPopulation, IntegerReadout, QuantizedProgram


@dataclass(frozen=True, slots=True)
class Loss:
    """What integers cost, in bits per token."""

    divergence: float
    """Kullback-Leibler divergence of the next token's distribution from the float network's."""
    change: float
    """Of the length of the text itself."""


def losses_alone(
    graph: SpikingGraph, program: QuantizedProgram, token_ids: npt.NDArray[np.int64], names: Collection[str]
) -> dict[str, Loss]:
    """Return by population or readout what its integers alone cost: the rest of the network is in real numbers.

    The divergence ranks them. It is never negative and has no noise of a few tokens of text; but a spiking network
    magnifies the least difference, so that a part of it is there for any change whatever and costs no quality.

    Args:
        graph: the float network.
        program: its integers.
        token_ids: text, (B, L).
        names: of populations, or of the readout.
    """
    outputs: dict[str, Array] = {}
    for node in graph.nodes:
        outputs[node.name] = run_node(node, outputs, token_ids)
    head = graph.of_kind(Readout)[0]
    wanted = _log_shares(head, outputs[head.name])
    losses: dict[str, Loss] = {}
    for place, node in enumerate(graph.nodes):
        if node.name in names:
            found = _replaced(graph, program, outputs, place, token_ids)
            divergence = (np.exp(wanted) * (wanted - found)).sum(axis=1).mean() / np.log(2)
            change = (_of_text(wanted, token_ids) - _of_text(found, token_ids)).mean() / np.log(2)
            losses[node.name] = Loss(float(divergence), float(change))
    return losses


def _of_text(shares: Array, token_ids: npt.NDArray[np.int64]) -> Array:
    """Return the logarithms of the shares that the text's own tokens had, but for each sequence's first."""
    by_sequence = shares.reshape(*token_ids.shape, -1)[:, :-1]
    own: Array = np.take_along_axis(by_sequence, token_ids[:, 1:, None], axis=-1)
    return own


def _replaced(
    graph: SpikingGraph,
    program: QuantizedProgram,
    outputs: Mapping[str, Array],
    place: int,
    token_ids: npt.NDArray[np.int64],
) -> Array:
    """Return the logarithms of all tokens' shares, with the node at that place in integers."""
    node, integer = graph.nodes[place], program.node(graph.nodes[place].name)
    if isinstance(node, Readout):
        assert isinstance(integer, IntegerReadout)
        return _integer_head(integer, _sent(program, node.source, outputs), program.steps_per_token)
    assert isinstance(node, Population)
    # A population that the host drives takes its current from the integer tables.
    host = program.injection.name
    sent = {
        name: run_integers(program.injection, {}, token_ids) if name == host else _sent(program, name, outputs)
        for name in node.sources
    }
    assert isinstance(integer, IntegerPopulation)
    changed: dict[str, Array] = {node.name: run_integers(integer, sent, token_ids).astype(np.float64)}
    for later in graph.nodes[place + 1 :]:
        if any(name in changed for name in later.sources):
            changed[later.name] = run_node(later, {**outputs, **changed}, token_ids)
    head = graph.of_kind(Readout)[0]
    return _log_shares(head, changed.get(head.name, outputs[head.name]))


def _sent(program: QuantizedProgram, name: str, outputs: Mapping[str, Array]) -> npt.NDArray[np.float32]:
    """Return what a node would send as integers."""
    integers: npt.NDArray[np.float32] = np.rint(outputs[name] * (1 << program.exponents.get(name, 0))).astype(
        np.float32
    )
    return integers


def _log_shares(head: Readout, hidden: Array) -> Array:
    """Return the logarithm of each token's share behind every token, (tokens, vocabulary)."""
    return np.concatenate([_log_softmax(some) for sequence in hidden[0] for _, some in logits(head, sequence)])


def _integer_head(head: IntegerReadout, sent: npt.NDArray[np.float32], steps: int) -> Array:
    sums = sent.sum(axis=0, dtype=np.float64).reshape(-1, sent.shape[-1])
    deviation = np.sqrt((sums / steps).var(axis=1, keepdims=True) + head.epsilon)
    accumulators = sums @ head.weight.astype(np.float64).T
    return _log_softmax(accumulators * (head.scale / deviation) + head.bias)


def _log_softmax(values: Array) -> Array:
    shifted = values - values.max(axis=1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def matrix_nodes(graph: SpikingGraph) -> dict[str, int]:
    """Return by population or readout with a matrix the number of its weights."""
    sizes: dict[str, int] = {}
    for node in graph.nodes:
        weights = _weights(node)
        if weights:
            sizes[node.name] = weights
    return sizes


def _weights(node: Node) -> int:
    match node:
        case Population():
            found = (p.weight for p in node.inputs if p.weight is not None and p.weight.ndim == 2)
            return sum(weight.shape[0] * weight.shape[1] for weight in found)
        case Readout():
            return int(node.weight.shape[0] * node.weight.shape[1])
        case _:
            return 0
