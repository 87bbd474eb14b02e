"""How the heads of an attention share neurocores with the synapses around it: the way that takes the fewest.

A head that does not fit beside a full load of synapses takes rows of synapses their room. How many, depends on what
lies beside it: n heads on one neurocore may leave room for 42 rows of 46, or for none. So the ways are tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from bispik.compiler.capacity import MEMORY, SYNAPSE_MEMORY, Capacity, fits, less
from bispik.compiler.shapes import NodeShape


@dataclass(frozen=True, slots=True)
class Seeding:
    """Heads on neurocores of the tape, before synapses come to them."""

    parts: int
    """Ranges of stored tokens that a head is cut into."""
    each: int
    """Parts of heads that share a neurocore."""
    behind: bool
    """Whether they lie behind the matrices that the attention reads, or share neurocores with those too."""


def choose_seeding(
    capacity: Capacity,
    attention: NodeShape,
    more_parts: int,
    beside: NodeShape | None,
    neurocores: float,
    cost: Callable[[Seeding | None], float],
) -> Seeding | None:
    """Return how to seed the heads of an attention, or None if they had better wait for gaps.

    Args:
        capacity: of the network on its target.
        attention: the node.
        more_parts: how many more parts a head is to be cut into than it must be, so that it fits into a neurocore.
        beside: the first of the matrices around it, if there is one.
        neurocores: that the synapses around the attention fill.
        cost: the neurocores that the attention and what is around it take with a seeding.
    """
    least = 1
    while not _at_most(capacity, attention, least):
        least += 1
    parts = max(least, min(least + more_parts, capacity.network.window))
    if parts == 1 and _fits_beside_full_load(capacity, attention, beside):
        return None
    most = _at_most(capacity, attention, parts)
    # As few on each neurocore as there are neurocores for, or one more.
    few = min(most, ceil(attention.size // attention.head_dim * parts / max(1.0, neurocores)))
    ways: list[Seeding | None] = [None] if parts == 1 else []
    for each in range(few, min(few + 1, most) + 1):
        ways += [Seeding(parts=parts, each=each, behind=behind) for behind in (True, False)]
    return min(ways, key=cost)


def _fits_beside_full_load(capacity: Capacity, attention: NodeShape, beside: NodeShape | None) -> bool:
    """Say whether a head fits beside as many synapses as a neurocore may hold, and as many rows of the node."""
    if beside is None:
        return False
    head, limits = capacity.use(attention, attention.head_dim), capacity.limits
    synapses = tuple(limits[SYNAPSE_MEMORY] if place in (MEMORY, SYNAPSE_MEMORY) else 0 for place in range(len(limits)))
    loads = (synapses, capacity.use(beside, capacity.whole(beside)))
    return all(fits(head, less(limits, load)) for load in loads)


def _at_most(capacity: Capacity, attention: NodeShape, parts: int) -> int:
    """Return how many parts of heads an empty neurocore holds."""
    use = capacity.use(attention, attention.head_dim, ceil(capacity.network.window / parts))
    return min(limit // needed for limit, needed in zip(capacity.limits, use, strict=True) if needed)
