"""Integer arithmetic of the compiled program: the numbers of Loihi 2 as Lava's ``fixed_pt`` models define them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

DECAY_ONE = 1 << 12
"""A decay d keeps (4096 - d) / 4096 of a membrane each step (Lava's 12-bit ``dv``)."""

MEMBRANE_MAX = (1 << 23) - 1
"""Membranes are 24-bit signed and saturate at +-(2^23 - 1), as in Lava's bit-accurate LIF model."""

STOCK_EXPONENT = 6
"""Lava's LIF shifts the incoming activation and its threshold left by 6 bits."""

STOCK_THRESHOLD_MAX = (1 << 17) - 1
"""Largest ``vth`` of Lava's LIF, before its shift by 6 (17 bits)."""

STOCK_BIAS_MAX = (1 << 12) - 1
"""Largest magnitude of a 13-bit signed ``bias_mant``."""


def decayed(membrane: IntArray, decay: int | IntArray) -> IntArray:
    """Return sign(v) * ((|v| * (4096 - decay)) >> 12): decay in sign-magnitude, rounding toward zero."""
    share: IntArray = np.asarray(DECAY_ONE - decay, np.int64)
    kept: IntArray = np.sign(membrane) * ((np.abs(membrane) * share) >> 12)
    return kept


def saturated(membrane: IntArray) -> IntArray:
    """Clip to the 24-bit membrane range."""
    return np.clip(membrane, -MEMBRANE_MAX, MEMBRANE_MAX)


def normalised(values: IntArray, *, fraction_bits: int, root_bits: int, epsilon: int) -> IntArray:
    """Return (values - mean) / sqrt(variance + epsilon / n^2) in units of 2^-fraction_bits, (n,).

    Exactly as `bispik.compiler.program.IntegerNorm` defines it; Python's integers cannot overflow, and the compiler
    proves that 64 bits suffice for everyone else.
    """
    whole = [int(value) for value in values]
    size, total = len(whole), sum(whole)
    spread = size * sum(value * value for value in whole) - total * total + epsilon
    root = _root_rounded_up(spread << 2 * root_bits)
    if root == 0:
        return np.zeros(size, np.int64)
    deviations = [size * value - total for value in whole]
    shift = fraction_bits + root_bits + 1
    magnitudes = [((abs(deviation) << shift) + root) // (2 * root) for deviation in deviations]
    signed = [-number if deviation < 0 else number for number, deviation in zip(magnitudes, deviations, strict=True)]
    return np.array(signed, np.int64)


def _root_rounded_up(value: int) -> int:
    """Return the smallest integer whose square is at least ``value``."""
    return math.isqrt(value - 1) + 1 if value > 0 else 0
