"""What happens inside one slice: synops, updates and outputs, by kind of node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bispik.backends.counts.chunk import Chunk
from bispik.backends.counts.events import Format, IntArray
from bispik.backends.counts.tally import Tally
from bispik.backends.counts.traffic import COSTS
from bispik.compiler.mapping import InputRange, Slice
from bispik.compiler.program import IntegerAttention, IntegerNode, IntegerNorm, IntegerPopulation, IntegerReadout


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Rows of a slice whose outputs cost the same on their way."""

    start: int
    stop: int
    costs: tuple[int, ...]
    """One per event of `COSTS`."""


def neurons_of(part: Slice, node: IntegerNode) -> int:
    """Return how many neurons a slice updates in every step."""
    rows = part.stop - part.start
    if isinstance(node, IntegerAttention):
        return rows + rows // node.head_dim * (part.last_token - part.first_token)
    return rows


def norm_operations_of(part: Slice, node: IntegerNode) -> int:
    """Return a slice's multiplications, divisions and roots of norms in one step; see `bispik.backends.counts`."""
    return 3 * (part.stop - part.start) + 3 if isinstance(node, IntegerNorm) else 0


def outputs_of(part: Slice, costs: IntArray) -> tuple[Output, ...]:
    """Cut a slice where the costs of its rows, (COSTS, rows), change."""
    changes = np.flatnonzero((costs[:, 1:] != costs[:, :-1]).any(axis=0)) + 1
    bounds = [0, *changes.tolist(), part.stop - part.start]
    return tuple(
        Output(start=part.start + first, stop=part.start + last, costs=tuple(costs[:, first].tolist()))
        for first, last in pairwise(bounds)
    )


def count_sums(
    chunk: Chunk, tally: Tally, index: int, part: Slice, node: IntegerNode, host: str, graded: frozenset[str]
) -> None:
    """Count the synops and updates of rows that take what arrives: populations, joins, norms and the readout.

    ``host`` is the node whose output the host injects: it reaches every row and meets no synapse. ``graded`` nodes
    send counts instead of spikes.
    """
    rows = part.stop - part.start
    one_to_one: list[str] = []
    reached_all = np.zeros((len(chunk.positions), chunk.steps), np.bool_)
    for entry in part.inputs:
        if entry.source == host:
            reached_all[:] = True
            continue
        kind = _format(node, entry)
        arrivals = chunk.sent((entry.source,), entry.start, entry.stop)
        if kind == "one_to_one":
            one_to_one.append(entry.source)
            tally.add_synops(index, kind, arrivals, entry.source in graded)
        else:
            reached_all |= arrivals > 0
            tally.add_synops(index, kind, arrivals * rows, entry.source in graded)
    active = np.where(reached_all, rows, 0)
    if one_to_one:
        active = np.where(reached_all, rows, chunk.sent(tuple(one_to_one), part.start, part.stop))
    tally.add_updates(index, active.astype(np.int64), rows)
    if isinstance(node, IntegerNorm):
        tally.add(index, "norm_operation", np.full(reached_all.shape, norm_operations_of(part, node), np.int64))


def count_attention(
    chunk: Chunk, tally: Tally, index: int, part: Slice, node: IntegerAttention, key_bits: int, value_bits: int
) -> None:
    """Count the synops, updates, spikes and stored bits of whole heads over a range of stored tokens.

    ``key_bits`` and ``value_bits`` are those of one stored spike.
    """
    depth, rows = node.head_dim, part.stop - part.start
    stored = (np.clip(chunk.positions + 1, part.first_token, part.last_token) - part.first_token)[:, None]
    shape = (len(chunk.positions), chunk.steps)
    score_synops, scores, active = (np.zeros(shape, np.int64) for _ in range(3))
    for head in range(part.start // depth, part.stop // depth):
        queries = chunk.sent((node.query,), head * depth, (head + 1) * depth)
        spikes = chunk.scored(node.name, head, part.first_token, part.last_token)
        score_synops += queries * stored
        scores += spikes
        active += (queries > 0) * stored + (spikes > 0) * depth
    value_synops = scores * depth
    tally.add_synops(index, "score", score_synops)
    tally.add_synops(index, "value", value_synops)
    tally.add_updates(index, active, neurons_of(part, node))
    for event in ("spike", "message", "message_local"):  # a score spike's only destination is its own neurocore
        tally.add(index, event, scores)
    written = (part.first_token <= chunk.positions) & (chunk.positions < part.last_token)
    tally.add(index, "kv_bit_written", written * ((key_bits + value_bits) * rows * chunk.steps))
    tally.add(index, "kv_bit_read", score_synops * key_bits + value_synops * value_bits)


def count_outputs(
    chunk: Chunk, tally: Tally, index: int, part: Slice, node: IntegerNode, outputs: Sequence[Output], spread: bool
) -> None:
    """Count what a slice sent and what that cost on its way.

    ``spread`` says that the node's stored tokens lie in several slices, each of which sends a partial count.
    """
    for output in outputs:
        if spread:
            sent = chunk.mixed(part.node, output.start, output.stop, part.first_token, part.last_token)
        else:
            sent = chunk.sent((part.node,), output.start, output.stop)
        summed = sent.sum(axis=1)
        tally.add(index, "spike" if isinstance(node, IntegerPopulation) else "graded_output", summed)
        for event, cost in zip(COSTS, output.costs, strict=True):
            if cost:
                tally.add(index, event, summed * cost)


def _format(node: IntegerNode, entry: InputRange) -> Format:
    if isinstance(node, IntegerReadout):
        return "readout"
    if not isinstance(node, IntegerPopulation):
        return "one_to_one"
    weight = node.inputs[entry.index].weight
    return "dense" if weight is not None and weight.ndim == 2 else "one_to_one"
