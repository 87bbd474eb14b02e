"""How the heads of an attention share neurocores with the synapses around it: the way that costs the least.

A head that does not fit beside a full load of synapses takes rows of synapses their room. How many, depends on what
lies beside it: n heads on one neurocore may leave room for 42 rows of 46, or for none. A head that is cut into more
parts leaves more room, but every part receives all of the head's queries, keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from bispik.compiler.capacity import Capacity, fits, less
from bispik.compiler.shapes import NodeShape

SLIVER = 1 / 16
"""No slice is a smaller share than this of what an empty neurocore would take, or of its node, if that is less."""

WORTH_A_PART = 1 / 100
"""Share of the neurocores around an attention that cutting its heads into more parts, with more messages, must save."""

MORE_PARTS = 4
"""Heads are cut into at most so many times the parts that they must be cut into."""


@dataclass(frozen=True, slots=True, order=True)
class Seeding:
    """Heads on neurocores of the tape, before the synapses."""

    parts: int
    """Ranges of stored tokens that a head is cut into."""
    each: int
    """Parts of heads that share a neurocore."""


def choose_seeding(capacity: Capacity, attention: NodeShape, around: Sequence[NodeShape]) -> Seeding | None:
    """Return how to seed the heads of an attention, or None if they had better wait for gaps.

    Args:
        capacity: of the network on its target.
        attention: the node.
        around: the nodes with synapses that the tape comes to next, in order.
    """
    least = _least_parts(capacity, attention)
    if least == 1 and around and _fits_beside(capacity, attention, around[0]):
        return None
    costs = {option: _cost(capacity, attention, around, option) for option in _options(capacity, attention, around, least)}
    cheapest = min(costs.values())
    if least == 1:
        heads = attention.size // attention.head_dim
        if heads / _pieces_at_most(capacity, attention, 1) <= cheapest:
            return None
        return min(option for option in costs if costs[option] == cheapest)
    good_enough = cheapest + WORTH_A_PART * sum(node.size / capacity.whole(node) for node in around)
    parts = min(option.parts for option in costs if costs[option] <= good_enough)
    return min((option for option in costs if option.parts == parts), key=lambda option: (costs[option], option))


def smallest_slice(capacity: Capacity, node: NodeShape) -> int:
    """Return the rows of a node below which a slice of the tape would be a sliver."""
    return min(node.size, ceil(capacity.whole(node) * SLIVER))


def _least_parts(capacity: Capacity, attention: NodeShape) -> int:
    """Return into how many ranges of stored tokens a head must be cut to fit into an empty neurocore."""
    parts = 1
    while not _pieces_at_most(capacity, attention, parts):
        parts += 1
    return parts


def _pieces_at_most(capacity: Capacity, attention: NodeShape, parts: int) -> int:
    """Return how many parts of heads an empty neurocore holds."""
    use = capacity.use(attention, attention.head_dim, ceil(capacity.network.window / parts))
    return min(limit // needed for limit, needed in zip(capacity.limits, use, strict=True) if needed)


def _fits_beside(capacity: Capacity, attention: NodeShape, node: NodeShape) -> bool:
    """Say whether a head fits beside as many rows of a node as a neurocore holds."""
    left = less(capacity.limits, capacity.use(node, capacity.whole(node)))
    return fits(capacity.use(attention, attention.head_dim), left)


def _options(
    capacity: Capacity, attention: NodeShape, around: Sequence[NodeShape], least: int
) -> Iterator[Seeding]:
    heads, neurocores = attention.size // attention.head_dim, sum(ceil(node.size / capacity.whole(node)) for node in around)
    for parts in range(least, 1 + min(capacity.network.window, MORE_PARTS * least) if least > 1 else 2):
        most = _pieces_at_most(capacity, attention, parts)
        fewest = min(most, ceil(heads * parts / max(1, neurocores)))
        yield from (Seeding(parts=parts, each=each) for each in range(fewest, most + 1))


def _cost(capacity: Capacity, attention: NodeShape, around: Sequence[NodeShape], option: Seeding) -> float:
    """Return the neurocores that synapses lose to heads, seeded on one neurocore after the other."""
    use = capacity.use(attention, attention.head_dim, ceil(capacity.network.window / option.parts))
    free = less(capacity.limits, use, option.each)
    heads = attention.size // attention.head_dim
    left, cost = float(ceil(heads * option.parts / option.each)), 0.0
    for node in around:
        whole = capacity.whole(node)
        rows = capacity.room(node, free, whole)
        if rows < smallest_slice(capacity, node):
            break
        taken = min(left, node.size / rows)
        cost += taken * (1 - rows / whole)
        left -= taken
    return cost + left
