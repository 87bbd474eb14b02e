"""Choosing weight scales on what the network really sees."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from bispik.compiler.float_network import blocks
from bispik.models.files import available_processors

FloatArray = npt.NDArray[np.float64]
Floats = TypeVar("Floats", npt.NDArray[np.float32], npt.NDArray[np.float64])

CLIP_CANDIDATES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
"""Shares of a row's largest weight that are tried as the end of the integer range."""

NUMBERS_AT_ONCE = 1 << 19
"""So many weights are looked at together: 4 MB of them in double precision."""


def largest_integer(bits: int) -> int:
    """Largest magnitude of a symmetric weight of that many bits: 127, 63, ..., 1; binary weights are -1 or +1."""
    return max(1, (1 << (bits - 1)) - 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """A matrix of which some rows are looked at together, in double precision."""

    shape: tuple[int, int]
    some: Callable[[slice], FloatArray]
    """Returns the rows of a slice, (rows, inputs)."""

    @classmethod
    def of(cls, weight: FloatArray) -> Rows:
        """A matrix in memory."""
        return cls(shape=(weight.shape[0], weight.shape[1]), some=lambda rows: weight[rows])

    def blocks(self) -> list[slice]:
        """Slices of so many rows that their numbers stay in a processor's cache."""
        return blocks(self.shape[0], NUMBERS_AT_ONCE // max(1, self.shape[1]))

    def each(self, work: Callable[[slice, FloatArray], None]) -> None:
        """Do some work on every block of rows, on all processors."""

        def one(rows: slice) -> None:
            work(rows, self.some(rows))

        with ThreadPoolExecutor(available_processors()) as threads:
            list(threads.map(one, self.blocks()))


def rounded(weight: FloatArray, scale: FloatArray, bits: int) -> npt.NDArray[np.int8]:
    """Round weight * scale (a scale per row) to integers of ``bits`` bits; 1 bit has no zero."""
    return _nearest(weight, scale, bits).astype(np.int8)


def _nearest(weight: FloatArray, scale: FloatArray, bits: int) -> FloatArray:
    return nearest_integers(weight * scale[:, None], bits)


def nearest_integers(scaled: Floats, bits: int) -> Floats:
    """Round an array, which is overwritten, to integers of ``bits`` bits; 1 bit has no zero."""
    if bits == 1:
        scaled[...] = np.where(scaled >= 0, 1, -1)
        return scaled
    limit = largest_integer(bits)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -limit, limit, out=scaled)
    return scaled


def rounded_rows(rows: Rows, scale: FloatArray, bits: int) -> npt.NDArray[np.int8]:
    """Round a matrix as `rounded` does, some rows at a time."""
    integers = np.empty(rows.shape, np.int8)

    def work(some: slice, weight: FloatArray) -> None:
        integers[some] = _nearest(weight, scale[some], bits)

    rows.each(work)
    return integers


def row_scales(rows: Rows, inputs: FloatArray, bits: int, *, per_row: bool) -> FloatArray:
    """Return integer units per unit of weight, by row, that least distort the currents of the sampled inputs.

    For each candidate clip c the scale is q / (c * max|w|), q the largest integer; a row that lies on a lattice of
    integers already (`lattice_scales`) has that one as a candidate too. The error is the sum over samples of
    ((rounded / scale - w) . x)^2, by row or summed over all rows. For 1 bit the scale is 1 / mean|w|.

    Args:
        rows: the weights, (rows, inputs).
        inputs: (samples, inputs).
        bits: bits per weight.
        per_row: whether every row chooses for itself; else all rows share one scale.
    """
    size = _by_row(rows, lambda weight: np.abs(weight).mean(axis=1) if bits == 1 else np.abs(weight).max(axis=1))
    if bits == 1:
        return 1.0 / _positive(size if per_row else np.full(len(size), size.mean()))
    peak = _positive(size if per_row else np.full(len(size), size.max()))
    measure = _measure(inputs)
    scales = np.empty((len(CLIP_CANDIDATES) + per_row, len(peak)))
    errors = np.empty_like(scales)

    def work(some: slice, weight: FloatArray) -> None:
        candidates = [largest_integer(bits) / (clip * peak[some]) for clip in CLIP_CANDIDATES]
        if per_row:
            lattice = lattice_scales(weight, bits)
            candidates.append(np.where(lattice > 0, lattice, candidates[0]))
        for index, scale in enumerate(candidates):
            difference = _nearest(weight, scale, bits)
            difference /= scale[:, None]
            difference -= weight
            scales[index, some], errors[index, some] = scale, measure(difference)

    rows.each(work)
    if not per_row:
        errors = np.repeat(errors.sum(axis=1, keepdims=True), len(peak), axis=1)
    best: FloatArray = np.take_along_axis(scales, errors.argmin(axis=0)[None], axis=0)[0]
    return best


def naive_scales(rows: Rows, bits: int) -> FloatArray:
    """Return the scale, the same for all rows, at which the largest weight is the largest integer.

    For 1 bit, where all integers are as large, it is 1 / mean|w|.
    """
    size = _by_row(rows, lambda weight: np.abs(weight).mean(axis=1) if bits == 1 else np.abs(weight).max(axis=1))
    shared = size.mean() if bits == 1 else size.max(initial=0.0)
    return np.full(len(size), largest_integer(bits) / shared if shared > 0 else 1.0)


def _measure(inputs: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Return a function from weights (rows, inputs) to the sum over samples of (weights . x)^2, by row.

    In single precision, for it only chooses among candidates that are percents apart.
    """
    vectors = inputs.astype(np.float32)
    if vectors.shape[0] < vectors.shape[1]:

        def over_samples(weights: FloatArray) -> FloatArray:
            currents = weights.astype(np.float32) @ vectors.T
            return _row_products(currents, currents)

        return over_samples
    gram: npt.NDArray[np.float32] = vectors.T @ vectors

    def over_gram(weights: FloatArray) -> FloatArray:
        narrow = weights.astype(np.float32)
        against: npt.NDArray[np.float32] = np.matmul(narrow, gram, dtype=np.float32)
        return _row_products(against, narrow)

    return over_gram


def _row_products(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> FloatArray:
    result: FloatArray = np.einsum("ij,ij->i", first, second).astype(np.float64)
    return result


def _by_row(rows: Rows, value: Callable[[FloatArray], FloatArray]) -> FloatArray:
    values = np.empty(rows.shape[0])

    def work(some: slice, weight: FloatArray) -> None:
        values[some] = value(weight)

    rows.each(work)
    return values


def lattice_scales(weight: FloatArray, bits: int) -> FloatArray:
    """Return by row the scale under which all its weights are integers of ``bits`` bits; 0 where there is none.

    Quantisation-aware training leaves its weights on the integers that it has trained. They may have been stored in
    half precision since: a weight and the largest one of its row are then off by a 2048th of themselves each.
    """
    limit = largest_integer(bits)
    peak = _positive(np.abs(weight).max(axis=1))
    scales = np.zeros(len(weight))
    for largest in range(limit // 2 + 1, limit + 1):  # a coarser lattice is part of one of these
        scale = largest / peak
        rows = np.flatnonzero(_are_integers(weight[:, :_PROBED_WEIGHTS], scale, largest))
        rows = rows[_are_integers(weight[rows], scale[rows], largest)]
        scales[rows] = scale[rows]
    return scales


_PROBED_WEIGHTS = 64
"""So many weights of a row are looked at first: hardly a row that is not on a lattice gets past them."""


def _are_integers(weight: FloatArray, scale: FloatArray, largest: int) -> npt.NDArray[np.bool_]:
    """Say by row whether all scaled weights are integers, but for two roundings to half precision."""
    scaled = weight * scale[:, None]
    off: FloatArray = np.abs(scaled - np.rint(scaled))
    return np.asarray((off <= largest * 2.0**-10).all(axis=1))


def _positive(values: FloatArray) -> FloatArray:
    """Replace 0 (a row without weights) by 1: any scale will do for it."""
    return np.where(values > 0, values, 1.0)
