"""The busiest neurocore and norm of every time step, kept so that any profile can turn it into seconds."""

from __future__ import annotations

import numpy as np

from bispik.backends.counts.by_slice import IntArray
from bispik.backends.counts.events import EVENTS, SYNOPS, StepLoad
from bispik.backends.counts.linear import Groups, LinearSums
from bispik.backends.counts.slices import SlicePlan


class Load:
    """Finds the largest number of synops that a neurocore has in a step.

    Neurocores with as many neurons whose slices are sums of the same numbers, equally far behind the injection, have as
    many synops in every step: one of them stands for all. The work of one step is split by how far behind it lies: a
    *share* is what the slices of one neurocore with one skew do.
    """

    def __init__(self, plan: SlicePlan, neurocore: IntArray, skew: IntArray, steps: int) -> None:
        """Prepare.

        Args:
            plan: of the slices.
            neurocore: (slices,), index of its neurocore.
            skew: (slices,), steps behind the injection.
            steps: T.
        """
        self.depth, self.steps = int(skew.max(initial=0)), steps
        span = steps + self.depth
        updates = np.zeros(int(neurocore.max(initial=-1)) + 1, np.int64)
        np.add.at(updates, neurocore, plan.neurons)
        self.updates, size = np.unique(updates, return_inverse=True)
        norms = plan.constant["norm_operation"]
        self.norms: IntArray = np.zeros(span, np.int64)
        for now in range(span):
            self.norms[now] = norms[(skew <= now) & (now < skew + steps)].max(initial=0)

        core, delay, row, factor = _synops(plan, neurocore, skew, size)
        self.shares = LinearSums(core * span + delay, row, factor)
        core, delay = self.shares.keys // span, self.shares.keys % span
        self.at_once = Groups(core)
        self.busiest = Groups(size[self.at_once.keys])
        step = delay[:, None] + np.arange(steps)
        self.working = Groups((step + span * core[:, None]).ravel())
        core, step = self.working.keys // span, self.working.keys % span
        self.busiest_by_step = Groups(step * len(self.updates) + size[core])

    def of(self, numbers: IntArray, links_pipelined: IntArray, links_sequential: IntArray) -> StepLoad:
        """Return the load of each step, of numbers (rows, T, n), with that of the links."""
        tokens, groups = numbers.shape[2], len(self.updates)
        shares = self.shares.of(numbers)
        by_step = shares.reshape(-1, tokens)
        work = self.at_once.fold(np.add, shares[self.at_once.order])
        pipelined = np.zeros((tokens, self.steps, groups), np.int64)
        busiest = self.busiest.fold(np.maximum, work[self.busiest.order])
        pipelined[:, :, self.busiest.keys] = busiest.transpose(2, 1, 0)
        work = self.working.fold(np.add, by_step[self.working.order])
        sequential = np.zeros((tokens, (self.steps + self.depth) * groups), np.int64)
        busiest = self.busiest_by_step.fold(np.maximum, work[self.busiest_by_step.order])
        sequential[:, self.busiest_by_step.keys] = busiest.T
        return StepLoad(
            updates=self.updates,
            pipelined=pipelined,
            sequential=sequential.reshape(tokens, -1, groups),
            norms=self.norms,
            links_pipelined=links_pipelined,
            links_sequential=links_sequential,
        )


def _synops(
    plan: SlicePlan, neurocore: IntArray, skew: IntArray, size: IntArray
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Return neurocore, skew, row and factor of all terms that are synops, of one neurocore among equal ones."""
    terms = plan.terms
    synops = np.flatnonzero(np.isin(terms.event, [EVENTS.index(event) for event in SYNOPS.values()]))
    part = terms.part[synops]
    found = np.stack([neurocore[part], skew[part], terms.row[synops], terms.factor[synops]])
    found = found[:, np.lexsort(found[::-1])]
    cores = np.unique(found[0])
    starts, stops = np.searchsorted(found[0], cores), np.searchsorted(found[0], cores, side="right")
    # The last one of equal neurocores stays.
    alike = {(size[c], found[1:, i:k].tobytes()): c for c, i, k in zip(cores, starts, stops, strict=True)}
    core, delay, row, factor = found[:, np.isin(found[0], list(alike.values()))]
    return core, delay, row, factor
