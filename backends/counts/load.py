"""The busiest neurocore and norm of every time step, kept so that any profile can turn it into seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bispik.backends.counts.events import IntArray, StepLoad


def step_load(
    synops: IntArray,
    neurocore: IntArray,
    neurons: IntArray,
    norms: IntArray,
    skew: Sequence[int],
    neurocores: int,
) -> StepLoad:
    """Return the load of each step.

    Args:
        synops: (tokens, T, slices), by logical step.
        neurocore: (slices,), index of its neurocore, ascending.
        neurons: (slices,), neurons updated per step.
        norms: (slices,), norm operations per step.
        skew: (slices,), steps behind the injection.
        neurocores: number of neurocores.
    """
    tokens, steps, _ = synops.shape
    depth = max(skew, default=0)
    delays = np.asarray(skew, np.int64)
    work = _Work(neurocore, neurons, delays, neurocores)
    by_delay = work.by_neurocore_and_delay(synops)
    sequential = np.zeros((tokens, steps + depth, len(work.sizes)), np.int64)
    largest_norm = np.zeros(steps + depth, np.int64)
    for step in range(steps + depth):
        at_work = np.flatnonzero((work.delay <= step) & (step < work.delay + steps))
        if len(at_work):
            groups, largest = work.largest(by_delay[:, step - work.delay[at_work], at_work], at_work)
            sequential[:, step, groups] = largest
        working = (delays <= step) & (step < delays + steps)
        largest_norm[step] = norms[working].max(initial=0)
    every = np.arange(len(work.delay))
    pipelined = np.zeros((tokens, steps, len(work.sizes)), np.int64)
    for step in range(steps):
        groups, largest = work.largest(by_delay[:, step], every)
        pipelined[:, step, groups] = largest
    return StepLoad(updates=work.sizes, pipelined=pipelined, sequential=sequential, norms=largest_norm)


class _Work:
    """What neurocores do together: the slices of one neurocore that are equally far behind the injection."""

    def __init__(self, neurocore: IntArray, neurons: IntArray, delays: IntArray, neurocores: int) -> None:
        self.order = np.lexsort((delays, neurocore))
        pairs = np.stack([neurocore[self.order], delays[self.order]])
        changes = np.flatnonzero((pairs[:, 1:] != pairs[:, :-1]).any(axis=0)) + 1
        self.first = np.concatenate([[0], changes])
        self.neurocore, self.delay = pairs[:, self.first]
        updates = np.zeros(neurocores, np.int64)
        np.add.at(updates, neurocore, neurons)
        self.sizes, self.group = np.unique(updates, return_inverse=True)

    def by_neurocore_and_delay(self, synops: IntArray) -> IntArray:
        """(tokens, T, slices) to (tokens, T, entries)."""
        sums: IntArray = np.add.reduceat(synops[..., self.order], self.first, axis=2)
        return sums

    def largest(self, synops: IntArray, entries: IntArray) -> tuple[IntArray, IntArray]:
        """Of (tokens, entries): the largest sum of a neurocore by number of neurons, and which numbers these are."""
        used, first = np.unique(self.neurocore[entries], return_index=True)
        by_neurocore = np.add.reduceat(synops, first, axis=1)
        order = np.argsort(self.group[used], kind="stable")
        groups, starts = np.unique(self.group[used][order], return_index=True)
        largest: IntArray = np.maximum.reduceat(by_neurocore[:, order], starts, axis=1)
        return groups, largest
