"""What part of a node takes on a neurocore: the one place where shapes meet the numbers of a target sheet."""

from __future__ import annotations

from typing import TypeAlias

from bispik.compiler.shapes import InputShape, NetworkShape, NodeShape
from bispik.compiler.target import Target

Use: TypeAlias = dict[str, int]
"""Amount by resource; the names are those of `target.Resources`."""


def slice_use(node: NodeShape, rows: int, tokens: int, network: NetworkShape, target: Target) -> Use:
    """Return what ``rows`` rows of a node take on one neurocore.

    Population, join, norm and readout: a neuron and its state per row, the row's synapses, an axon in per source
    output that any row reads, an axon out per row and reader. Attention: a neuron per output channel and one per head
    and stored token, the score neuron, which keeps that token's key and value, T * head_dim bits each, twice that if
    signed.

    ``tokens`` counts for attention alone: how many stored tokens lie there.
    """
    scores = rows // node.head_dim * tokens if node.kind == "attention" else 0
    synapses = sum(_synapse_bytes(node, entry, rows, target) for entry in node.inputs)
    state = rows * _row_state_bytes(node, target) + scores * target.state.score.value
    state += -(-scores * _stored_bits_per_score(node, network, target) // 8)
    axons_in = sum(rows if entry.one_to_one else entry.fan_in for entry in node.inputs if not entry.host)
    axons_out = rows * node.readers
    tables = axons_in * target.storage.axon_in_bytes.value + axons_out * target.storage.axon_out_bytes.value
    return {
        "neurons": rows + scores,
        "memory": synapses + state + tables,
        "synapse_memory": synapses,
        "state_memory": state,
        "axons_in": axons_in,
        "axons_out": axons_out,
    }


def neuron_state_bytes(node: NodeShape, network: NetworkShape, target: Target) -> int:
    """Return the bytes that the largest neuron of a node keeps."""
    score = target.state.score.value + -(-_stored_bits_per_score(node, network, target) // 8)
    return max(_row_state_bytes(node, target), score if node.kind == "attention" else 0)


def rows_per_word(node: NodeShape, target: Target) -> int:
    """Return how many rows fill a word of synapse memory behind an axon: slices of a multiple of it waste no bit."""
    word = target.storage.synapse_word_bits.value
    return max((word // max(entry.bits, 1) for entry in node.inputs if not entry.one_to_one), default=1) or 1


def _synapse_bytes(node: NodeShape, entry: InputShape, rows: int, target: Target) -> int:
    # Attention's synapses are the stored keys and values, which are state; the host's currents pass no synapse.
    if entry.host or node.kind == "attention":
        return 0
    word = target.storage.synapse_word_bits.value
    axons, synapses_per_axon = (rows, 1) if entry.one_to_one else (entry.fan_in, rows)
    words_per_axon = -(-synapses_per_axon * max(entry.bits, 1) // word)
    return -(-axons * words_per_axon * word // 8)


def _stored_bits_per_score(node: NodeShape, network: NetworkShape, target: Target) -> int:
    return network.steps_per_token * node.head_dim * node.stored_bits * target.storage.stored_spike_bits.value


def _row_state_bytes(node: NodeShape, target: Target) -> int:
    state = target.state
    if node.kind == "population":
        return (state.stock if node.program == "stock" else state.bispik).value
    return {"join": state.join, "norm": state.norm, "attention": state.attention_output, "readout": state.readout}[
        node.kind
    ].value
