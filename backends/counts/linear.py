"""Sums over groups of numbers, many columns at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from bispik.backends.counts.events import IntArray


class Groups:
    """Entries that belong together: taken first entries first, then all second ones, ..., each a run of whole rows."""

    def __init__(self, group: IntArray) -> None:
        """Prepare.

        Args:
            group: (entries,), of each entry.
        """
        keys, group_of, length = np.unique(group, return_inverse=True, return_counts=True)
        largest_first = np.argsort(-length, kind="stable")
        self.keys: IntArray = keys[largest_first]
        """(groups,), in the order of what `fold` returns."""
        place = np.argsort(largest_first)
        by_group = np.argsort(group_of, kind="stable")
        rank = np.arange(len(group)) - np.repeat(np.cumsum(length) - length, length)
        self.order: IntArray = by_group[np.lexsort((place[group_of[by_group]], rank))]
        """(entries,): in which `fold` takes them."""
        self._widths: list[int] = np.bincount(rank).tolist()

    def fold(self, operation: np.ufunc, ordered: IntArray) -> IntArray:
        """Return (groups, ...) of entries (entries, ...) that stand in ``order``; they are overwritten."""
        start = len(self.keys)
        folded = ordered[:start]
        for width in self._widths[1:]:
            operation(folded[:width], ordered[start : start + width], out=folded[:width])
            start += width
        return folded


class LinearSums:
    """A sparse matrix: sums of some rows of numbers, each times a whole factor."""

    def __init__(self, wanted: IntArray, row: IntArray, factor: IntArray) -> None:
        """Prepare.

        Args:
            wanted: (entries,): to which sum each belongs.
            row: (entries,): its row.
            factor: (entries,): its factor.
        """
        self.groups = Groups(wanted)
        self.row, self.factor = row[self.groups.order], factor[self.groups.order]

    @property
    def keys(self) -> IntArray:
        """(sums,): which they are, in the order of what `of` returns; a sum without entries is not among them."""
        return self.groups.keys

    def of(self, numbers: IntArray) -> IntArray:
        """Return (sums, ...) of numbers (rows, ...)."""
        shape: tuple[Any, ...] = (-1, *[1] * (numbers.ndim - 1))
        return self.groups.fold(np.add, numbers[self.row] * self.factor.reshape(shape))
