"""What part of a node takes on a neurocore: the one place where shapes meet the numbers of a target sheet."""

from __future__ import annotations

from typing import Literal, TypeAlias

from bispik.compiler.fixed_point import DECAY_ONE
from bispik.compiler.shapes import InputShape, NetworkShape, NodeShape
from bispik.compiler.stream.layout import LaidWiring
from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Sparse
from bispik.compiler.target import Limit, Target

Use: TypeAlias = dict[str, int]
"""Amount by resource; the names are those of `target.Resources`."""

SynapseFormat: TypeAlias = Literal["dense", "one_to_one", "sparse", "shared"]
"""How synapses lie behind their axons. ``dense``: a weight for every row of the slice, 0 where there is no synapse;
``sparse``: weight and index of each synapse; ``shared``: a convolution's kernels, once for all rows."""


def slice_use(node: NodeShape, rows: int, tokens: int, network: NetworkShape, target: Target, start: int = 0) -> Use:
    """Return what ``rows`` rows of a node, from ``start`` on, take on one neurocore.

    Population, join, norm and readout: a neuron and its state per row, the row's synapses, an axon in per source
    output that any row reads with room for what waits on it, an axon out per row and reader. Attention: a neuron per
    output channel and one per head and stored token, the score neuron, which keeps that token's key and value,
    T * head_dim bits each, twice that if signed.

    ``tokens`` counts for attention alone: how many stored tokens lie there.
    """
    stop = start + rows
    scores = rows // node.head_dim * tokens if node.kind == "attention" else 0
    synapses, axons_in, waiting = 0, 0, 0
    for entry in node.inputs:
        axons = _axons(entry, start, stop)
        axons_in += axons
        waiting += -(-axons * entry.wait_bits // 8)
        synapses += _synapse_bytes(node, entry, start, stop, target)
    state = rows * _row_state_bytes(node, target) + scores * target.state.score.value + waiting
    state += -(-scores * _stored_bits_per_score(node, network, target) // 8)
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


def state_entry(node: NodeShape, target: Target) -> Limit:
    """Return what a sheet says of the program that a row of a node runs; 0 where the target has no such program."""
    state = target.state
    match node.kind:
        case "population":
            return state.stock if node.program == "stock" else state.bispik
        case "join" | "partial":  # a sum that is sent on, both of them
            return state.join
        case "norm":
            return state.norm
        case "attention":
            return state.attention_output
        case "readout":
            return state.readout


def neuron_state_bytes(node: NodeShape, network: NetworkShape, target: Target) -> int:
    """Return the bytes that the largest neuron of a node keeps."""
    score = target.state.score.value + -(-_stored_bits_per_score(node, network, target) // 8)
    return max(_row_state_bytes(node, target), score if node.kind == "attention" else 0)


def rows_per_word(node: NodeShape, target: Target) -> int:
    """Return how many rows fill a word of synapse memory behind an axon: slices of a multiple of it waste no bit."""
    word = target.storage.synapse_word_bits.value
    dense = (entry for entry in node.inputs if not entry.one_to_one and entry.laid is None)
    return max((word // max(entry.bits, 1) for entry in dense), default=1) or 1


def stored_format(laid: LaidWiring, start: int, stop: int, bits: int, target: Target) -> SynapseFormat:
    """Return how the synapses of rows [start, stop) are stored: a sparse pattern in what takes less."""
    match laid.wiring:
        case Dense():
            return "dense"
        case OneToOne():
            return "one_to_one"
        case Convolution():
            return "shared"
        case Sparse():
            dense = _dense_bits(laid.reach(start, stop).sources, stop - start, bits, target)
            return "dense" if dense <= _sparse_bits(laid, start, stop, bits, target) else "sparse"


def _axons(entry: InputShape, start: int, stop: int) -> int:
    if entry.host:
        return 0
    if entry.laid is not None:
        return entry.laid.reach(start, stop).sources
    return stop - start if entry.one_to_one else entry.fan_in


def _synapse_bytes(node: NodeShape, entry: InputShape, start: int, stop: int, target: Target) -> int:
    # Attention's synapses are the stored keys and values, which are state; the host's currents pass no synapse.
    if entry.host or node.kind == "attention":
        return 0
    rows, bits, laid = stop - start, max(entry.bits, 1), entry.laid
    if laid is not None and isinstance(laid.wiring, Convolution):
        return -(-_shared_bits(laid, laid.wiring, start, stop, bits, target) // 8)
    if laid is not None and isinstance(laid.wiring, Sparse):
        dense = _dense_bits(laid.reach(start, stop).sources, rows, bits, target)
        return -(-min(dense, _sparse_bits(laid, start, stop, bits, target)) // 8)
    axons, synapses_per_axon = (rows, 1) if entry.one_to_one else (entry.fan_in, rows)
    return -(-_dense_bits(axons, synapses_per_axon, bits, target) // 8)


def _dense_bits(axons: int, synapses_per_axon: int, bits: int, target: Target) -> int:
    word = target.storage.synapse_word_bits.value
    return axons * -(-synapses_per_axon * bits // word) * word


def _sparse_bits(laid: LaidWiring, start: int, stop: int, bits: int, target: Target) -> int:
    """Assumed (X): an index numbers all neurons that a neurocore can have; an axon's synapses fill whole words."""
    word = target.storage.synapse_word_bits.value
    index = max(1, (target.resources.neurons.value - 1).bit_length())
    words = -(-laid.fan_out(start, stop) * (bits + index) // word)
    return int(words.sum()) * word


def _shared_bits(laid: LaidWiring, wiring: Convolution, start: int, stop: int, bits: int, target: Target) -> int:
    """Assumed (X): the kernels of all channels that have a row there lie there once, each in whole words.

    That is so whatever their rows see of the source's edges; where they meet the map follows from the axon.
    """
    word = target.storage.synapse_word_bits.value
    kernel = wiring.source[0] // wiring.groups * wiring.kernel[0] * wiring.kernel[1]
    return laid.channels(start, stop) * -(-kernel * bits // word) * word


def _stored_bits_per_score(node: NodeShape, network: NetworkShape, target: Target) -> int:
    return network.steps_per_token * node.head_dim * node.stored_bits * target.storage.stored_spike_bits.value


def _row_state_bytes(node: NodeShape, target: Target) -> int:
    current = -(-target.storage.membrane_bits.value // 8) if node.own_current else 0
    decays = -(-2 * (DECAY_ONE - 1).bit_length() // 8) if node.own_decays else 0
    return state_entry(node, target).value + current + decays
