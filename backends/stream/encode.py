"""Real numbers and events of the user's world to the whole numbers that a stream program takes in every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.compiler.stream.program import IntegerStreamInput
from bispik.models.errors import BispikError

Encoder: TypeAlias = Literal["none", "current", "rate", "delta"]

FloatArray: TypeAlias = npt.NDArray[np.float64]
Steps: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How values become what the host sends. S: steps.

    none:    the values are whole numbers already, (S, ...): spikes, or counts; the program's unit must be 1
    current: round(value * unit) in every step, (S, ...); one value (...) for all of ``steps`` if there is no time in it
    rate:    1.0 with probability ``value``, 0 to 1, else 0, drawn for every step from ``seed``; held as ``current``
    delta:   1.0 where the value, (S, ...), has risen by ``threshold`` since the last event of its channel, -1.0 where
             it has fallen by so much; at most one event a step, and the channel's reference follows by one threshold
    """

    encoder: Encoder = "none"
    steps: int | None = None
    threshold: float | None = None
    seed: int = 0
    sample: int = 0
    """Number of the sample: each draws from a stream of its own."""


def encoded(entry: IntegerStreamInput, values: npt.NDArray[np.generic], encoding: Encoding, where: str) -> Steps:
    """Return the host's input, (S, input size).

    Raises:
        BispikError: for values of another shape or range than the encoder and the program take.
    """
    if values.dtype.kind not in "biuf":
        raise BispikError(f"{where}: holds {values.dtype}, not numbers")
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise BispikError(f"{where}: {int((~np.isfinite(numbers)).sum())} numbers are not finite")
    rows = _over_time(entry, numbers, encoding, where)
    match encoding.encoder:
        case "none":
            sent = _whole(rows, entry.unit, where)
        case "current":
            sent = _held(rows, entry.unit, where)
        case "rate":
            sent = np.rint(_rate(rows, encoding, where) * entry.unit)
        case "delta":
            sent = np.rint(_delta(rows, encoding.threshold, where) * entry.unit)
    low, high = sent.min(), sent.max()
    if low < entry.low or high > entry.high:
        scaled = f" ({entry.unit:g} for 1.0)" if encoding.encoder == "current" else ""
        raise BispikError(
            f"{where}: sends {low:g} to {high:g}{scaled}; the program was compiled for {entry.low} to {entry.high}: "
            "compile with another --input-range"
        )
    return sent.astype(np.int32)


def _over_time(entry: IntegerStreamInput, values: FloatArray, encoding: Encoding, where: str) -> FloatArray:
    """Return (S, input size)."""
    shapes = {entry.shape, (entry.size,)}
    if values.shape in shapes and encoding.encoder in ("current", "rate"):
        if encoding.steps is None or encoding.steps < 1:
            raise BispikError(
                f"{where}: holds one value a channel and no time; say for how many time steps with --steps"
            )
        return np.repeat(values.reshape(1, -1), encoding.steps, axis=0)
    if values.ndim < 1 or values.shape[1:] not in shapes or len(values) == 0:
        expected = " or ".join(f"(time steps{''.join(f', {n}' for n in shape)})" for shape in sorted(shapes, key=len))
        raise BispikError(f"{where}: has shape {values.shape}, expected {expected}")
    if encoding.steps is not None and encoding.steps != len(values):
        raise BispikError(f"{where}: holds {len(values)} time steps; leave out --steps {encoding.steps}")
    return values.reshape(len(values), -1)


def _whole(rows: FloatArray, unit: float, where: str) -> FloatArray:
    if unit != 1:
        raise BispikError(
            f"{where}: the program takes {unit:g} for 1.0 (--input-bits); say how numbers become spikes: "
            "--encode current, rate or delta"
        )
    if (rows != np.rint(rows)).any():
        at = np.argwhere(rows != np.rint(rows))[0]
        raise BispikError(
            f"{where}: {rows[tuple(at)]:g} in step {at[0]}, channel {at[1]}, is no whole number; say how real "
            "numbers become spikes: --encode current, rate or delta"
        )
    return rows


def _held(rows: FloatArray, unit: float, where: str) -> FloatArray:
    if unit == 1 and (rows != np.rint(rows)).any():
        raise BispikError(
            f"{where}: holds real numbers, and the program takes whole ones: compile with --input-bits, or use "
            "--encode rate"
        )
    return np.rint(rows * unit)


def _rate(rows: FloatArray, encoding: Encoding, where: str) -> FloatArray:
    if rows.min() < 0 or rows.max() > 1:
        raise BispikError(f"{where}: {rows.min():g} to {rows.max():g}; --encode rate takes probabilities, 0 to 1")
    key = (encoding.sample,) if encoding.sample else ()  # as for prompts: the first has the seed itself
    rng = np.random.default_rng(np.random.SeedSequence(encoding.seed, spawn_key=key))
    return (rng.random(rows.shape) < rows).astype(np.float64)


def _delta(rows: FloatArray, threshold: float | None, where: str) -> FloatArray:
    if threshold is None or not threshold > 0:
        raise BispikError(f"{where}: --encode delta needs the change that makes an event: --delta-threshold, above 0")
    sent, reference = np.zeros_like(rows), rows[0].copy()
    for step, values in enumerate(rows):
        change = values - reference
        sent[step] = np.where(np.abs(change) >= threshold, np.sign(change), 0.0)
        reference += sent[step] * threshold
    return sent
