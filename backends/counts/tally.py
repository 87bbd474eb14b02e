"""The two ends of counting: what a chunk of a run holds, and the table that its events are entered into."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import Activity
from bispik.backends.counts.events import EVENTS, GRADED, SYNOPS, Event, Format, IntArray
from bispik.compiler.graph import Spikes
from bispik.compiler.program import IntegerPopulation, QuantizedProgram
from bispik.compiler.shapes import STORED_BITS

BoolArray = npt.NDArray[np.bool_]
SpikeArray = npt.NDArray[np.int8]


class Chunk:
    """Consecutive tokens of a run, seen from the neurons that receive their spikes. n: tokens, T: steps per token."""

    def __init__(self, program: QuantizedProgram, activity: Activity) -> None:
        self.activity = activity
        self.shape = (len(activity.token_ids), program.steps_per_token)
        self.positions: IntArray = activity.first_position + np.arange(len(activity.token_ids), dtype=np.int64)
        self._spikes: dict[str, Spikes] = {p.name: p.neurons.spikes for p in program.of_kind(IntegerPopulation)}
        self._arrivals: dict[tuple[str, int, int], IntArray] = {}

    def sends_counts(self, source: str) -> bool:
        """Say whether a node's outputs are counts instead of spikes."""
        return source not in self._spikes

    def stored_bits(self, source: str) -> int:
        """Return the bits of one stored spike of a population."""
        return STORED_BITS[self._spikes[source]]

    def events(self, source: str, start: int, stop: int) -> BoolArray:
        """Return which outputs [start, stop) of a node were sent, (n, T, stop - start)."""
        sent: BoolArray = self.activity.outputs[source][:, :, start:stop] != 0
        return sent

    def arrivals(self, source: str, start: int, stop: int) -> IntArray:
        """Return how many of these outputs were sent, (n, T); slices of a node share the answer."""
        key = (source, start, stop)
        if key not in self._arrivals:
            self._arrivals[key] = np.count_nonzero(self.events(*key), axis=2).astype(np.int64)
        return self._arrivals[key]


class Tally:
    """Numbers of events by token and slice, and of synops by time step as well."""

    def __init__(self, shape: tuple[int, int], slices: int) -> None:
        self.by_event: dict[Event, IntArray] = {event: np.zeros((shape[0], slices), np.int64) for event in EVENTS}
        self.synops = np.zeros((*shape, slices), np.int64)

    def add(self, index: int, event: Event, counts: IntArray) -> None:
        """Enter events of a slice, given as (n,) or (n, T)."""
        self.by_event[event][:, index] += counts.reshape(len(counts), -1).sum(axis=1)

    def add_synops(self, index: int, kind: Format, counts: IntArray, graded: bool = False) -> None:
        """Enter synops of a slice, (n, T)."""
        self.synops[:, :, index] += counts
        self.add(index, SYNOPS[kind], counts)
        if graded:
            self.add(index, GRADED[kind], counts)

    def add_updates(self, index: int, active: IntArray, neurons: int) -> None:
        """Enter one update of each neuron of a slice in every step, ``active`` (n, T) of them with an event."""
        self.add(index, "update_active", active)
        self.add(index, "update_inactive", neurons - active)
