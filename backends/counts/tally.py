"""Events of consecutive tokens, from counted numbers."""

from __future__ import annotations

import numpy as np

from bispik.backends.counts.events import EVENTS, Event, IntArray
from bispik.backends.counts.slices import AttentionSlice, CountPlan


class Tally:
    """Numbers of events by slice and by token, and of synops by time step as well."""

    def __init__(self, plan: CountPlan, numbers: IntArray, positions: IntArray) -> None:
        """Enter the events of n tokens.

        Args:
            plan: of the mapping.
            numbers: (rows, n, T).
            positions: of the tokens, (n,).
        """
        slices, (_, tokens, steps) = len(plan.neurons), numbers.shape
        self.by_slice: dict[Event, IntArray] = {event: np.zeros(slices, np.int64) for event in EVENTS}
        self.by_token: dict[Event, IntArray] = {event: np.zeros(tokens, np.int64) for event in EVENTS}
        by_token = numbers.sum(axis=2)
        totals = by_token.sum(axis=1)
        for event, sums in plan.linear.items():
            self.by_slice[event] += sums.by_slice(totals)
            self.by_token[event] += sums.over_slices(by_token)
        for event, each in plan.constant.items():
            self.by_slice[event] += each * (tokens * steps)
            self.by_token[event] += each.sum() * steps
        self.synops = plan.synops.each(numbers)
        """(slices, n, T)"""
        self._updates(plan, numbers)
        for part in plan.attentions:
            self._attention(part, numbers, positions)

    def _enter(self, index: int, event: Event, counts: IntArray) -> None:
        """Enter events of one slice, given as (n,)."""
        self.by_slice[event][index] += counts.sum()
        self.by_token[event] += counts

    def _updates(self, plan: CountPlan, numbers: IntArray) -> None:
        """Every neuron of a slice is updated in every step; those that something reached are active."""
        _, tokens, steps = numbers.shape
        active = plan.one_to_one.each(numbers)
        reached = plan.dense.each(numbers) > 0
        reached[plan.always_reached] = True
        active = np.where(reached, plan.neurons[:, None, None], active)
        self.by_slice["update_active"] += active.sum(axis=(1, 2))
        self.by_token["update_active"] += active.sum(axis=(0, 2))
        self.by_slice["update_inactive"] += plan.neurons * (tokens * steps) - active.sum(axis=(1, 2))
        self.by_token["update_inactive"] += plan.neurons.sum() * steps - active.sum(axis=(0, 2))

    def _attention(self, part: AttentionSlice, numbers: IntArray, positions: IntArray) -> None:
        """Synops, updates, spikes and stored bits of whole heads over a range of stored tokens."""
        steps = numbers.shape[2]
        stored = (np.clip(positions + 1, part.first, part.last) - part.first)[:, None]
        queries, spikes = numbers[part.queries], numbers[part.scores]
        score_synops, scores = queries.sum(axis=0) * stored, spikes.sum(axis=0)
        value_synops = scores * part.depth
        active = (queries > 0).sum(axis=0) * stored + (spikes > 0).sum(axis=0) * part.depth
        self.synops[part.index] += score_synops + value_synops
        self._enter(part.index, "synop_score", score_synops.sum(axis=1))
        self._enter(part.index, "synop_value", value_synops.sum(axis=1))
        self._enter(part.index, "update_active", active.sum(axis=1))
        self._enter(part.index, "update_inactive", part.neurons * steps - active.sum(axis=1))
        for event in ("spike", "message", "message_local"):  # a score spike's only destination is its own neurocore
            self._enter(part.index, event, scores.sum(axis=1))
        written = (part.first <= positions) & (positions < part.last)
        bits = (part.key_bits + part.value_bits) * part.rows * steps
        self._enter(part.index, "kv_bit_written", written.astype(np.int64) * bits)
        read = score_synops * part.key_bits + value_synops * part.value_bits
        self._enter(part.index, "kv_bit_read", read.sum(axis=1))
