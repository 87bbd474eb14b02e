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
        neurocore: (slices,), index of its neurocore.
        neurons: (slices,), neurons updated per step.
        norms: (slices,), norm operations per step.
        skew: (slices,), steps behind the injection.
        neurocores: number of neurocores.
    """
    tokens, steps, _ = synops.shape
    depth = max(skew, default=0)
    updates = np.zeros(neurocores, np.int64)
    np.add.at(updates, neurocore, neurons)
    groups = _Groups(updates)
    pipelined = np.empty((tokens, steps, len(groups.sizes)), np.int64)
    for step in range(steps):
        pipelined[:, step] = groups.largest(_by_neurocore(synops[:, step], neurocore, neurocores))
    sequential = np.empty((tokens, steps + depth, len(groups.sizes)), np.int64)
    delays = np.asarray(skew, np.int64)
    largest_norm = np.zeros(steps + depth, np.int64)
    for step in range(steps + depth):
        working = np.flatnonzero((delays <= step) & (step < delays + steps))
        at_work = synops[:, step - delays[working], working]
        sequential[:, step] = groups.largest(_by_neurocore(at_work, neurocore[working], neurocores))
        largest_norm[step] = norms[working].max(initial=0)
    return StepLoad(updates=groups.sizes, pipelined=pipelined, sequential=sequential, norms=largest_norm)


class _Groups:
    """Neurocores by the number of neurons that they update."""

    def __init__(self, updates: IntArray) -> None:
        self.order = np.argsort(updates, kind="stable")
        self.sizes, self.starts = np.unique(updates[self.order], return_index=True)

    def largest(self, synops: IntArray) -> IntArray:
        """(tokens, neurocores) to (tokens, groups)."""
        largest: IntArray = np.maximum.reduceat(synops[:, self.order], self.starts, axis=1)
        return largest


def _by_neurocore(synops: IntArray, neurocore: IntArray, neurocores: int) -> IntArray:
    """(tokens, slices) to (tokens, neurocores)."""
    sums = np.zeros((neurocores, len(synops)), np.int64)
    np.add.at(sums, neurocore, synops.T)
    return sums.T
