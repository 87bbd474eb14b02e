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
    tokens, steps, slices = synops.shape
    depth = max(skew, default=0)
    updates = np.zeros(neurocores, np.int64)
    np.add.at(updates, neurocore, neurons)
    groups = _Groups(neurocore, updates)
    delays = np.asarray(skew, np.int64)
    pipelined = groups.largest(synops)
    sequential = np.empty((tokens, steps + depth, len(groups.sizes)), np.int64)
    together = max(1, ENTRIES_AT_ONCE // ((steps + depth) * max(1, slices)))
    for first in range(0, tokens, together):
        some = synops[first : first + together]
        at_work = np.zeros((len(some), steps + depth, slices), np.int64)
        for delay in np.unique(delays):
            working = np.flatnonzero(delays == delay)
            at_work[:, delay : delay + steps, working] = some[:, :, working]
        sequential[first : first + together] = groups.largest(at_work)
    largest_norm = np.zeros(steps + depth, np.int64)
    for step in range(steps + depth):
        working = (delays <= step) & (step < delays + steps)
        largest_norm[step] = norms[working].max(initial=0)
    return StepLoad(updates=groups.sizes, pipelined=pipelined, sequential=sequential, norms=largest_norm)


ENTRIES_AT_ONCE = 1 << 21
"""Numbers that are held at once for tokens that travel alone: 16 MB."""


class _Groups:
    """Neurocores that hold slices, by the number of neurons that they update."""

    def __init__(self, neurocore: IntArray, updates: IntArray) -> None:
        used, self.first_slice = np.unique(neurocore, return_index=True)
        updates = updates[used]
        self.order = np.argsort(updates, kind="stable")
        self.sizes, self.starts = np.unique(updates[self.order], return_index=True)

    def largest(self, synops: IntArray) -> IntArray:
        """(tokens, steps, slices) to (tokens, steps, groups)."""
        by_neurocore = np.add.reduceat(synops, self.first_slice, axis=2)
        largest: IntArray = np.maximum.reduceat(by_neurocore[..., self.order], self.starts, axis=2)
        return largest
