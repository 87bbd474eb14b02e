"""What is to be counted for each slice of a mapping, and how its events follow: made once, used for every token."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bispik.backends.counts.chunk import Demands, Mixed, Sent
from bispik.backends.counts.events import GRADED, SYNOPS, Event, Format, IntArray
from bispik.backends.counts.linear import LinearSums
from bispik.backends.counts.traffic import COSTS
from bispik.compiler.mapping import InputRange, Slice
from bispik.compiler.program import (
    IntegerAttention,
    IntegerNode,
    IntegerNorm,
    IntegerPopulation,
    IntegerReadout,
    QuantizedProgram,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSlice:
    """Whole heads over a range of stored tokens."""

    index: int
    depth: int
    rows: int
    first: int
    last: int
    neurons: int
    key_bits: int
    """Of one stored spike."""
    value_bits: int
    queries: IntArray
    """(heads,): rows of the heads' query spikes."""
    scores: IntArray
    """(heads,): rows of their score spikes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CountPlan:
    """How events follow from counted numbers."""

    demands: Demands
    linear: dict[Event, LinearSums]
    """Events that are sums of counted numbers."""
    synops: LinearSums
    """Of all kinds but attention's, by time step as well."""
    neurons: IntArray
    """(slices,): updated in every step; 0 for attention, whose updates are entered apart."""
    always_reached: IntArray
    """Slices that the host's current reaches in every step."""
    dense: LinearSums
    """Arrivals at matrices: any of them reaches all rows of a slice."""
    one_to_one: LinearSums
    """Rows that one-to-one inputs reach."""
    attentions: tuple[AttentionSlice, ...]
    constant: dict[Event, IntArray]
    """(slices,): events of every step, whatever arrives."""


def neurons_of(part: Slice, node: IntegerNode) -> int:
    """Return how many neurons a slice updates in every step."""
    rows = part.stop - part.start
    if isinstance(node, IntegerAttention):
        return rows + rows // node.head_dim * (part.last_token - part.first_token)
    return rows


def norm_operations(channels: int) -> int:
    """Return the multiplications, divisions and roots of a norm in one step; see `bispik.backends.counts`."""
    return 3 * channels + 3


