"""What a partition makes: a network cut to neurocores, counted without a slice of it being made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from bispik.compiler.capacity import Amounts, Capacity, times, total
from bispik.compiler.mapping import Slice
from bispik.compiler.target import RESOURCES


class Cut(NamedTuple):
    """Rows [start, stop) of the network's node ``node``, and of attention the stored tokens [first, last)."""

    node: int
    start: int
    stop: int
    first_token: int
    last_token: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Packing:
    """A network cut to neurocores. Counts come from the cuts; slices, of which there are many, are made on request."""

    capacity: Capacity
    neurocores: tuple[tuple[Cut, ...], ...]
    busiest: Amounts
    """Of each resource, the largest use of a neurocore."""

    @cached_property
    def sizes(self) -> Mapping[tuple[int, int, int, int], int]:
        """How many cuts there are of each (node, first row, rows, stored tokens).

        The first row is 0 where rows take the same everywhere.
        """
        uniform = [node.uniform for node in self.capacity.network.nodes]
        return Counter(
            (node, 0 if uniform[node] else start, stop - start, last - first)
            for cuts in self.neurocores
            for node, start, stop, first, last in cuts
        )

    @cached_property
    def use_by_node(self) -> Mapping[str, Amounts]:
        """By node, in order, its use of each resource over all neurocores."""
        nodes = self.capacity.network.nodes
        uses: list[list[Amounts]] = [[] for _ in nodes]
        for (index, start, rows, tokens), count in self.sizes.items():
            uses[index].append(times(self.capacity.use(nodes[index], rows, tokens, start), count))
        return {node.name: total(parts) for node, parts in zip(nodes, uses, strict=True)}

    @property
    def at_least(self) -> int:
        """What the network takes of the resource that limits it, over what one neurocore has, rounded up."""
        uses = total(list(self.use_by_node.values()))
        return max(-(-use // limit) for use, limit in zip(uses, self.capacity.limits, strict=True))

    def slices(self) -> tuple[tuple[Slice, ...], ...]:
        """Return the slices of each neurocore."""
        return tuple(tuple(self._slice(cut) for cut in cuts) for cuts in self.neurocores)

    def _slice(self, cut: Cut) -> Slice:
        node = self.capacity.network.nodes[cut.node]
        use = self.capacity.use(node, cut.stop - cut.start, cut.last_token - cut.first_token, cut.start)
        return Slice(
            node=node.name,
            kind=node.kind,
            start=cut.start,
            stop=cut.stop,
            inputs=node.input_ranges(cut.start, cut.stop),
            use=dict(zip(RESOURCES, use, strict=True)),
            first_token=cut.first_token,
            last_token=cut.last_token,
        )
