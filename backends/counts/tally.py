"""Events of consecutive tokens, from counted numbers."""

from __future__ import annotations

import numpy as np

from bispik.backends.counts.events import EVENTS, Event, IntArray
from bispik.backends.counts.linear import LinearSums
from bispik.backends.counts.slices import SlicePlan

ACTIVE, INACTIVE = EVENTS.index("update_active"), EVENTS.index("update_inactive")


class Tally:
    """Enters events by slice and by token."""

    def __init__(self, plan: SlicePlan) -> None:
        terms, slices = plan.terms, len(plan.neurons)
        self.by_slice = LinearSums(terms.event * slices + terms.part, terms.row, terms.factor)
        term, merged = np.unique(np.stack([terms.event, terms.row]), axis=1, return_inverse=True)
        factor = np.zeros(term.shape[1], np.int64)
        np.add.at(factor, merged.ravel(), terms.factor)
        self.over_slices = LinearSums(term[0], term[1], factor)
        self.every_step: IntArray = np.zeros((len(EVENTS), slices), np.int64)
        for event, each in plan.constant.items():
            self.every_step[EVENTS.index(event)] = each
        self.neurons = plan.neurons

    def of(self, numbers: IntArray) -> tuple[dict[Event, IntArray], dict[Event, IntArray]]:
        """Return events by slice (slices,) and by token (n,), of numbers (rows, T, n)."""
        _, steps, tokens = numbers.shape
        per_token = numbers.sum(axis=1)
        by_slice = self.every_step * (tokens * steps)
        by_slice.ravel()[self.by_slice.keys] += self.by_slice.of(per_token.sum(axis=1))
        by_slice[INACTIVE] = self.neurons * (tokens * steps) - by_slice[ACTIVE]
        by_token = np.repeat(self.every_step.sum(axis=1)[:, None] * steps, tokens, axis=1)
        by_token[self.over_slices.keys] += self.over_slices.of(per_token)
        by_token[INACTIVE] = self.neurons.sum() * steps - by_token[ACTIVE]
        return dict(zip(EVENTS, by_slice, strict=True)), dict(zip(EVENTS, by_token, strict=True))
