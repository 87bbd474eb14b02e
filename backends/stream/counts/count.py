"""From a run of a stream program on a mapping to event counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bispik.backends.stream.activity import StreamActivity
from bispik.backends.stream.counts.events import (
    STREAM_EVENTS,
    STREAM_GRADED,
    STREAM_SYNOPS,
    IntArray,
    StreamCounts,
    StreamEvent,
    StreamHostOperation,
    StreamLoad,
)
from bispik.backends.stream.counts.plan import COSTS, FloatArray, PopulationPlan, input_fan_out, plan_populations
from bispik.compiler.stream.mapping import MappedStream
from bispik.compiler.stream.reach import BoolArray, pooled, reached

NUMBERS_AT_ONCE = 1 << 22
"""Outputs, over all nodes and steps, that are counted together: 32 MB of them."""


def count_stream(mapped: MappedStream, activity: StreamActivity) -> StreamCounts:
    """Return the events of a run on a mapping.

    Raises:
        ValueError: if the run does not begin its sequence and a projection has a delay: what arrives then depends on
            earlier steps; feed a `StreamCounter` from the start.
    """
    return StreamCounter(mapped).count(activity)


class StreamCounter:
    """Counts sequences, one after the other and each in order; the counts of its steps add up to those of the whole."""

    def __init__(self, mapped: MappedStream) -> None:
        self.mapped, self.program = mapped, mapped.program
        placed = [(place, part) for place, core in enumerate(mapped.neurocores) for part in core.slices]
        self.parts = [part for _, part in placed]
        self.neurocore: IntArray = np.array([place for place, _ in placed], np.int64)
        self.neurons: IntArray = np.array([part.stop - part.start for part in self.parts], np.int64)
        self.populations = plan_populations(mapped, self.parts)
        self.input_fan_out = input_fan_out(mapped)
        self.longest = max(entry.delay for plan in self.populations for entry in plan.projections)
        self.next_step = 0
        self.past: dict[str, BoolArray] = {}

    def count(self, activity: StreamActivity) -> StreamCounts:
        """Return the events of the sequence's next steps, or of the first steps of another one.

        Raises:
            ValueError: if steps were left out on which these counts depend, or came twice.
        """
        self._expect(activity.first_step)
        sent = {self.program.input.name: activity.input, **activity.sent}
        steps, begins = len(activity.input), activity.first_step == 0
        if begins or self.longest == 0:
            self.past = {name: np.zeros((self.longest, values.shape[1]), np.bool_) for name, values in sent.items()}
        at_once = max(1, NUMBERS_AT_ONCE // sum(values.shape[1] for values in sent.values()))
        blocks: list[StreamCounts] = []
        for first in range(0, steps, at_once):
            known = {
                name: np.concatenate([self.past[name], values[first : first + at_once] != 0])
                for name, values in sent.items()
            }
            blocks.append(self._counts(_Block(known, self.longest)))
            self.past = {name: rows[len(rows) - self.longest :] for name, rows in known.items()}
        self.next_step = activity.first_step + steps
        total, *others = blocks
        for block in others:
            total = total + block
        return replace(total, sequences=int(begins), saturations=dict(activity.saturations))

    def _expect(self, first_step: int) -> None:
        if first_step not in (0, self.next_step) and self.longest:
            raise ValueError(
                f"a projection has a delay: count a sequence from its start, in order: step {self.next_step} comes "
                f"next, not {first_step}"
            )

    def _counts(self, block: _Block) -> StreamCounts:
        tally = _Tally(len(self.parts), block.steps)
        for plan in self.populations:
            tally.population(plan, block)
        return StreamCounts(
            neurocore=self.neurocore,
            node=tuple(part.node for part in self.parts),
            neurons=self.neurons,
            neurocores=len(self.mapped.neurocores),
            events=tally.by_slice,
            per_step=tally.by_step,
            host=self._host(block),
            saturations={plan.name: 0 for plan in self.populations},
            load=self._load(tally.synops),
            sequences=0,
            depth=max(self.mapped.skew.values()),
        )

    def _host(self, block: _Block) -> dict[StreamHostOperation, int]:
        output = next(plan for plan in self.populations if plan.name == self.program.output)
        now = block.now(output.name)
        return {
            "input_values": _whole(block.now(self.program.input.name).sum(axis=0) @ self.input_fan_out),
            "output_spikes": int(now.sum()) if output.spikes else 0,
            "output_membranes": 0 if output.spikes else now.size,
        }

    def _load(self, synops: IntArray) -> StreamLoad:
        """(steps, slices) to the largest of a neurocore by number of neurons; slices stand neurocore by neurocore."""
        first = np.flatnonzero(np.diff(self.neurocore, prepend=-1))
        by_neurocore = np.add.reduceat(synops, first, axis=1)
        sizes, group = np.unique(np.add.reduceat(self.neurons, first), return_inverse=True)
        order = np.argsort(group, kind="stable")
        starts = np.searchsorted(group[order], np.arange(len(sizes)))
        return StreamLoad(updates=sizes, synops=np.maximum.reduceat(by_neurocore[:, order], starts, axis=1))


class _Block:
    """What every node sent in some steps, and in those before them that a delay can look back to."""

    def __init__(self, known: Mapping[str, BoolArray], longest: int) -> None:
        self.known, self.longest = known, longest
        self.steps = len(next(iter(known.values()))) - longest
        self._arrived: dict[tuple[str, int], FloatArray] = {}

    def now(self, node: str) -> BoolArray:
        """(steps, size): what was sent in these steps."""
        return self.known[node][self.longest :]

    def arriving(self, node: str, delay: int) -> BoolArray:
        """(steps, size): what was sent ``delay`` steps before."""
        first = self.longest - delay
        return self.known[node][first : first + self.steps]

    def numbers(self, node: str, delay: int) -> FloatArray:
        """The same as 0.0 and 1.0."""
        key = (node, delay)
        if key not in self._arrived:
            self._arrived[key] = self.arriving(node, delay).astype(np.float64)
        return self._arrived[key]


class _Tally:
    """Numbers of events by slice and by step, and of synops by both."""

    def __init__(self, slices: int, steps: int) -> None:
        self.by_slice: dict[StreamEvent, IntArray] = {event: np.zeros(slices, np.int64) for event in STREAM_EVENTS}
        self.by_step: dict[StreamEvent, IntArray] = {event: np.zeros(steps, np.int64) for event in STREAM_EVENTS}
        self.synops: IntArray = np.zeros((steps, slices), np.int64)

    def population(self, plan: PopulationPlan, block: _Block) -> None:
        """Enter what arrives at a population and what it sends."""
        active = np.zeros((block.steps, int(plan.stops[-1])), np.bool_)
        for projection in plan.projections:
            arriving = block.arriving(projection.source, projection.delay)
            numbers = block.numbers(projection.source, projection.delay)
            active |= reached(projection.wiring, arriving)
            arrivals = pooled(projection.wiring, numbers)
            for bundle, start, stop in zip(projection.bundles, plan.starts.tolist(), plan.stops.tolist(), strict=True):
                met = arrivals[:, bundle.first : bundle.first + len(bundle.fan_out)]
                synops = _rounded(met @ bundle.fan_out)
                self.synops[:, bundle.slice] += synops
                self._enter(STREAM_SYNOPS[bundle.format], bundle.slice, synops)
                if projection.graded:
                    self._enter(STREAM_GRADED[bundle.format], bundle.slice, synops)
                if bundle.filled:
                    active[:, plan.layout.rows(start, stop)] |= (synops > 0)[:, None]
        updated = self._by_slice(plan, active)
        self._enter_all("update_active", plan, updated)
        self._enter_all("update_inactive", plan, plan.stops - plan.starts - updated)
        if plan.spikes:
            self._spikes(plan, block)

    def _spikes(self, plan: PopulationPlan, block: _Block) -> None:
        spikes = block.now(plan.name)
        self._enter_all("spike", plan, self._by_slice(plan, spikes))
        by_neuron = (plan.costs * spikes.sum(axis=0)[:, None])[plan.layout.neuron]
        by_slice = _rounded(np.add.reduceat(by_neuron, plan.starts, axis=0))
        by_step = _rounded(block.numbers(plan.name, 0) @ plan.costs)
        for place, event in enumerate(COSTS):
            self.by_slice[event][plan.slices] += by_slice[:, place]
            self.by_step[event] += by_step[:, place]

    def _enter(self, event: StreamEvent, index: int, counts: IntArray) -> None:
        self.by_slice[event][index] += counts.sum()
        self.by_step[event] += counts

    def _enter_all(self, event: StreamEvent, plan: PopulationPlan, counts: IntArray) -> None:
        """Enter events of all slices of a population, (steps, m)."""
        self.by_slice[event][plan.slices] += counts.sum(axis=0)
        self.by_step[event] += counts.sum(axis=1)

    def _by_slice(self, plan: PopulationPlan, flags: BoolArray) -> IntArray:
        """(steps, size) to how many of each slice are set, (steps, m)."""
        laid = flags[:, plan.layout.neuron] if plan.layout.reordered else flags
        counts: IntArray = np.add.reduceat(laid, plan.starts, axis=1, dtype=np.int64)
        return counts


def _rounded(values: FloatArray) -> IntArray:
    """Whole numbers that were added up as floating-point ones, which hold them exactly up to 2^53."""
    return np.rint(values).astype(np.int64)


def _whole(value: float) -> int:
    return round(value)
