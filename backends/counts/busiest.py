"""The largest of many sums for every token, without taking those that cannot be the largest."""

from __future__ import annotations

import numpy as np

from bispik.backends.counts.by_slice import IntArray

AT_ONCE = 1 << 22
"""Products that are held together: 32 MB of them."""


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

    def of(self, numbers: IntArray) -> IntArray:
        """Return the largest sum of each group, (groups, n), of numbers (rows, n).

        No sum exceeds that of each of its numbers at its largest. Of each group, the sum with the largest such bound is
        taken first; then all others whose bound exceeds what that one is at least.
        """
        result = np.zeros((self.groups, numbers.shape[1]), np.int64)
        if not len(self.starts):
            return result
        bound = np.add.reduceat(self.factor * numbers.max(axis=1)[self.row], self.starts)
        by_bound = np.lexsort((-bound, self.group))
        first = by_bound[np.flatnonzero(np.diff(self.group, prepend=-1))]
        self._enter(result, first, numbers)
        others = bound > result.min(axis=1)[self.group]
        others[first] = False
        self._enter(result, np.flatnonzero(others), numbers)
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
            products = numbers[self.row[entries]] * self.factor[entries, None]
            np.maximum.at(result, self.group[chosen], np.add.reduceat(products, starts))
