"""What can be counted in a run: kinds of events, and their exact numbers by slice, by token and by host operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from bispik.backends.counts.by_slice import CountsBySlice, IntArray

Format: TypeAlias = Literal["dense", "one_to_one", "score", "value", "readout"]
"""Kinds of stored synapses. ``score`` and ``value`` are the stored keys and values of attention."""

FORMATS: tuple[Format, ...] = get_args(Format)

Event: TypeAlias = Literal[
    "synop_dense",
    "synop_one_to_one",
    "synop_score",
    "synop_value",
    "synop_readout",
    "graded_dense",
    "graded_one_to_one",
    "graded_readout",
    "update_active",
    "update_inactive",
    "norm_operation",
    "spike",
    "graded_output",
    "message",
    "message_local",
    "message_interchip",
    "hop_x",
    "hop_y",
    "chip_crossing",
    "kv_bit_written",
    "kv_bit_read",
]
"""Defined in the docstring of `bispik.backends.counts`."""

EVENTS: tuple[Event, ...] = get_args(Event)

SYNOPS: Mapping[Format, Event] = {
    "dense": "synop_dense",
    "one_to_one": "synop_one_to_one",
    "score": "synop_score",
    "value": "synop_value",
    "readout": "synop_readout",
}

GRADED: Mapping[Format, Event] = {
    "dense": "graded_dense",
    "one_to_one": "graded_one_to_one",
    "readout": "graded_readout",
}
"""Of these synops so many carried a count instead of a spike. Attention's synapses only ever see spikes."""

HostOperation: TypeAlias = Literal[
    "embedding_reads",
    "embedding_additions",
    "embedding_multiplications",
    "injected_currents",
    "residual_reads",
    "residual_additions",
    "head_multiply_accumulates",
    "accumulator_reads",
    "norm_operations",
    "bias_additions",
    "sampling_comparisons",
]

HOST_OPERATIONS: tuple[HostOperation, ...] = get_args(HostOperation)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepLoad:
    """Largest number of synops that one neurocore had in each time step, by the number of neurons that it updates.

    With it the duration of a step, max over neurocores of (synops * t_synop + updates * t_update), is exact for any
    t_synop and t_update: neurocores with as many neurons differ in their synops only. Norms work beside the
    neurocores, on processors.
    """

    updates: IntArray
    """(groups,): neurons that a neurocore of the group updates in every step."""
    pipelined: IntArray
    """(tokens, T, groups): every node works on the same logical step; tokens follow each other without a gap."""
    sequential: IntArray
    """(tokens, T + depth, groups): each node works its skew later, and a token waits for the readout of the last."""
    norms: IntArray
    """(T + depth,): operations of the largest norm that works in each step of ``sequential``, 0 if none does. In every
    step of ``pipelined`` all of them work."""
    links_pipelined: IntArray
    """(tokens, T, 2): largest number of messages that one link carried, within a chip and between chips."""
    links_sequential: IntArray
    """(tokens, T + depth, 2)"""

    @classmethod
    def joined(cls, parts: Sequence[StepLoad]) -> StepLoad:
        """Return the loads of consecutive parts of a run as one.

        Raises:
            ValueError: if they are of different mappings.
        """
        first = parts[0]
        for part in parts[1:]:
            if not (np.array_equal(first.updates, part.updates) and np.array_equal(first.norms, part.norms)):
                raise ValueError("loads of different mappings cannot be added")
        return cls(
            updates=first.updates,
            pipelined=np.concatenate([part.pipelined for part in parts]),
            sequential=np.concatenate([part.sequential for part in parts]),
            norms=first.norms,
            links_pipelined=np.concatenate([part.links_pipelined for part in parts]),
            links_sequential=np.concatenate([part.links_sequential for part in parts]),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EventCounts(CountsBySlice[Event]):
    """Exact numbers of events of a run on a mapping. Counts of consecutive runs add up with ``+``.

    The sum over slices and the sum over tokens of an event are the same number.
    """

    per_token: Mapping[Event, IntArray]
    """(tokens,) each."""
    positions: IntArray
    """(tokens,): place in its sequence of each token."""
    host: Mapping[HostOperation, int]
    saturations: Mapping[str, int]
    """By population and attention: membrane updates that were clipped."""
    sent: IntArray
    """(multicasts,): outputs other than 0 that each multicast of the mapping (`bispik.compiler.routes`) sent: one
    message for each of its destinations."""
    load: StepLoad
    steps: int
    """Logical time steps: tokens * T."""
    depth: int
    """Largest skew of a mapped node: steps after a token's last one until its readout is complete."""

    @property
    def tokens(self) -> int:
        """Tokens of the run."""
        return len(self.positions)

    @property
    def synops(self) -> int:
        """Spikes that reached a stored synapse, over all formats."""
        return self.total(*SYNOPS.values())

    @property
    def graded_synops(self) -> int:
        """Of the synops, those of counts instead of spikes."""
        return self.total(*GRADED.values())

    def to_dict(self) -> dict[str, Any]:
        """Return totals as plain values for JSON."""
        return {
            "tokens": self.tokens,
            "steps": self.steps,
            "events": {event: self.total(event) for event in EVENTS},
            "host": {operation: self.host[operation] for operation in HOST_OPERATIONS},
            "saturations": sum(self.saturations.values()),
        }

    @classmethod
    def joined(cls, parts: Sequence[EventCounts]) -> EventCounts:
        """Return the counts of consecutive parts of a run, or of several runs, as one.

        Raises:
            ValueError: if there is none, or they are of different mappings.
        """
        if not parts:
            raise ValueError("nothing has been run")
        first, *others = parts
        if not others:
            return first
        for part in others:
            if first.node != part.node or not np.array_equal(first.neurocore, part.neurocore):
                raise ValueError("counts of different mappings cannot be added")
        return cls(
            neurocore=first.neurocore,
            node=first.node,
            neurons=first.neurons,
            neurocores=first.neurocores,
            events={event: np.sum([part.events[event] for part in parts], axis=0) for event in EVENTS},
            per_token={event: np.concatenate([part.per_token[event] for part in parts]) for event in EVENTS},
            positions=np.concatenate([part.positions for part in parts]),
            host={operation: sum(part.host[operation] for part in parts) for operation in HOST_OPERATIONS},
            saturations={name: sum(part.saturations[name] for part in parts) for name in first.saturations},
            sent=np.sum([part.sent for part in parts], axis=0),
            load=StepLoad.joined([part.load for part in parts]),
            steps=sum(part.steps for part in parts),
            depth=first.depth,
        )

    def __add__(self, other: EventCounts) -> EventCounts:
        return EventCounts.joined([self, other])
