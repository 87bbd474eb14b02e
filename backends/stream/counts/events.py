"""What can be counted in a run of a stream program: kinds of events, and their numbers by slice and by time step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from bispik.backends.counts.by_slice import CountsBySlice, IntArray
from bispik.compiler.demand import SynapseFormat

StreamEvent: TypeAlias = Literal[
    "synop_dense",
    "synop_one_to_one",
    "synop_sparse",
    "synop_shared",
    "graded_dense",
    "graded_one_to_one",
    "graded_sparse",
    "graded_shared",
    "update_active",
    "update_inactive",
    "spike",
    "graded_output",
    "message",
    "message_local",
    "message_interchip",
    "hop_x",
    "hop_y",
    "chip_crossing",
]
"""Defined in the docstring of `bispik.backends.stream.counts`."""

STREAM_EVENTS: tuple[StreamEvent, ...] = get_args(StreamEvent)

STREAM_SYNOPS: Mapping[SynapseFormat, StreamEvent] = {
    "dense": "synop_dense",
    "one_to_one": "synop_one_to_one",
    "sparse": "synop_sparse",
    "shared": "synop_shared",
}

STREAM_GRADED: Mapping[SynapseFormat, StreamEvent] = {
    "dense": "graded_dense",
    "one_to_one": "graded_one_to_one",
    "sparse": "graded_sparse",
    "shared": "graded_shared",
}
"""Of these synops so many carried a number instead of a spike."""

StreamHostOperation: TypeAlias = Literal["input_values", "output_spikes", "output_membranes"]

STREAM_HOST_OPERATIONS: tuple[StreamHostOperation, ...] = get_args(StreamHostOperation)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamLoad:
    """Largest number of synops that one neurocore had in each time step, by the number of neurons that it updates.

    With it the duration of a step, max over neurocores of (synops * t_synop + updates * t_update), is exact for any
    t_synop and t_update: neurocores with as many neurons differ in their synops only.
    """

    updates: IntArray
    """(groups,): neurons that a neurocore of the group updates in every step."""
    synops: IntArray
    """(steps, groups)"""

    def __add__(self, other: StreamLoad) -> StreamLoad:
        if not np.array_equal(self.updates, other.updates):
            raise ValueError("loads of different mappings cannot be added")
        return StreamLoad(updates=self.updates, synops=np.concatenate([self.synops, other.synops]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamCounts(CountsBySlice[StreamEvent]):
    """Exact numbers of events of a run on a mapping. Counts of consecutive steps, and of sequences, add up with ``+``.

    The sum over slices and the sum over steps of an event are the same number.
    """

    per_step: Mapping[StreamEvent, IntArray]
    """(steps,) each."""
    host: Mapping[StreamHostOperation, int]
    saturations: Mapping[str, int]
    """By population: membrane updates that were clipped."""
    load: StreamLoad
    sequences: int
    """Sequences that began."""
    depth: int
    """Largest skew of a population: steps of the fabric after a sequence's last one until its output is complete."""

    @property
    def steps(self) -> int:
        """Logical time steps of the run."""
        return len(self.load.synops)

    @property
    def synops(self) -> int:
        """Spikes that reached a stored synapse, over all formats."""
        return self.total(*STREAM_SYNOPS.values())

    @property
    def graded_synops(self) -> int:
        """Of the synops, those of numbers instead of spikes."""
        return self.total(*STREAM_GRADED.values())

    def to_dict(self) -> dict[str, Any]:
        """Return totals as plain values for JSON."""
        return {
            "steps": self.steps,
            "sequences": self.sequences,
            "events": {event: self.total(event) for event in STREAM_EVENTS},
            "host": {operation: self.host[operation] for operation in STREAM_HOST_OPERATIONS},
            "saturations": sum(self.saturations.values()),
        }

    def __add__(self, other: StreamCounts) -> StreamCounts:
        if self.node != other.node or not np.array_equal(self.neurocore, other.neurocore):
            raise ValueError("counts of different mappings cannot be added")
        return StreamCounts(
            neurocore=self.neurocore,
            node=self.node,
            neurons=self.neurons,
            neurocores=self.neurocores,
            events={event: self.events[event] + other.events[event] for event in STREAM_EVENTS},
            per_step={event: np.concatenate([self.per_step[event], other.per_step[event]]) for event in STREAM_EVENTS},
            host={operation: self.host[operation] + other.host[operation] for operation in STREAM_HOST_OPERATIONS},
            saturations={name: count + other.saturations[name] for name, count in self.saturations.items()},
            load=self.load + other.load,
            sequences=self.sequences + other.sequences,
            depth=self.depth,
        )
