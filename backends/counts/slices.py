"""What is to be counted for each slice of a mapping, and how its events follow: made once, used for every token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from bispik.backends.counts.by_slice import IntArray
from bispik.backends.counts.chunk import Demands, Mixed, Scored, Sent
from bispik.backends.counts.events import EVENTS, GRADED, SYNOPS, Event, Format
from bispik.backends.counts.linear import LinearSums
from bispik.backends.counts.numbers import KINDS, Derived, Number
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

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Terms:
    """m terms that events are sums of: a whole factor times a number."""

    event: IntArray
    """(m,): place in EVENTS."""
    part: IntArray
    """(m,): the slice."""
    row: IntArray
    """(m,): the number's row."""
    factor: IntArray
    """(m,)"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlicePlan:
    """How the events of slices follow from counted numbers."""

    demands: Demands
    derived: Derived
    rows: int
    """Number of numbers, counted and derived."""
    terms: Terms
    """Of all events but ``update_inactive``: these are the updates that are not active."""
    neurons: IntArray
    """(slices,): updated in every step."""
    casts: IntArray
    """(multicasts,): row of the number of outputs that each sends."""
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

    def __init__(
        self, program: QuantizedProgram, slices: int, stored_bits: dict[str, int], spread: set[str], parts: set[str]
    ) -> None:
        """Prepare.

        Args:
            program: what is mapped.
            slices: number of slices.
            stored_bits: by population: bits of one stored spike.
            spread: attentions whose stored tokens lie in several slices, each of which sends a partial count.
            parts: names of the parts of what rows read, each of which sends partial sums.
        """
        self.program, self.slices, self.stored_bits, self.spread = program, slices, stored_bits, spread
        self.parts = parts
        self.host = program.injection.name
        self.sent: dict[Sent, int] = {}
        self.scored: dict[Scored, int] = {}
        self.mixed: dict[Mixed, int] = {}
        self.reached: dict[tuple[Number, ...], int] = {}
        self.alone: dict[tuple[Number, Number], int] = {}
        self.heads: list[tuple[Number, Number, int, int]] = []
        self.terms: list[tuple[int, int, int, int, int]] = []
        self.casts: dict[int, Number] = {}
        """By multicast, what it sends."""
        self.neurons = np.zeros(slices, np.int64)
        self.host_reaches = np.zeros(slices, np.int64)
        self.norms = np.zeros(slices, np.int64)

    def add(self, index: int, part: Slice, node: IntegerNode, costs: IntArray) -> None:
        """Add a slice, of a node or a part of what its rows read.

        ``costs``, (COSTS + 1, rows), is its table from `traffic`.
        """
        self.neurons[index] = neurons_of(part, node)
        if isinstance(node, IntegerAttention):
            self._attention(index, part, node)
        else:
            self._sums(index, part, node)
        if part.kind != "readout":
            self._outputs(index, part, costs)

    def plan(self) -> SlicePlan:
        """Return the plan."""
        heads = len(self.heads)
        sizes = [len(self.sent), len(self.scored), len(self.mixed), len(self.reached), len(self.alone), *[heads] * 4]
        before = np.cumsum([0, *sizes])
        event, part, kind, place, factor = np.array(self.terms, np.int64).reshape(-1, 5).T

        def rows(numbers: Sequence[Number]) -> IntArray:
            return np.array([before[KINDS.index(kind)] + place for kind, place in numbers], np.int64)

        arrivals = [(place, number) for numbers, place in self.reached.items() for number in numbers]
        return SlicePlan(
            demands=Demands(tuple(self.sent), tuple(self.scored), tuple(self.mixed)),
            derived=Derived(
                reached=LinearSums(
                    np.array([place for place, _ in arrivals], np.int64),
                    rows([number for _, number in arrivals]),
                    np.ones(len(arrivals), np.int64),
                ),
                alone=rows([number for number, _ in self.alone]),
                alone_of=np.array([place for _, (_, place) in self.alone], np.int64),
                queries=rows([query for query, _, _, _ in self.heads]),
                scores=rows([scores for _, scores, _, _ in self.heads]),
                first=np.array([first for _, _, first, _ in self.heads], np.int64),
                last=np.array([last for _, _, _, last in self.heads], np.int64),
            ),
            rows=int(before[-1]),
            terms=Terms(event=event, part=part, row=before[kind] + place, factor=factor),
            neurons=self.neurons,
            casts=rows([self.casts[cast] for cast in sorted(self.casts)]),
            constant={"norm_operation": self.norms, "update_active": self.host_reaches},
        )

    def _term(self, index: int, event: Event, number: Number, factor: int = 1) -> None:
        kind, place = number
        self.terms.append((EVENTS.index(event), index, KINDS.index(kind), place, factor))

    def _sent(self, sources: tuple[str, ...], start: int, stop: int) -> Number:
        return "sent", _place(self.sent, (sources, start, stop))

    def _sums(self, index: int, part: Slice, node: IntegerNode) -> None:
        """Populations, joins, norms and the readout. The host's current reaches every row and meets no synapse."""
        rows = part.stop - part.start
        one_to_one: list[str] = []
        dense: list[Number] = []
        for entry in part.inputs:
            if entry.source == self.host:
                self.host_reaches[index] = rows
                continue
            kind, arrivals = self._format(node, entry), self._sent((entry.source,), entry.start, entry.stop)
            factor = 1 if kind == "one_to_one" else rows
            self._term(index, SYNOPS[kind], arrivals, factor)
            if entry.source not in self.stored_bits:
                self._term(index, GRADED[kind], arrivals, factor)
            if kind == "one_to_one":
                one_to_one.append(entry.source)
            else:
                dense.append(arrivals)
        if isinstance(node, IntegerNorm):
            self.norms[index] = norm_operations(rows)
        if not self.host_reaches[index]:
            self._active(index, part, one_to_one, dense)

    def _active(self, index: int, part: Slice, one_to_one: list[str], dense: list[Number]) -> None:
        """Neurons that something reaches: all where a matrix has an arrival, else those with one of their own."""
        reached: Number | None = ("reached", _place(self.reached, tuple(dense))) if dense else None
        if reached:
            self._term(index, "update_active", reached, part.stop - part.start)
        if one_to_one:
            single = self._sent(tuple(one_to_one), part.start, part.stop)
            alone: Number = ("alone", _place(self.alone, (single, reached))) if reached else single
            self._term(index, "update_active", alone)

    def _attention(self, index: int, part: Slice, node: IntegerAttention) -> None:
        """Whole heads over a range of stored tokens. A score spike's only destination is its own neurocore."""
        depth, (first, last) = node.head_dim, (part.first_token, part.last_token)
        key_bits, value_bits = self.stored_bits[node.key], self.stored_bits[node.value]
        for head in range(part.start // depth, part.stop // depth):
            scores: Number = ("scored", _place(self.scored, (node.name, head, first, last)))
            place = len(self.heads)
            self.heads.append((self._sent((node.query,), head * depth, (head + 1) * depth), scores, first, last))
            self._term(index, "synop_score", ("score_synops", place))
            self._term(index, "synop_value", scores, depth)
            self._term(index, "update_active", ("asked", place))
            self._term(index, "update_active", ("answered", place), depth)
            for event in ("spike", "message", "message_local"):
                self._term(index, event, scores)
            self._term(index, "kv_bit_written", ("written", place), (key_bits + value_bits) * depth)
            self._term(index, "kv_bit_read", ("score_synops", place), key_bits)
            self._term(index, "kv_bit_read", scores, value_bits * depth)

    def _outputs(self, index: int, part: Slice, costs: IntArray) -> None:
        """What a slice sends, cut where the costs or the multicasts of its rows change."""
        event: Event = "spike" if part.kind == "population" else "graded_output"
        changes = np.flatnonzero((costs[:, 1:] != costs[:, :-1]).any(axis=0)) + 1
        for first, last in pairwise([0, *changes.tolist(), part.stop - part.start]):
            start, stop = part.start + first, part.start + last
            sent: Number
            if part.node in self.spread:
                sent = ("mixed", _place(self.mixed, (part.node, start, stop, part.first_token, part.last_token)))
            else:
                sent = self._sent((part.node,), start, stop)
            self._term(index, event, sent)
            *ways, cast = costs[:, first].tolist()
            if cast:
                self.casts[cast] = sent
            for way, cost in zip(COSTS, ways, strict=True):
                if cost:
                    self._term(index, way, sent, cost)

    def _format(self, node: IntegerNode, entry: InputRange) -> Format:
        if entry.source in self.parts:
            return "one_to_one"
        if isinstance(node, IntegerReadout):
            return "readout"
        if not isinstance(node, IntegerPopulation):
            return "one_to_one"
        weight = node.inputs[entry.index].weight
        return "dense" if weight is not None and weight.ndim == 2 else "one_to_one"


def _place(table: dict[Key, int], key: Key) -> int:
    """Return the place of a key among those of its kind; a new one comes last."""
    return table.setdefault(key, len(table))
