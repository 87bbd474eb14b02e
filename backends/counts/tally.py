"""The table that the events of a chunk are entered into."""

from __future__ import annotations

import numpy as np

from bispik.backends.counts.events import EVENTS, GRADED, SYNOPS, Event, Format, IntArray


class Tally:
    """Numbers of events by token and slice, and of synops by time step as well."""

    def __init__(self, shape: tuple[int, int], slices: int) -> None:
        self.by_event: dict[Event, IntArray] = {event: np.zeros((shape[0], slices), np.int64) for event in EVENTS}
        self.synops = np.zeros((*shape, slices), np.int64)

    def add(self, index: int, event: Event, counts: IntArray) -> None:
        """Enter events of a slice, given as (n,) or (n, T)."""
        self.by_event[event][:, index] += counts if counts.ndim == 1 else counts.sum(axis=1)

    def add_synops(self, index: int, kind: Format, counts: IntArray, graded: bool = False) -> None:
        """Enter synops of a slice, (n, T)."""
        self.synops[:, :, index] += counts
        summed = counts.sum(axis=1)
        self.add(index, SYNOPS[kind], summed)
        if graded:
            self.add(index, GRADED[kind], summed)

    def add_updates(self, index: int, active: IntArray, neurons: int) -> None:
        """Enter one update of each neuron of a slice in every step, ``active`` (n, T) of them with an event."""
        summed = active.sum(axis=1)
        self.add(index, "update_active", summed)
        self.add(index, "update_inactive", neurons * active.shape[1] - summed)
