"""From a run on a mapping to event counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import Activity
from bispik.backends.counts.by_slice import IntArray
from bispik.backends.counts.chunk import CountedChunk, Demands, SpikeArray, recorded
from bispik.backends.counts.events import EventCounts
from bispik.backends.counts.host import host_operations
from bispik.backends.counts.links import LinkLoad
from bispik.backends.counts.load import Load
from bispik.backends.counts.slices import Planner, SlicePlan
from bispik.backends.counts.tally import Tally
from bispik.backends.counts.traffic import traffic
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.program import IntegerAttention, IntegerPopulation
from bispik.compiler.routes import Multicasts, routes
from bispik.compiler.shapes import STORED_BITS


def count_events(mapped: MappedProgram, activity: Activity) -> EventCounts:
    """Return the events of a run on a mapping.

    Raises:
        ValueError: if the run does not begin its sequence and the mapping spreads stored tokens over slices:
            which partial counts were sent then depends on earlier values; feed an `EventCounter` from the
            start.
    """
    return EventCounter(mapped).count(activity)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CountPlan:
    """How the events of a run on a mapping follow from counted numbers."""

    parts: SlicePlan
    node: tuple[str, ...]
    """(slices,): the node that each is a part of."""
    neurocore: IntArray
    """(slices,): index of its neurocore."""
    spread: dict[str, str]
    """Attentions whose stored tokens are spread over slices, and the populations of their values."""
    casts: Multicasts
    tally: Tally
    load: Load
    links: LinkLoad


_PLANS: WeakKeyDictionary[MappedProgram, CountPlan] = WeakKeyDictionary()


def count_plan(mapped: MappedProgram) -> CountPlan:
    """Return the plan of a mapping, made once and kept as long as the mapping is."""
    if mapped not in _PLANS:
        _PLANS[mapped] = make_plan(mapped)
    return _PLANS[mapped]


def make_plan(mapped: MappedProgram) -> CountPlan:
    """Work out the plan of a mapping; `count_plan` keeps it."""
    program = mapped.program
    placed = [(place, part) for place, core in enumerate(mapped.neurocores) for part in core.slices]
    nodes = {node.name: node for node in program.nodes}
    nodes |= {part.name: nodes[part.node] for part in mapped.parts}
    cut = {part.node for _, part in placed if (part.first_token, part.last_token) != (0, program.window)}
    spread = {a.name: a.value for a in program.of_kind(IntegerAttention) if a.name in cut}
    stored_bits = {p.name: STORED_BITS[p.neurons.spikes] for p in program.of_kind(IntegerPopulation)}
    planner = Planner(program, len(placed), stored_bits, set(spread), {part.name for part in mapped.parts})
    found = routes(mapped)
    for index, ((_, part), costs) in enumerate(zip(placed, traffic(found, placed), strict=True)):
        planner.add(index, part, nodes[part.node], costs)
    parts = planner.plan()
    neurocore = np.array([place for place, _ in placed], np.int64)
    skew = np.array([mapped.skew[part.node] for _, part in placed], np.int64)
    steps = program.steps_per_token
    load = Load(parts, neurocore, skew, steps)
    return CountPlan(
        parts=parts,
        node=tuple(part.node for _, part in placed),
        neurocore=neurocore,
        spread=spread,
        casts=found.multicasts,
        tally=Tally(parts),
        load=load,
        links=LinkLoad(mapped, found.multicasts, parts.casts, steps, load.depth),
    )


class EventCounter:
    """Counts one sequence chunk by chunk, in order; the chunks' counts add up to those of the whole."""

    def __init__(self, mapped: MappedProgram) -> None:
        self.program, self.neurocores, self.parts = mapped.program, len(mapped.neurocores), mapped.parts
        self.plan = count_plan(mapped)
        self.values: dict[str, SpikeArray] = {}

    @property
    def demands(self) -> Demands:
        """What counting needs, for a simulator that counts while it runs."""
        return self.plan.parts.demands

    @property
    def slices(self) -> int:
        """Number of slices."""
        return len(self.plan.node)

    def count(self, activity: Activity) -> EventCounts:
        """Return the events of the sequence's next tokens.

        Raises:
            ValueError: if tokens were left out that these counts depend on, or came twice.
        """
        self._remember_values(activity)
        counted = recorded(self.program, activity, self.values, self.demands, self.parts)
        positions = activity.first_position + np.arange(len(activity.token_ids), dtype=np.int64)
        return self._events(counted, positions, activity.saturations)

    def count_chunk(self, chunk: CountedChunk) -> EventCounts:
        """Return the events of tokens whose numbers were counted while they ran."""
        return self._events(chunk.table(), chunk.positions, chunk.saturations)

    def _events(
        self, counted: npt.NDArray[np.int64 | np.int32], positions: IntArray, saturations: Mapping[str, int]
    ) -> EventCounts:
        plan, tokens = self.plan, len(positions)
        numbers = plan.parts.derived.all(counted, positions)
        by_slice, by_token, whole_run = plan.tally.of(numbers)
        return EventCounts(
            neurocore=plan.neurocore,
            node=plan.node,
            neurons=plan.parts.neurons,
            neurocores=self.neurocores,
            events=by_slice,
            per_token=by_token,
            positions=positions,
            host=host_operations(self.program, tokens),
            saturations=dict(saturations),
            sent=whole_run[plan.parts.casts],
            load=plan.load.of(numbers, *plan.links.of(numbers, counted.max(axis=2).astype(np.int64))),
            steps=tokens * self.program.steps_per_token,
            depth=plan.load.depth,
        )

    def _remember_values(self, activity: Activity) -> None:
        for attention, source in self.plan.spread.items():
            new = activity.outputs[source].astype(np.int8)
            earlier = self.values[attention] if attention in self.values else new[:0]
            if len(earlier) != activity.first_position:
                raise ValueError(
                    f"{attention}: its stored tokens are spread over neurocores; count the sequence from its start, "
                    f"in order: token {len(earlier)} comes next, not {activity.first_position}"
                )
            self.values[attention] = np.concatenate([earlier, new])
