"""What was counted in some steps of a run, before it is split into events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bispik.backends.counts.by_slice import IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PopulationTally:
    """Of one population. S: steps, m: its slices, p: its projections."""

    synops: IntArray
    """(p, m, S): synapses that were reached."""
    updated: IntArray
    """(m, S): neurons that at least one synop reached."""
    spent: IntArray
    """(SPENT, S): what spikes cost on their way, by the step that they were sent in; 0 where there are none."""
    spent_by_slice: IntArray
    """(SPENT, m): the same by the slice that they came from."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamTally:
    """Of all of a program's nodes."""

    first_step: int
    input_values: int
    """What the host wrote to neurocores."""
    populations: tuple[PopulationTally, ...]
    saturations: Mapping[str, int]

    @property
    def steps(self) -> int:
        """Time steps."""
        steps: int = self.populations[0].updated.shape[1]
        return steps
