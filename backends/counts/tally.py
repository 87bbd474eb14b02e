"""Events of consecutive tokens, from counted numbers."""

from __future__ import annotations

import numpy as np

from bispik.backends.counts.by_slice import IntArray
from bispik.backends.counts.events import EVENTS, Event
from bispik.backends.counts.linear import Groups, LinearSums
from bispik.backends.counts.slices import SlicePlan

ACTIVE, INACTIVE = EVENTS.index("update_active"), EVENTS.index("update_inactive")


class Tally:
    """Enters events by slice and by token."""

    def __init__(self, plan: SlicePlan) -> None:
        terms, slices = plan.terms, len(plan.neurons)
        self.by_slice = LinearSums(terms.event * slices + terms.part, terms.row, terms.factor)
        weights = np.zeros((len(EVENTS), plan.rows), np.int64)
        np.add.at(weights, (terms.event, terms.row), terms.factor)
        # Many numbers are worth the same events: their sum is taken first.
        worth, of_row = np.unique(weights, axis=1, return_inverse=True)
        self.alike = Groups(of_row.ravel())
        self.over_slices: IntArray = worth[:, self.alike.keys]
        self.every_step: IntArray = np.zeros((len(EVENTS), slices), np.int64)
        for event, each in plan.constant.items():
            self.every_step[EVENTS.index(event)] = each
        self.neurons = plan.neurons

    def of(self, numbers: IntArray) -> tuple[dict[Event, IntArray], dict[Event, IntArray], IntArray]:
        """Return events by slice (slices,) and by token (n,), of numbers (rows, T, n), and their sums (rows,)."""
        _, steps, tokens = numbers.shape
        per_token = numbers.sum(axis=1)
        whole_run = per_token.sum(axis=1)
        by_slice = self.every_step * (tokens * steps)
        by_slice.ravel()[self.by_slice.keys] += self.by_slice.of(whole_run)
        by_slice[INACTIVE] = self.neurons * (tokens * steps) - by_slice[ACTIVE]
        by_token = np.repeat(self.every_step.sum(axis=1)[:, None] * steps, tokens, axis=1)
        by_token += self.over_slices @ self.alike.fold(np.add, per_token[self.alike.order])
        by_token[INACTIVE] = self.neurons.sum() * steps - by_token[ACTIVE]
        return dict(zip(EVENTS, by_slice, strict=True)), dict(zip(EVENTS, by_token, strict=True)), whole_run
