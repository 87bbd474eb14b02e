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
"""Columns of costs in the engine."""


class NativeCounting:
    """What the engine counts on a mapping; of use to any number of sequences."""

    def __init__(self, plan: StreamPlan) -> None:
        self.plan = plan
        self.counting = _kernels.StreamCounting()
        program = plan.mapped.program
        numbers = {program.input.name: 0, **{p.name: i for i, p in enumerate(program.populations, start=1)}}
        for population in plan.populations:
            _add(self.counting, population, numbers)

    def tally(self, steps: int) -> NativeTally:
        """Return arrays of 0 for some steps."""
        return NativeTally(self.plan, steps)


class NativeTally:
    """Arrays that an engine counts into."""

    def __init__(self, plan: StreamPlan, steps: int) -> None:
        program, populations = plan.mapped.program, plan.populations
        self.synops: list[IntArray] = [
            np.zeros((len(p.projections), steps, len(p.slices)), np.int64) for p in populations
        ]
        self.updated: list[IntArray] = [np.zeros((steps, len(p.slices)), np.int64) for p in populations]
        self.costs: list[IntArray] = [np.zeros((steps, KINDS), np.int64) for _ in populations]
        self.sent: list[IntArray] = [
            np.zeros(size, np.int64) for size in (program.input.size, *(p.size for p in program.populations))
        ]
        self.arrays = _kernels.StreamTally(synops=self.synops, updated=self.updated, costs=self.costs, sent=self.sent)

    def result(self, first_step: int, saturations: Mapping[str, int]) -> StreamTally:
        """Return what an engine has counted."""
        populations = zip(self.synops, self.updated, self.sent[1:], self.costs, strict=True)
        return StreamTally(
            first_step=first_step,
            input=self.sent[0],
            populations=tuple(
                PopulationTally(synops=synops, updated=updated, sent=sent, spent=costs[:, : len(SPENT)])
                for synops, updated, sent, costs in populations
            ),
            saturations=saturations,
        )


def _add(counting: _kernels.StreamCounting, plan: PopulationPlan, numbers: Mapping[str, int]) -> None:
    channels, area = _unit_of(plan)
    neuron = plan.layout.neuron
    unit = neuron // (channels * area) * area + neuron % area
    by_slice = [
        np.unique(unit[start:stop], return_counts=True)
        for start, stop in zip(plan.starts.tolist(), plan.stops.tolist(), strict=True)
    ]
    spent, ids = np.unique(plan.spent, axis=0, return_inverse=True)
    counting.population(
        neurons=plan.stops - plan.starts,
        unit_count=len(neuron) // channels,
        unit_starts=np.cumsum([0, *(len(units) for units, _ in by_slice)], dtype=np.int64),
        units=np.concatenate([units for units, _ in by_slice]).astype(np.int32),
        unit_neurons=np.concatenate([count for _, count in by_slice]).astype(np.int32),
        cost_ids=ids.ravel().astype(np.int32) if plan.spikes else np.empty(0, np.int32),
        costs=np.pad(spent, ((0, 0), (0, KINDS - len(SPENT)))),
    )
    for projection in plan.projections:
        _add_projection(counting, projection, numbers[projection.source], channels)


def _unit_of(plan: PopulationPlan) -> tuple[int, int]:
    """Return how many channels are always reached together at a place, and how many places a channel has."""
    wirings = [p.wiring for p in plan.projections if not isinstance(p.wiring, Dense)]
    maps = [wiring for wiring in wirings if isinstance(wiring, Convolution)]
    if not maps or len(maps) < len(wirings) or any(wiring.target != maps[0].target for wiring in maps):
        return 1, 1
    channels = math.gcd(*(wiring.target[0] // wiring.groups for wiring in maps))
    return channels, maps[0].sharing


def _add_projection(counting: _kernels.StreamCounting, plan: ProjectionPlan, source: int, channels: int) -> None:
    pools, count = _pools(plan.wiring)
    slices = [np.full(len(bundle.fan_out), index, np.int64) for index, bundle in enumerate(plan.bundles)]
    readers = [bundle.first + np.arange(len(bundle.fan_out)) for bundle in plan.bundles]
    fan_out = np.concatenate([bundle.fan_out for bundle in plan.bundles]).astype(np.int64)
    held = np.flatnonzero(fan_out)
    slice_starts, order = _by_pool(np.concatenate(readers)[held], count)
    none = np.empty(0, np.int64)
    everywhere = isinstance(plan.wiring, Dense)
    reaching, units = (none, none) if isinstance(plan.wiring, Dense) else reached_units(plan.wiring, channels)
    unit_starts, unit_order = _by_pool(reaching, count)
    counting.projection(
        source=source,
        delay=plan.delay,
        everywhere=everywhere,
        pool_count=count,
        pools=pools,
        slice_starts=slice_starts,
        slices=np.concatenate(slices)[held][order].astype(np.int32),
        fan_outs=fan_out[held][order],
        unit_starts=unit_starts,
        units=units[unit_order].astype(np.int32),
        filled=np.array([bundle.filled for bundle in plan.bundles], np.uint8),
    )


def _pools(wiring: Wiring) -> tuple[npt.NDArray[np.int32], int]:
    """Return the pool of each source neuron, empty if each is its own or all are in one, and the number of pools."""
    match wiring:
        case Dense():
            return np.empty(0, np.int32), 1
        case OneToOne() | Sparse():
            return np.empty(0, np.int32), wiring.inputs
        case Convolution():
            plane, source = wiring.source[1] * wiring.source[2], np.arange(wiring.inputs)
            pools = source // (pool_size(wiring) * plane) * plane + source % plane
            return pools.astype(np.int32), wiring.groups * plane


def _by_pool(pools: IntArray, count: int) -> tuple[IntArray, IntArray]:
    """Return where each pool's entries start, (count + 1,), once they are taken in an order, (n,)."""
    starts = np.cumsum([0, *np.bincount(pools, minlength=count).tolist()], dtype=np.int64)
    return starts, np.argsort(pools, kind="stable")
