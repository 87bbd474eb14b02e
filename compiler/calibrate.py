"""Choosing weight scales on what the network really sees."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

CLIP_CANDIDATES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
"""Shares of a row's largest weight that are tried as the end of the integer range."""

MAXIMAL_SAMPLES = 1024
"""Input vectors used per projection; more changed no choice on the example model."""


def largest_integer(bits: int) -> int:
    """Largest magnitude of a symmetric weight of that many bits: 127, 63, ..., 1; binary weights are -1 or +1."""
    return max(1, (1 << (bits - 1)) - 1)


def rounded(weight: FloatArray, scale: FloatArray, bits: int) -> npt.NDArray[np.int8]:
    """Round weight * scale (a scale per row) to integers of ``bits`` bits; 1 bit has no zero."""
    limit = largest_integer(bits)
    scaled = weight * scale[:, None]
    integers = np.where(scaled >= 0, 1, -1) if bits == 1 else np.clip(np.rint(scaled), -limit, limit)
    return integers.astype(np.int8)


def sample_inputs(outputs: FloatArray, seed: int) -> FloatArray:
    """Pick input vectors (samples, inputs) from a source's float outputs (T, B, L, inputs), the same for a seed."""
    vectors = outputs.reshape(-1, outputs.shape[-1])
    if len(vectors) <= MAXIMAL_SAMPLES:
        return vectors
    chosen = np.random.default_rng(seed).choice(len(vectors), MAXIMAL_SAMPLES, replace=False)
    return vectors[np.sort(chosen)]


def row_scales(weight: FloatArray, inputs: FloatArray, bits: int, *, per_row: bool) -> FloatArray:
    """Return integer units per unit of weight, by row, that least distort the currents of the sampled inputs.

    For each candidate clip c the scale is q / (c * max|w|), q the largest integer; a row that lies on a lattice of
    integers already (`lattice_scales`) has that one as a candidate too. The error is the sum over samples of
    ((rounded / scale - w) . x)^2, by row or summed over all rows. For 1 bit the scale is 1 / mean|w|.

    Args:
        weight: (rows, inputs).
        inputs: (samples, inputs).
        bits: bits per weight.
        per_row: whether every row chooses for itself; else all rows share one scale.
    """
    if bits == 1:
        mean = np.abs(weight).mean(axis=1)
        return 1.0 / _positive(mean if per_row else np.full(len(weight), mean.mean()))
    peak = np.abs(weight).max(axis=1)
    peak = _positive(peak if per_row else np.full(len(weight), peak.max()))
    gram = inputs.T @ inputs
    best_error: FloatArray | None = None
    best = np.zeros(len(weight))
    candidates = [largest_integer(bits) / (clip * peak) for clip in CLIP_CANDIDATES]
    if per_row:
        lattice = lattice_scales(weight, bits)
        candidates.append(np.where(lattice > 0, lattice, candidates[0]))
    for scale in candidates:
        difference = rounded(weight, scale, bits) / scale[:, None] - weight
        error = np.einsum("ij,ij->i", difference @ gram, difference)
        error = error if per_row else np.full(len(weight), error.sum())
        better = np.ones(len(weight), bool) if best_error is None else error < best_error
        best = np.where(better, scale, best)
        best_error = error if best_error is None else np.minimum(error, best_error)
    return best


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
