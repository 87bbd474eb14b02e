"""How the heads of an attention share neurocores with the synapses around it: the way that takes the fewest.

A head that does not fit beside a full load of synapses takes rows of synapses their room. How many, depends on what
lies beside it: n heads on one neurocore may leave room for 42 rows of 46, or for none. A head that is cut into more
parts leaves more room, but every part receives all of the head's queries, keys and values. So the ways are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

from bispik.compiler.capacity import Capacity
from bispik.compiler.shapes import NodeShape

WORTH_A_PART = 1 / 100
"""Share of the neurocores of a block that cutting heads into more parts must save, for it makes more messages."""

MORE_PARTS = 4
"""Heads are cut into at most so many times the parts that they must be cut into."""


@dataclass(frozen=True, slots=True, order=True)
class Seeding:
    """Heads on neurocores of the tape, before synapses come to them."""

    parts: int
    """Ranges of stored tokens that a head is cut into."""
    each: int
    """Parts of heads that share a neurocore."""
    behind: bool
    """Whether they lie behind the matrices that the attention reads, or share neurocores with those too."""


def choose_seeding(
    capacity: Capacity, attention: NodeShape, neurocores: float, cost: Callable[[Seeding | None], float]
) -> Seeding | None:
    """Return how to seed the heads of an attention, or None if they had better wait for gaps.

    Args:
        capacity: of the network on its target.
        attention: the node.
        neurocores: that the synapses around the attention fill.
        cost: the neurocores that the block takes with a seeding.
    """
    least = 1
    while not _at_most(capacity, attention, least):
        least += 1
    best: dict[int, tuple[float, Seeding | None]] = {}
    for parts in range(least, 1 + max(least, min(capacity.network.window, MORE_PARTS * least))):
        ways: list[Seeding | None] = [None] if parts == 1 else []
        ways += _ways(capacity, attention, parts, neurocores)
        costs = [cost(way) for way in ways]
        best[parts] = (min(costs), ways[costs.index(min(costs))])
        if parts > least and best[parts][0] >= best[parts - 1][0]:
            break
    cheapest = min(neurocores for neurocores, _ in best.values())
    return next(way for neurocores, way in best.values() if neurocores <= cheapest * (1 + WORTH_A_PART))


def _ways(capacity: Capacity, attention: NodeShape, parts: int, neurocores: float) -> Iterator[Seeding]:
    """Yield ways for that many parts: as few of them on each neurocore as there are neurocores for, or one more."""
    most = _at_most(capacity, attention, parts)
    few = min(most, ceil(attention.size // attention.head_dim * parts / max(1.0, neurocores)))
    for each in range(few, min(few + 1, most) + 1):
        yield from (Seeding(parts=parts, each=each, behind=behind) for behind in (True, False))


def _at_most(capacity: Capacity, attention: NodeShape, parts: int) -> int:
    """Return how many parts of heads an empty neurocore holds."""
    use = capacity.use(attention, attention.head_dim, ceil(capacity.network.window / parts))
    return min(limit // needed for limit, needed in zip(capacity.limits, use, strict=True) if needed)
