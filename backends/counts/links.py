"""The busiest link of every time step, kept so that any profile can turn it into seconds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bispik.backends.counts.busiest import Busiest
from bispik.backends.counts.by_slice import IntArray
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.mesh_links import Grid, Passes, passes
from bispik.compiler.routes import Multicasts, places_of

KINDS_OF_LINKS = 2
"""Links between routers of one chip, and links between chips."""


def passes_of(mapped: MappedProgram, casts: Multicasts) -> Passes:
    """Return which links the messages of each multicast pass."""
    flow = np.repeat(np.arange(len(casts.nodes)), casts.fan_out)
    return passes(Grid.of(mapped.target, mapped.system), places_of(mapped), flow, casts.sender, casts.destination)


def _different(found: Passes, grid: Grid) -> Passes:
    """Return one link of each kind among those that carry the same messages: it stands for all."""
    order = np.lexsort((found.flow, found.link))
    link, flow, times = found.link[order], found.flow[order], found.times[order]
    bounds = np.flatnonzero(np.diff(link, prepend=-1)).tolist()
    between = grid.between_chips(link[bounds]).tolist()
    parts = [slice(start, stop) for start, stop in pairwise([*bounds, len(link)])]
    alike = {(kind, flow[p].tobytes(), times[p].tobytes()): p for kind, p in zip(between, parts, strict=True)}
    kept = np.concatenate([np.empty(0, np.int64), *(np.arange(p.start, p.stop) for p in alike.values())])
    return Passes(flow=flow[kept], link=link[kept], times=times[kept])


class LinkLoad:
    """Finds the largest number of messages that one link carries in a step, of either kind of link."""

    def __init__(self, mapped: MappedProgram, casts: Multicasts, row: IntArray, steps: int, depth: int) -> None:
        """Prepare.

        Args:
            mapped: what lies where.
            casts: what is sent.
            row: (multicasts,): row of the number of outputs that each sends.
            steps: T.
            depth: largest skew of a node.
        """
        self.passes = passes_of(mapped, casts)
        self.steps, self.span = steps, steps + depth
        found = _different(self.passes, Grid.of(mapped.target, mapped.system))
        kind = Grid.of(mapped.target, mapped.system).between_chips(found.link).astype(np.int64)
        skew = np.array([mapped.skew[node] for node in casts.nodes], np.int64)[found.flow]
        step = np.arange(steps)[:, None]
        number = row[found.flow] * steps + step
        link, factor = (np.tile(values, steps) for values in (found.link, found.times))
        self.at_once, self.by_step = (
            Busiest((when * KINDS_OF_LINKS + kind).ravel(), link, number.ravel(), factor, span * KINDS_OF_LINKS)
            for when, span in ((np.broadcast_to(step, number.shape), steps), (skew + step, self.span))
        )

    def of(self, numbers: IntArray, most: IntArray) -> tuple[IntArray, IntArray]:
        """Return the loads of `StepLoad`, pipelined and sequential.

        Args:
            numbers: (rows, T, n).
            most: (counted rows, T): the largest of each number that is counted.
        """
        flat = numbers.reshape(-1, numbers.shape[2])
        pipelined, sequential = (
            busiest.of(flat, most.ravel()).T.reshape(-1, span, KINDS_OF_LINKS)
            for busiest, span in ((self.at_once, self.steps), (self.by_step, self.span))
        )
        return pipelined, sequential
