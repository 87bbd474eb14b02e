"""The largest of many sums for every token, without taking those that cannot be the largest."""

from __future__ import annotations

import numpy as np

from bispik.backends.counts.by_slice import IntArray

AT_ONCE = 1 << 18
"""Products that are held together: 2 MB of them, which stay in a cache."""


class Busiest:
    """Sums of numbers times whole factors, in groups of which only the largest sum is wanted."""

    def __init__(self, group: IntArray, member: IntArray, row: IntArray, factor: IntArray, groups: int) -> None:
        """Prepare.

        Args:
            group: (entries,): of each entry's sum.
            member: (entries,): which sum of the group it belongs to, any numbers.
            row: (entries,): its number's row.
            factor: (entries,): its factor.
            groups: number of groups; one without entries has the largest sum 0.
        """
        order = np.lexsort((member, group))
        self.row, self.factor = row[order], factor[order]
        begins = np.ones(len(order), np.bool_)
        begins[1:] = (np.diff(group[order]) != 0) | (np.diff(member[order]) != 0)
        self.starts: IntArray = np.flatnonzero(begins)
        """(sums,): first entry of each."""
        self.lengths: IntArray = np.diff(self.starts, append=len(order))
        self.group: IntArray = group[order][self.starts]
        self.groups = groups

    def of(self, numbers: IntArray, most: IntArray) -> IntArray:
        """Return the largest sum of each group, (groups, n).

        No sum exceeds its bound, that of each of its numbers at its largest. The sums of a group are taken in the order
        of their bounds, one, two more, four more and so on, until no bound exceeds what the largest is at least.

        Args:
            numbers: (rows, n).
            most: (rows,): the largest of each row.
        """
        result = np.zeros((self.groups, numbers.shape[1]), np.int64)
        if not len(self.starts):
            return result
        bound = np.add.reduceat(self.factor * most[self.row], self.starts)
        waiting = np.lexsort((-bound, self.group))
        first = np.searchsorted(self.group[waiting], np.arange(self.groups))
        rank = np.arange(len(waiting)) - first[self.group[waiting]]
        taken = 0
        while len(waiting):
            stop = 2 * taken + 1
            self._enter(result, waiting[rank < stop], numbers)
            left = (rank >= stop) & (bound[waiting] > result.min(axis=1)[self.group[waiting]])
            waiting, rank, taken = waiting[left], rank[left], stop
        return result

    def _enter(self, result: IntArray, sums: IntArray, numbers: IntArray) -> None:
        """Raise ``result`` to some sums."""
        at_once = max(1, AT_ONCE // numbers.shape[1])
        block = (np.cumsum(self.lengths[sums]) - self.lengths[sums]) // at_once
        for chosen in np.split(sums, np.flatnonzero(np.diff(block)) + 1):
            if not len(chosen):
                continue
            lengths = self.lengths[chosen]
            starts = np.cumsum(lengths) - lengths
            entries = np.repeat(self.starts[chosen] - starts, lengths) + np.arange(lengths.sum())
            products = numbers[self.row[entries]]
            products *= self.factor[entries, None]
            np.maximum.at(result, self.group[chosen], np.add.reduceat(products, starts))
