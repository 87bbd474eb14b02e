"""What was counted in some steps of a run, before it is split into events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bispik.backends.counts.by_slice import IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PopulationTally:
    """Of one population. S: steps, m: its slices, p: its projections."""

    synops: IntArray
    """(p, S, m): synapses that were reached."""
    updated: IntArray
    """(S, m): neurons that at least one synop reached."""
    sent: IntArray
    """(size,): how often each neuron sent something other than 0."""
    spent: IntArray
    """(S, SPENT): what the step's spikes cost on their way; 0 where the population sends no spikes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamTally:
    """Of all of a program's nodes."""

    first_step: int
    input: IntArray
    """(input size,): how often each channel was something other than 0."""
    populations: tuple[PopulationTally, ...]
    saturations: Mapping[str, int]

    @property
    def steps(self) -> int:
        """Time steps."""
        return len(self.populations[0].updated)
