"""Events of consecutive tokens, from counted numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.counts.events import EVENTS, Event, IntArray
from bispik.backends.counts.linear import LinearSums
from bispik.backends.counts.slices import SlicePlan

EXACT = 1 << 53
"""Whole numbers up to here are exact in float64."""

ACTIVE, INACTIVE = EVENTS.index("update_active"), EVENTS.index("update_inactive")


class Tally:
    """Enters events by slice and by token."""

    def __init__(self, plan: SlicePlan) -> None:
        terms, slices = plan.terms, len(plan.neurons)
        self.by_slice = LinearSums(terms.event * slices + terms.part, terms.row, terms.factor)
        self.over_slices: npt.NDArray[np.float64] = np.zeros((len(EVENTS), plan.rows))
        np.add.at(self.over_slices, (terms.event, terms.row), terms.factor)
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
        # Whole numbers, none negative: if their sum is exact, so is every sum on the way to it.
        sums = self.over_slices @ per_token.astype(np.float64)
        assert sums.max(initial=0) < EXACT
        by_token = sums.astype(np.int64) + (self.every_step.sum(axis=1) * steps)[:, None]
        by_token[INACTIVE] = self.neurons.sum() * steps - by_token[ACTIVE]
        return dict(zip(EVENTS, by_slice, strict=True)), dict(zip(EVENTS, by_token, strict=True))
