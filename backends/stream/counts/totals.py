"""From what was counted to the events of a run."""

from __future__ import annotations

import numpy as np

from bispik.backends.counts.by_slice import IntArray
from bispik.backends.stream.counts.events import (
    STREAM_EVENTS,
    STREAM_GRADED,
    STREAM_SYNOPS,
    StreamCounts,
    StreamEvent,
    StreamHostOperation,
    StreamLoad,
)
from bispik.backends.stream.counts.plan import SPENT, PopulationPlan, StreamPlan
from bispik.backends.stream.counts.tally import PopulationTally, StreamTally


def stream_counts(plan: StreamPlan, tally: StreamTally) -> StreamCounts:
    """Return the events of the steps that a tally is of."""
    events = _Events(len(plan.parts), tally.steps)
    for population, numbers in zip(plan.populations, tally.populations, strict=True):
        events.enter_population(population, numbers)
    return StreamCounts(
        neurocore=plan.neurocore,
        node=tuple(part.node for part in plan.parts),
        neurons=plan.neurons,
        neurocores=len(plan.mapped.neurocores),
        events=events.by_slice,
        per_step=events.by_step,
        host=_host(plan, tally),
        saturations=dict(tally.saturations),
        load=_load(plan, events.synops),
        sequences=int(tally.first_step == 0),
        depth=max(plan.mapped.skew.values()),
    )


class _Events:
    """Numbers of events by slice and by step, and of synops by both."""

    def __init__(self, slices: int, steps: int) -> None:
        self.by_slice: dict[StreamEvent, IntArray] = {event: np.zeros(slices, np.int64) for event in STREAM_EVENTS}
        self.by_step: dict[StreamEvent, IntArray] = {event: np.zeros(steps, np.int64) for event in STREAM_EVENTS}
        self.synops: IntArray = np.zeros((slices, steps), np.int64)

    def enter_population(self, plan: PopulationPlan, tally: PopulationTally) -> None:
        """Enter what arrived at a population and what it sent."""
        for projection, synops in zip(plan.projections, tally.synops, strict=True):
            self.synops[plan.slices] += synops
            for stored, bundles in projection.formats.items():
                arrived = synops if len(bundles) == len(plan.slices) else synops[bundles]
                by_slice, by_step = arrived.sum(axis=1), arrived.sum(axis=0)
                self._enter(STREAM_SYNOPS[stored], plan.slices[bundles], by_slice, by_step)
                if projection.graded:
                    self._enter(STREAM_GRADED[stored], plan.slices[bundles], by_slice, by_step)
        by_slice, by_step, sizes = tally.updated.sum(axis=1), tally.updated.sum(axis=0), plan.stops - plan.starts
        self._enter("update_active", plan.slices, by_slice, by_step)
        self._enter("update_inactive", plan.slices, len(by_step) * sizes - by_slice, sizes.sum() - by_step)
        if plan.sends:
            for event, spent_by_slice, spent in zip(SPENT, tally.spent_by_slice, tally.spent, strict=True):
                self._enter(event, plan.slices, spent_by_slice, spent)

    def _enter(self, event: StreamEvent, slices: IntArray, by_slice: IntArray, by_step: IntArray) -> None:
        self.by_slice[event][slices] += by_slice
        self.by_step[event] += by_step


def _host(plan: StreamPlan, tally: StreamTally) -> dict[StreamHostOperation, int]:
    program = plan.mapped.program
    place = next(i for i, population in enumerate(plan.populations) if population.name == program.output)
    spikes = plan.populations[place].spikes
    return {
        "input_values": tally.input_values,
        "output_spikes": int(tally.populations[place].spent[SPENT.index("spike")].sum()) if spikes else 0,
        "output_membranes": 0 if spikes else tally.steps * program.population(program.output).size,
    }


def _load(plan: StreamPlan, synops: IntArray) -> StreamLoad:
    """(slices, steps) to the largest of a neurocore by number of neurons; slices stand neurocore by neurocore."""
    first = np.flatnonzero(np.diff(plan.neurocore, prepend=-1))
    by_neurocore = np.add.reduceat(synops, first, axis=0)
    sizes, group = np.unique(np.add.reduceat(plan.neurons, first), return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(sizes)))
    largest = np.maximum.reduceat(by_neurocore[order], starts, axis=0)
    return StreamLoad(updates=sizes, synops=np.ascontiguousarray(largest.T))