class Planner:
    """Collects what the slices of a mapping need, slice by slice."""

    def __init__(self, program: QuantizedProgram, slices: int, stored_bits: dict[str, int], spread: set[str]) -> None:
        """Prepare.

        Args:
            program: what is mapped.
            slices: number of slices.
            stored_bits: by population: bits of one stored spike.
            spread: attentions whose stored tokens lie in several slices, each of which sends a partial count.
        """
        self.program, self.slices, self.stored_bits, self.spread = program, slices, stored_bits, spread
        self.host = program.injection.name
        self.demands = Demands()
        self.linear: dict[Event, list[tuple[int, Sent | Mixed, int]]] = defaultdict(list)
        self.synops: list[tuple[int, Sent, int]] = []
        self.dense: list[tuple[int, Sent, int]] = []
        self.one_to_one: list[tuple[int, Sent, int]] = []
        self.always: list[int] = []
        self.neurons = np.zeros(slices, np.int64)
        self.attention: list[tuple[int, Slice, IntegerAttention]] = []
        self.norms = np.zeros(slices, np.int64)

    def add(self, index: int, part: Slice, node: IntegerNode, costs: IntArray) -> None:
        """Add a slice; ``costs``, (COSTS, rows), is what one output of each row costs on its way."""
        if isinstance(node, IntegerAttention):
            self._attention(index, part, node)
        else:
            self._sums(index, part, node)
        if not isinstance(node, IntegerReadout):
            self._outputs(index, part, node, costs)

    def plan(self) -> CountPlan:
        """Return the plan."""
        demands = self.demands

        def sums(entries: list[tuple[int, Sent | Mixed, int]] | list[tuple[int, Sent, int]]) -> LinearSums:
            return LinearSums([(s, demands.row(wanted), f) for s, wanted, f in entries], self.slices, demands.size)

        return CountPlan(
            demands=demands,
            linear={event: sums(entries) for event, entries in self.linear.items()},
            synops=sums(self.synops),
            neurons=self.neurons,
            always_reached=np.array(self.always, np.int64),
            dense=sums(self.dense),
            one_to_one=sums(self.one_to_one),
            attentions=tuple(self._attention_slice(*entry) for entry in self.attention),
            constant={"norm_operation": self.norms},
        )

    def _sent(self, sources: tuple[str, ...], start: int, stop: int) -> Sent:
        wanted = (sources, start, stop)
        self.demands.sent.setdefault(wanted, len(self.demands.sent))
        return wanted

    def _sums(self, index: int, part: Slice, node: IntegerNode) -> None:
        """Populations, joins, norms and the readout. The host's current reaches every row and meets no synapse."""
        rows = part.stop - part.start
        one_to_one: list[str] = []
        for entry in part.inputs:
            if entry.source == self.host:
                self.always.append(index)
                continue
            kind, arrivals = _format(node, entry), self._sent((entry.source,), entry.start, entry.stop)
            factor = 1 if kind == "one_to_one" else rows
            self.synops.append((index, arrivals, factor))
            self.linear[SYNOPS[kind]].append((index, arrivals, factor))
            if entry.source not in self.stored_bits:
                self.linear[GRADED[kind]].append((index, arrivals, factor))
            if kind == "one_to_one":
                one_to_one.append(entry.source)
            else:
                self.dense.append((index, arrivals, 1))
        if one_to_one:
            self.one_to_one.append((index, self._sent(tuple(one_to_one), part.start, part.stop), 1))
        self.neurons[index] = rows
        if isinstance(node, IntegerNorm):
            self.norms[index] = norm_operations(rows)

    def _attention(self, index: int, part: Slice, node: IntegerAttention) -> None:
        for head in range(part.start // node.head_dim, part.stop // node.head_dim):
            self._sent((node.query,), head * node.head_dim, (head + 1) * node.head_dim)
            wanted = (node.name, head, part.first_token, part.last_token)
            self.demands.scored.setdefault(wanted, len(self.demands.scored))
        self.attention.append((index, part, node))

    def _attention_slice(self, index: int, part: Slice, node: IntegerAttention) -> AttentionSlice:
        depth, row = node.head_dim, self.demands.row
        heads = range(part.start // depth, part.stop // depth)
        first, last = part.first_token, part.last_token
        return AttentionSlice(
            index=index,
            depth=depth,
            rows=part.stop - part.start,
            first=first,
            last=last,
            neurons=neurons_of(part, node),
            key_bits=self.stored_bits[node.key],
            value_bits=self.stored_bits[node.value],
            queries=np.array([row(((node.query,), h * depth, (h + 1) * depth)) for h in heads], np.int64),
            scores=np.array([row((node.name, h, first, last)) for h in heads], np.int64),
        )

    def _outputs(self, index: int, part: Slice, node: IntegerNode, costs: IntArray) -> None:
        """What a slice sends, cut where the costs of its rows change."""
        changes = np.flatnonzero((costs[:, 1:] != costs[:, :-1]).any(axis=0)) + 1
        for first, last in pairwise([0, *changes.tolist(), part.stop - part.start]):
            start, stop = part.start + first, part.start + last
            wanted: Sent | Mixed
            if part.node in self.spread:
                wanted = (part.node, start, stop, part.first_token, part.last_token)
                self.demands.mixed.setdefault(wanted, len(self.demands.mixed))
            else:
                wanted = self._sent((part.node,), start, stop)
            self.linear["spike" if isinstance(node, IntegerPopulation) else "graded_output"].append((index, wanted, 1))
            for event, cost in zip(COSTS, costs[:, first].tolist(), strict=True):
                if cost:
                    self.linear[event].append((index, wanted, cost))


def _format(node: IntegerNode, entry: InputRange) -> Format:
    if isinstance(node, IntegerReadout):
        return "readout"
    if not isinstance(node, IntegerPopulation):
        return "one_to_one"
    weight = node.inputs[entry.index].weight
    return "dense" if weight is not None and weight.ndim == 2 else "one_to_one"
