"""What happens inside one slice: synops, updates and outputs, by kind of node."""

from __future__ import annotations

import numpy as np

from bispik.backends.counts.events import Format, IntArray
from bispik.backends.counts.tally import BoolArray, Chunk, SpikeArray, Tally
from bispik.compiler.mapping import InputRange, Slice
from bispik.compiler.program import IntegerAttention, IntegerNode, IntegerNorm, IntegerPopulation, IntegerReadout


def neurons_of(part: Slice, node: IntegerNode) -> int:
    """Return how many neurons a slice updates in every step."""
    rows = part.stop - part.start
    if isinstance(node, IntegerAttention):
        return rows + rows // node.head_dim * (part.last_token - part.first_token)
    return rows


def count_sums(chunk: Chunk, tally: Tally, index: int, part: Slice, node: IntegerNode, host: str) -> None:
    """Count the synops and updates of rows that take what arrives: populations, joins, norms and the readout.

    ``host`` is the node whose output the host injects: it reaches every row and meets no synapse.
    """
    rows = part.stop - part.start
    reached_all = np.zeros(chunk.shape, np.bool_)
    reached = np.zeros((*chunk.shape, rows), np.bool_)
    for entry in part.inputs:
        if entry.source == host:
            reached_all[:] = True
            continue
        kind, graded = _format(node, entry), chunk.sends_counts(entry.source)
        arrivals = chunk.arrivals(entry.source, entry.start, entry.stop)
        if kind == "one_to_one":
            reached |= chunk.events(entry.source, entry.start, entry.stop)
            tally.add_synops(index, kind, arrivals, graded)
        else:
            reached_all |= arrivals > 0
            tally.add_synops(index, kind, arrivals * rows, graded)
    active = np.where(reached_all, rows, np.count_nonzero(reached, axis=2))
    tally.add_updates(index, active.astype(np.int64), rows)
    if isinstance(node, IntegerNorm):
        tally.add(index, "norm_operation", np.full(chunk.shape, norm_operations(rows), np.int64))


def norm_operations(channels: int) -> int:
    """Return the multiplications, divisions and roots of a norm in one step; see `bispik.backends.counts`."""
    return 3 * channels + 3


def count_attention(chunk: Chunk, tally: Tally, index: int, part: Slice, node: IntegerAttention) -> None:
    """Count the synops, updates, spikes and stored bits of whole heads over a range of stored tokens."""
    heads, rows = _heads(part, node), part.stop - part.start
    query = chunk.events(node.query, part.start, part.stop).reshape(*chunk.shape, len(heads), node.head_dim)
    queries = np.count_nonzero(query, axis=3)
    stored = np.clip(chunk.positions + 1, part.first_token, part.last_token) - part.first_token
    scores = chunk.activity.score_spikes[node.name][:, :, heads, part.first_token : part.last_token]
    spikes = np.count_nonzero(scores, axis=3)
    score_synops = queries.sum(axis=2) * stored[:, None]
    value_synops = spikes.sum(axis=2) * node.head_dim
    tally.add_synops(index, "score", score_synops)
    tally.add_synops(index, "value", value_synops)
    active_scores = np.count_nonzero(queries, axis=2) * stored[:, None]
    active_outputs = np.count_nonzero(spikes, axis=2) * node.head_dim
    tally.add_updates(index, active_scores + active_outputs, neurons_of(part, node))
    for event in ("spike", "message", "message_local"):  # a score spike's only destination is its own neurocore
        tally.add(index, event, spikes.sum(axis=2))
    written = (part.first_token <= chunk.positions) & (chunk.positions < part.last_token)
    key_bits, value_bits = (chunk.stored_bits(source) for source in (node.key, node.value))
    tally.add(index, "kv_bit_written", written * ((key_bits + value_bits) * rows * chunk.shape[1]))
    tally.add(index, "kv_bit_read", score_synops * key_bits + value_synops * value_bits)


def outputs_sent(chunk: Chunk, part: Slice, node: IntegerNode, values: SpikeArray | None) -> BoolArray:
    """Return which outputs a slice sent, (n, T, rows).

    ``values`` (stored tokens, T, channels) holds the value spikes of the sequence so far if the node's stored
    tokens are spread over slices, so that each sends a partial count; else None.
    """
    if not isinstance(node, IntegerAttention) or values is None:
        return chunk.events(part.node, part.start, part.stop)
    heads = _heads(part, node)
    scores = chunk.activity.score_spikes[node.name][:, :, heads, part.first_token : part.last_token]
    stored = values[part.first_token : part.last_token, :, part.start : part.stop]
    by_head = stored.reshape(*stored.shape[:2], len(heads), node.head_dim).astype(np.float32)
    counts = np.einsum("nthj,jthd->nthd", scores.astype(np.float32), by_head, optimize=True)
    sent: BoolArray = counts.reshape(*chunk.shape, -1) != 0
    return sent


def _heads(part: Slice, node: IntegerAttention) -> IntArray:
    return np.arange(part.start // node.head_dim, part.stop // node.head_dim, dtype=np.int64)


def _format(node: IntegerNode, entry: InputRange) -> Format:
    if isinstance(node, IntegerReadout):
        return "readout"
    if not isinstance(node, IntegerPopulation):
        return "one_to_one"
    weight = node.inputs[entry.index].weight
    return "dense" if weight is not None and weight.ndim == 2 else "one_to_one"
