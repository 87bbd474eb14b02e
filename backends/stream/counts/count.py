"""Counting of a recorded run of a stream program, on any backend; the fast simulator's engine counts by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.backends.counts.by_slice import IntArray
from bispik.backends.stream.activity import StreamActivity
from bispik.backends.stream.counts.events import StreamCounts
from bispik.backends.stream.counts.plan import FloatArray, PopulationPlan, stream_plan
from bispik.backends.stream.counts.tally import PopulationTally, StreamTally
from bispik.backends.stream.counts.totals import stream_counts
from bispik.compiler.stream.fabric import sums_of
from bispik.compiler.stream.mapping import MappedStream
from bispik.compiler.stream.reach import BoolArray, pooled, reached

AnyIntArray: TypeAlias = npt.NDArray[np.int32] | npt.NDArray[np.int64]

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
        self.program, self.plan = mapped.program, stream_plan(mapped)
        self.longest = max(entry.delay for plan in self.plan.populations for entry in plan.projections)
        self.next_step = 0
        self.past: dict[str, BoolArray] = {}
        self.sums = PartialSums(mapped)

    def count(self, activity: StreamActivity) -> StreamCounts:
        """Return the events of the sequence's next steps, or of the first steps of another one.

        Raises:
            ValueError: if steps were left out on which these counts depend, or came twice.
        """
        self._expect(activity.first_step)
        sent: dict[str, AnyIntArray] = {self.program.input.name: activity.input, **activity.sent}
        steps, begins = len(activity.input), activity.first_step == 0
        sent |= self.sums.of(sent, begins=begins)
        if begins or self.longest == 0:
            self.past = {name: np.zeros((self.longest, values.shape[1]), np.bool_) for name, values in sent.items()}
        at_once = max(1, NUMBERS_AT_ONCE // sum(values.shape[1] for values in sent.values()))
        blocks: list[StreamCounts] = []
        for first in range(0, steps, at_once):
            known = {
                name: np.concatenate([self.past[name], values[first : first + at_once] != 0])
                for name, values in sent.items()
            }
            clipped = dict.fromkeys(activity.saturations, 0) if first else activity.saturations
            tally = self._tally(_Block(known, self.longest), activity.first_step + first, clipped)
            blocks.append(stream_counts(self.plan, tally))
            self.past = {name: rows[len(rows) - self.longest :] for name, rows in known.items()}
        self.next_step = activity.first_step + steps
        total, *others = blocks
        for block in others:
            total = total + block
        return total

    def _expect(self, first_step: int) -> None:
        if first_step not in (0, self.next_step) and self.longest:
            raise ValueError(
                f"a projection has a delay: count a sequence from its start, in order: step {self.next_step} comes "
                f"next, not {first_step}"
            )

    def _tally(self, block: _Block, first_step: int, saturations: Mapping[str, int]) -> StreamTally:
        return StreamTally(
            first_step=first_step,
            input_values=int(block.now(self.program.input.name).sum(axis=0) @ self.plan.input_fan_out),
            populations=tuple(_population(plan, block) for plan in self.plan.populations),
            saturations=saturations,
        )


class PartialSums:
    """What the parts of rows send; it is part of no record, for the backends add up whole rows."""

    def __init__(self, mapped: MappedStream) -> None:
        self.program, self.parts = mapped.program, mapped.parts
        self.past: dict[str, IntArray] = {}
        """By part: what its source sent in the steps before, as many as its projection has a delay."""

    def of(self, sent: Mapping[str, AnyIntArray], *, begins: bool) -> dict[str, IntArray]:
        """Return the sums of the sequence's next steps, (steps, size), by part."""
        sums: dict[str, IntArray] = {}
        for part in self.parts:
            population, values = self.program.population(part.node), sent[part.source].astype(np.int64)
            delay = population.inputs[part.index].delay
            before = np.zeros((delay, values.shape[1]), np.int64) if begins or not delay else self.past[part.name]
            known = np.concatenate([before, values])
            self.past[part.name] = known[len(known) - delay :]
            sums[part.name] = sums_of(population, part, known[: len(values)])
        return sums


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


def _population(plan: PopulationPlan, block: _Block) -> PopulationTally:
    """Count what arrives at a population and what it sends."""
    active = np.zeros((block.steps, int(plan.stops[-1])), np.bool_)
    synops: IntArray = np.zeros((len(plan.projections), len(plan.slices), block.steps), np.int64)
    for index, projection in enumerate(plan.projections):
        active |= reached(projection.wiring, block.arriving(projection.source, projection.delay))
        arrivals = pooled(projection.wiring, block.numbers(projection.source, projection.delay))
        for place, bundle in enumerate(projection.bundles):
            met = arrivals[:, bundle.first : bundle.first + len(bundle.fan_out)]
            synops[index, place] = _rounded(met @ bundle.fan_out)
            if bundle.filled:
                rows = plan.layout.rows(int(plan.starts[place]), int(plan.stops[place]))
                active[:, rows] |= synops[index, place, :, None] > 0
    laid = active[:, plan.layout.neuron] if plan.layout.reordered else active
    spent = (plan.spent * block.now(plan.name).sum(axis=0)[:, None])[plan.layout.neuron]
    return PopulationTally(
        synops=synops,
        updated=np.add.reduceat(laid, plan.starts, axis=1, dtype=np.int64).T,
        spent=_rounded(block.numbers(plan.name, 0) @ plan.spent.astype(np.float64)).T,
        spent_by_slice=np.add.reduceat(spent, plan.starts, axis=0).T,
    )


def _rounded(values: FloatArray) -> IntArray:
    """Whole numbers that were added up as floating-point ones, which hold them exactly up to 2^53."""
    return np.rint(values).astype(np.int64)
