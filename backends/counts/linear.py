"""Sums of counted numbers, each times a whole number, into slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bispik.backends.counts.events import IntArray


class LinearSums:
    """For each slice: the sum over its entries of factor * number in that row."""

    def __init__(self, entries: Sequence[tuple[int, int, int]], slices: int, rows: int) -> None:
        """Prepare.

        Args:
            entries: slice, row and factor, in any order.
            slices: number of slices.
            rows: number of rows.
        """
        table = np.array(sorted(entries), np.int64).reshape(-1, 3)
        self.slices, self.row, self.factor = slices, table[:, 1], table[:, 2]
        self.slice_of = table[:, 0]
        self.filled, self.first = np.unique(self.slice_of, return_index=True)
        self.weight: IntArray = np.zeros(rows, np.int64)
        np.add.at(self.weight, self.row, self.factor)

    def by_slice(self, totals: IntArray) -> IntArray:
        """Return (slices,) of numbers (rows,)."""
        sums = np.zeros(self.slices, np.int64)
        np.add.at(sums, self.slice_of, totals[self.row] * self.factor)
        return sums

    def over_slices(self, numbers: IntArray) -> IntArray:
        """Return (n,), the sum over all slices, of numbers (rows, n)."""
        sums: IntArray = self.weight @ numbers
        return sums

    def each(self, numbers: IntArray) -> IntArray:
        """Return (slices, n, T) of numbers (rows, n, T)."""
        sums = np.zeros((self.slices, *numbers.shape[1:]), np.int64)
        if len(self.filled):
            picked = numbers[self.row] * self.factor[:, None, None]
            sums[self.filled] = np.add.reduceat(picked, self.first, axis=0)
        return sums
