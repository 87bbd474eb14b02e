"""Exact numbers of events by slice of a mapping, whatever the events are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.int64]

EventT = TypeVar("EventT", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CountsBySlice(Generic[EventT]):
    """Events of a run on the slices of a mapping."""

    neurocore: IntArray
    """(slices,): index into the mapping's neurocores."""
    node: tuple[str, ...]
    """(slices,): the node that the slice is a part of."""
    neurons: IntArray
    """(slices,): neurons that are updated in every time step."""
    neurocores: int
    events: Mapping[EventT, IntArray]
    """(slices,) each."""

    def total(self, *events: EventT) -> int:
        """Return how many of these events there were."""
        return sum(int(self.events[event].sum()) for event in events)

    def by_neurocore(self, *events: EventT) -> IntArray:
        """Return (neurocores,) numbers of these events."""
        counts = np.zeros(self.neurocores, np.int64)
        for event in events:
            np.add.at(counts, self.neurocore, self.events[event])
        return counts

    def by_node(self, *events: EventT) -> dict[str, int]:
        """Return the number of these events by node, in the order of the slices."""
        counts = dict.fromkeys(self.node, 0)
        for event in events:
            for node, count in zip(self.node, self.events[event].tolist(), strict=True):
                counts[node] += count
        return counts
