"""A plan of counting handed to the C++ engine, and the arrays that it counts into."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from bispik.backends.counts.by_slice import IntArray
from bispik.backends.sim import _kernels
from bispik.backends.stream.counts.plan import SPENT, PopulationPlan, ProjectionPlan, StreamPlan
from bispik.backends.stream.counts.tally import PopulationTally, StreamTally
from bispik.compiler.stream.reach import pool_size, reached_units
from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Sparse, Wiring

KINDS = 8
"""Kinds of costs in the engine."""

ClassArray = npt.NDArray[np.int32]


class NativeCounting:
    """What the engine counts on a mapping; of use to any number of sequences."""

    def __init__(self, plan: StreamPlan) -> None:
        self.plan = plan
        self.counting = _kernels.StreamCounting()
        program = plan.mapped.program
        fan_outs, classes = np.unique(plan.input_fan_out, return_inverse=True)
        self.counting.source(classes=classes.astype(np.int32), costs=_padded(fan_outs[:, None]))
        self.classes = [len(fan_outs)]
        """Of the input and of every population: what has a cost of its own."""
        self.rows: list[IntArray] = []
        """By population, (classes, 1 + SPENT): the slice, and what one spike costs."""
        for population in plan.populations:
            self._add_source(population)
        numbers = {program.input.name: 0, **{p.name: i for i, p in enumerate(program.populations, start=1)}}
        for population in plan.populations:
            _add_population(self.counting, population, numbers)

    def tally(self, steps: int) -> NativeTally:
        """Return arrays of 0 for some steps."""
        return NativeTally(self, steps)

    def _add_source(self, plan: PopulationPlan) -> None:
        of_slice = np.zeros(len(plan.spent), np.int64)
        of_slice[plan.layout.neuron] = np.repeat(np.arange(len(plan.slices)), plan.stops - plan.starts)
        rows, classes = np.unique(np.insert(plan.spent, 0, of_slice, axis=1), axis=0, return_inverse=True)
        self.counting.source(
            classes=classes.ravel().astype(np.int32) if plan.spikes else np.empty(0, np.int32),
            costs=_padded(rows[:, 1:]),
        )
        self.classes.append(len(rows))
        self.rows.append(rows)


class NativeTally:
    """Arrays that an engine counts into."""

    def __init__(self, counting: NativeCounting, steps: int) -> None:
        self.counting, populations = counting, counting.plan.populations
        self.synops: list[IntArray] = [
            np.zeros((len(p.projections), len(p.slices), steps), np.int64) for p in populations
        ]
        self.updated: list[IntArray] = [np.zeros((len(p.slices), steps), np.int64) for p in populations]
        self.costs: list[IntArray] = [np.zeros((KINDS, steps), np.int64) for _ in counting.classes]
        self.sent: list[IntArray] = [np.zeros(count, np.int64) for count in counting.classes]
        self.arrays = _kernels.StreamTally(synops=self.synops, updated=self.updated, costs=self.costs, sent=self.sent)

    def result(self, first_step: int, saturations: Mapping[str, int]) -> StreamTally:
        """Return what an engine has counted."""
        return StreamTally(
            first_step=first_step,
            input_values=int(self.costs[0][0].sum()),
            populations=tuple(self._population(index) for index in range(len(self.synops))),
            saturations=saturations,
        )

    def _population(self, index: int) -> PopulationTally:
        rows, slices = self.counting.rows[index], self.updated[index].shape[0]
        spent_by_slice = np.zeros((slices, len(SPENT)), np.int64)
        np.add.at(spent_by_slice, rows[:, 0], self.sent[index + 1][:, None] * rows[:, 1:])
        return PopulationTally(
            synops=self.synops[index],
            updated=self.updated[index],
            spent=self.costs[index + 1][: len(SPENT)],
            spent_by_slice=spent_by_slice.T,
        )


def _padded(costs: IntArray) -> IntArray:
    return np.pad(costs, ((0, 0), (0, KINDS - costs.shape[1])))


def _add_population(counting: _kernels.StreamCounting, plan: PopulationPlan, numbers: Mapping[str, int]) -> None:
    channels, area = _unit_of(plan)
    neuron = plan.layout.neuron
    # Units are numbered in the order of the layout, so that those of a slice lie beside each other.
    laid = neuron // (channels * area) * area + neuron % area
    _, first, inverse = np.unique(laid, return_index=True, return_inverse=True)
    number = np.argsort(np.argsort(first))
    runs = [
        _runs(number[inverse[start:stop]])
        for start, stop in zip(plan.starts.tolist(), plan.stops.tolist(), strict=True)
    ]
    counting.population(
        neurons=plan.stops - plan.starts,
        unit_count=len(number),
        run_starts=np.cumsum([0, *(len(part) for part in runs)], dtype=np.int64),
        runs=np.concatenate(runs),
    )
    for projection in plan.projections:
        _add_projection(counting, projection, numbers[projection.source], channels, number)


def _runs(units: IntArray) -> ClassArray:
    """Return runs of consecutive units with as many of some neurons each, (n, 3): first unit, stop, neurons."""
    held, neurons = np.unique(units, return_counts=True)
    begins = np.flatnonzero((np.diff(held, prepend=-2) != 1) | (np.diff(neurons, prepend=0) != 0))
    ends = np.append(begins[1:], len(held)) - 1
    return np.stack([held[begins], held[ends] + 1, neurons[begins]], axis=1).astype(np.int32)


def _unit_of(plan: PopulationPlan) -> tuple[int, int]:
    """Return how many channels are always reached together at a place, and how many places a channel has."""
    wirings = [p.wiring for p in plan.projections if not isinstance(p.wiring, Dense)]
    maps = [wiring for wiring in wirings if isinstance(wiring, Convolution)]
    if not maps or len(maps) < len(wirings) or any(wiring.target != maps[0].target for wiring in maps):
        return 1, 1
    channels = math.gcd(*(wiring.target[0] // wiring.groups for wiring in maps))
    return channels, maps[0].sharing


def _add_projection(
    counting: _kernels.StreamCounting, plan: ProjectionPlan, source: int, channels: int, number: IntArray
) -> None:
    wiring = plan.wiring
    pools, count = _pools(wiring)
    of_pool, fan_out_starts, fan_outs = _fan_outs(plan, count)
    if isinstance(wiring, Dense):
        pools_reaching, units = np.empty(0, np.int64), np.empty(0, np.int64)
    else:
        pools_reaching, units = reached_units(wiring, channels)
    unit_starts, order = _by_row(pools_reaching, count)
    counting.projection(
        source=source,
        delay=plan.delay,
        everywhere=isinstance(wiring, Dense),
        classes=of_pool[pools],
        fan_out_starts=fan_out_starts,
        fan_outs=fan_outs,
        pools=np.empty(0, np.int32) if count == len(pools) else pools,
        unit_starts=unit_starts,
        units=number[units[order]].astype(np.int32),
        filled=np.array([bundle.filled for bundle in plan.bundles], np.uint8),
    )


def _fan_outs(plan: ProjectionPlan, pools: int) -> tuple[ClassArray, IntArray, ClassArray]:
    """Return the class of each pool, where each class's entries start, and entries, (n, 2): slice and synapses."""
    slices = [np.full(len(bundle.fan_out), index) for index, bundle in enumerate(plan.bundles)]
    readers = [bundle.first + np.arange(len(bundle.fan_out)) for bundle in plan.bundles]
    fan_out = np.concatenate([bundle.fan_out for bundle in plan.bundles])
    held = np.flatnonzero(fan_out)
    starts, order = _by_row(np.concatenate(readers)[held], pools)
    entries = np.stack([np.concatenate(slices), fan_out], axis=1)[held][order].astype(np.int32)
    rows: dict[bytes, int] = {}
    of_pool = np.array(
        [
            rows.setdefault(entries[start:stop].tobytes(), len(rows))
            for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        ],
        np.int32,
    )
    kept = [np.frombuffer(row, np.int32).reshape(-1, 2) for row in rows]
    return of_pool, np.cumsum([0, *map(len, kept)], dtype=np.int64), np.concatenate(kept)


def _pools(wiring: Wiring) -> tuple[ClassArray, int]:
    """Return the pool of each source neuron and the number of pools."""
    source = np.arange(wiring.inputs)
    match wiring:
        case Dense():
            return np.zeros(wiring.inputs, np.int32), 1
        case OneToOne() | Sparse():
            return source.astype(np.int32), wiring.inputs
        case Convolution():
            plane = wiring.source[1] * wiring.source[2]
            pools = source // (pool_size(wiring) * plane) * plane + source % plane
            return pools.astype(np.int32), wiring.groups * plane


def _by_row(rows: IntArray, count: int) -> tuple[IntArray, IntArray]:
    """Return where each row's entries start, (count + 1,), once they are taken in an order, (n,)."""
    starts = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=count), out=starts[1:])
    return starts, np.argsort(rows, kind="stable")
