"""From a run on a mapping to event counts."""

from __future__ import annotations

import numpy as np

from bispik.backends.activity import Activity
from bispik.backends.counts.chunk import ActivityChunk, Chunk, Demands, SpikeArray
from bispik.backends.counts.events import EVENTS, EventCounts, IntArray
from bispik.backends.counts.host import host_operations
from bispik.backends.counts.load import step_load
from bispik.backends.counts.slices import (
    count_attention,
    count_outputs,
    count_sums,
    neurons_of,
    norm_operations_of,
    outputs_of,
)
from bispik.backends.counts.tally import Tally
from bispik.backends.counts.traffic import traffic
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.program import IntegerAttention, IntegerPopulation, IntegerReadout
from bispik.compiler.shapes import STORED_BITS


def count_events(mapped: MappedProgram, activity: Activity) -> EventCounts:
    """Return the events of a run on a mapping.

    Raises:
        ValueError: if the run does not begin its sequence and the mapping spreads stored tokens over slices:
            which partial counts were sent then depends on earlier values; feed an `EventCounter` from the
            start.
    """
    return EventCounter(mapped).count(activity)


class EventCounter:
    """Counts one sequence chunk by chunk, in order; the chunks' counts add up to those of the whole."""

    def __init__(self, mapped: MappedProgram) -> None:
        self.mapped, self.program = mapped, mapped.program
        self.host = mapped.program.injection.name
        placed = [(place, part) for place, core in enumerate(mapped.neurocores) for part in core.slices]
        self.parts = [part for _, part in placed]
        self.neurocore: IntArray = np.array([place for place, _ in placed], np.int64)
        self.nodes = {node.name: node for node in self.program.nodes}
        self.neurons: IntArray = np.array([neurons_of(part, self.nodes[part.node]) for part in self.parts], np.int64)
        norms = [norm_operations_of(part, self.nodes[part.node]) for part in self.parts]
        self.norms: IntArray = np.array(norms, np.int64)
        self.skew = [mapped.skew[part.node] for part in self.parts]
        costs = traffic(mapped, placed)
        self.outputs = [outputs_of(part, cost) for part, cost in zip(self.parts, costs, strict=True)]
        self.spread = {a.name: a.value for a in self.program.of_kind(IntegerAttention) if self._is_spread(a.name)}
        self.values: dict[str, SpikeArray] = {}
        populations = self.program.of_kind(IntegerPopulation)
        self.stored_bits = {p.name: STORED_BITS[p.neurons.spikes] for p in populations}
        self.graded = frozenset(self.nodes) - {p.name for p in populations}

    def demands(self) -> Demands:
        """Return what counting asks of a chunk, for a simulator that counts while it runs."""
        demands = Demands(self.program.steps_per_token)
        self._tally(demands)
        return demands

    def count(self, activity: Activity) -> EventCounts:
        """Return the events of the sequence's next tokens.

        Raises:
            ValueError: if tokens were left out that these counts depend on, or came twice.
        """
        self._remember_values(activity)
        return self.count_chunk(ActivityChunk(self.program, activity, self.values))

    def count_chunk(self, chunk: Chunk) -> EventCounts:
        """Return the events of consecutive tokens."""
        tally = self._tally(chunk)
        tokens, steps = len(chunk.positions), chunk.steps
        return EventCounts(
            neurocore=self.neurocore,
            node=tuple(part.node for part in self.parts),
            neurons=self.neurons,
            neurocores=len(self.mapped.neurocores),
            events={event: tally.by_event[event].sum(axis=0) for event in EVENTS},
            per_token={event: tally.by_event[event].sum(axis=1) for event in EVENTS},
            positions=chunk.positions,
            host=host_operations(self.program, tokens),
            saturations=dict(chunk.saturations),
            load=step_load(
                tally.synops, self.neurocore, self.neurons, self.norms, self.skew, len(self.mapped.neurocores)
            ),
            steps=tokens * steps,
            depth=max(self.skew),
        )

    def _tally(self, chunk: Chunk) -> Tally:
        tally = Tally((len(chunk.positions), chunk.steps), len(self.parts))
        for index, part in enumerate(self.parts):
            node = self.nodes[part.node]
            if isinstance(node, IntegerAttention):
                bits = self.stored_bits[node.key], self.stored_bits[node.value]
                count_attention(chunk, tally, index, part, node, *bits)
            else:
                count_sums(chunk, tally, index, part, node, self.host, self.graded)
            if not isinstance(node, IntegerReadout):
                count_outputs(chunk, tally, index, part, node, self.outputs[index], part.node in self.spread)
        return tally

    def _is_spread(self, attention: str) -> bool:
        return any(
            (part.first_token, part.last_token) != (0, self.program.window)
            for part in self.parts
            if part.node == attention
        )

    def _remember_values(self, activity: Activity) -> None:
        for attention, source in self.spread.items():
            new = activity.outputs[source].astype(np.int8)
            earlier = self.values[attention] if attention in self.values else new[:0]
            if len(earlier) != activity.first_position:
                raise ValueError(
                    f"{attention}: its stored tokens are spread over neurocores; count the sequence from its start, "
                    f"in order: token {len(earlier)} comes next, not {activity.first_position}"
                )
            self.values[attention] = np.concatenate([earlier, new])
