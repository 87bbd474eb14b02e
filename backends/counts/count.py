"""From a run on a mapping to event counts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bispik.backends.activity import Activity
from bispik.backends.counts.chunk import CountedChunk, Demands, SpikeArray, recorded
from bispik.backends.counts.events import EventCounts, IntArray
from bispik.backends.counts.host import host_operations
from bispik.backends.counts.load import step_load
from bispik.backends.counts.slices import Planner, neurons_of
from bispik.backends.counts.tally import Tally
from bispik.backends.counts.traffic import traffic
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.program import IntegerAttention, IntegerPopulation
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
        placed = [(place, part) for place, core in enumerate(mapped.neurocores) for part in core.slices]
        self.parts = [part for _, part in placed]
        self.neurocore: IntArray = np.array([place for place, _ in placed], np.int64)
        nodes = {node.name: node for node in self.program.nodes}
        self.neurons: IntArray = np.array([neurons_of(part, nodes[part.node]) for part in self.parts], np.int64)
        self.skew = [mapped.skew[part.node] for part in self.parts]
        self.spread = {a.name: a.value for a in self.program.of_kind(IntegerAttention) if self._is_spread(a.name)}
        self.values: dict[str, SpikeArray] = {}
        stored_bits = {p.name: STORED_BITS[p.neurons.spikes] for p in self.program.of_kind(IntegerPopulation)}
        planner = Planner(self.program, len(self.parts), stored_bits, set(self.spread))
        for index, (part, costs) in enumerate(zip(self.parts, traffic(mapped, placed), strict=True)):
            planner.add(index, part, nodes[part.node], costs)
        self.plan = planner.plan()

    @property
    def demands(self) -> Demands:
        """What counting needs, for a simulator that counts while it runs."""
        return self.plan.demands

    def count(self, activity: Activity) -> EventCounts:
        """Return the events of the sequence's next tokens.

        Raises:
            ValueError: if tokens were left out that these counts depend on, or came twice.
        """
        self._remember_values(activity)
        numbers = recorded(self.program, activity, self.values, self.demands)
        positions = activity.first_position + np.arange(len(activity.token_ids), dtype=np.int64)
        return self._events(numbers, positions, activity.saturations)

    def count_chunk(self, chunk: CountedChunk) -> EventCounts:
        """Return the events of tokens whose numbers were counted while they ran."""
        return self._events(chunk.table(), chunk.positions, chunk.saturations)

    def _events(self, numbers: IntArray, positions: IntArray, saturations: Mapping[str, int]) -> EventCounts:
        tally = Tally(self.plan, numbers, positions)
        tokens, steps = numbers.shape[1:]
        return EventCounts(
            neurocore=self.neurocore,
            node=tuple(part.node for part in self.parts),
            neurons=self.neurons,
            neurocores=len(self.mapped.neurocores),
            events=tally.by_slice,
            per_token=tally.by_token,
            positions=positions,
            host=host_operations(self.program, tokens),
            saturations=dict(saturations),
            load=step_load(
                np.ascontiguousarray(np.moveaxis(tally.synops, 0, 2)),
                self.neurocore,
                self.neurons,
                self.plan.constant["norm_operation"],
                self.skew,
                len(self.mapped.neurocores),
            ),
            steps=tokens * steps,
            depth=max(self.skew),
        )

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
