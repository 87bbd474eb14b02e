"""What parts of nodes take on a neurocore, and how many rows fit: looked up often, so remembered, for blocks repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from bispik.compiler.demand import rows_per_word, slice_use
from bispik.compiler.shapes import NetworkShape, NodeShape
from bispik.compiler.target import RESOURCES, Target

Amounts: TypeAlias = tuple[int, ...]
"""One number for each of `RESOURCES`, in their order."""

NEURONS, MEMORY, SYNAPSE_MEMORY = (RESOURCES.index(name) for name in ("neurons", "memory", "synapse_memory"))
"""Places of three of them."""


class Capacity:
    """Answers for one network and target. Nodes that differ in nothing but names share what is remembered."""

    def __init__(self, network: NetworkShape, target: Target) -> None:
        self.network, self.target = network, target
        self.limits: Amounts = tuple(limit.value for _, limit in target.resources.items())
        alike: dict[NodeShape | str, _Remembered] = {}
        self._of: dict[str, _Remembered] = {}
        for node in network.nodes:
            key = _unnamed(node) if node.uniform else node.name
            known = alike.setdefault(key, _Remembered(len(alike), rows_per_word(node, target)))
            self._of[node.name] = known

    def use(self, node: NodeShape, rows: int, tokens: int | None = None, start: int = 0) -> Amounts:
        """Return the use of so many rows from ``start`` on, by default with all stored tokens."""
        uses = self._of[node.name].uses
        key = (0 if node.uniform else start, rows, self.network.window if tokens is None else tokens)
        if key not in uses:
            use = slice_use(node, rows, key[2], self.network, self.target, key[0])
            uses[key] = tuple(use[name] for name in RESOURCES)
        return uses[key]

    def room(self, node: NodeShape, free: Amounts, at_most: int, start: int = 0) -> int:
        """Return how many rows fit: all of ``at_most``, or the largest smaller number of whole heads or words."""
        rooms = self._of[node.name].rooms
        key = (free, at_most, 0 if node.uniform else start)
        if key not in rooms:
            rooms[key] = self._room(node, free, at_most, start)
        return rooms[key]

    def alike(self, node: NodeShape) -> int:
        """Return a number that nodes have in common if they differ in nothing but names."""
        return self._of[node.name].number

    def whole(self, node: NodeShape) -> int:
        """Return how many rows an empty neurocore holds."""
        return self.room(node, self.limits, node.size)

    def whole_words(self, node: NodeShape, rows: int) -> int:
        """Round down to whole heads or norms, or to rows that fill words of synapse memory, if at least one."""
        if node.together > 1:
            return rows - rows % node.together
        word = self._of[node.name].word
        return rows if rows < word else rows - rows % word

    def _room(self, node: NodeShape, free: Amounts, at_most: int, start: int) -> int:
        neurons = max(0, free[NEURONS])  # a row has at least one
        if at_most <= neurons and fits(self.use(node, at_most, start=start), free):
            return at_most
        enough, too_many = 0, min(at_most, neurons + 1)
        while too_many - enough > 1:
            middle = (enough + too_many) // 2
            if fits(self.use(node, middle, start=start), free):
                enough = middle
            else:
                too_many = middle
        return self.whole_words(node, enough)


def fits(use: Amounts, free: Amounts) -> bool:
    """Say whether there is enough of every resource."""
    return all(needed <= amount for needed, amount in zip(use, free, strict=True))


def less(free: Amounts, use: Amounts) -> Amounts:
    """Return what is left of the free amounts."""
    return tuple(amount - taken for amount, taken in zip(free, use, strict=True))


def times(use: Amounts, count: int) -> Amounts:
    """Return the use of so many alike."""
    return tuple(amount * count for amount in use)


def share(use: Amounts, limits: Amounts) -> tuple[float, ...]:
    """Return the use over the limits."""
    return tuple(amount / limit for amount, limit in zip(use, limits, strict=True))


def total(uses: Sequence[Amounts]) -> Amounts:
    """Return the sum over several uses."""
    return tuple(map(sum, zip(*uses, strict=True))) if uses else (0,) * len(RESOURCES)


class _Remembered:
    """Of all nodes that differ in nothing but names."""

    __slots__ = ("number", "rooms", "uses", "word")

    def __init__(self, number: int, word: int) -> None:
        self.number = number
        self.uses: dict[tuple[int, int, int], Amounts] = {}
        """By first row (0 where rows take the same everywhere), rows and stored tokens."""
        self.rooms: dict[tuple[Amounts, int, int], int] = {}
        """By free amounts, the rows that are asked for, and the first of them."""
        self.word = word
        """Rows that fill a word of synapse memory."""


def _unnamed(node: NodeShape) -> NodeShape:
    return replace(node, name="", inputs=tuple(replace(entry, source="") for entry in node.inputs))
