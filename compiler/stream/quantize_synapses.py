"""The synapses of one population in integers: scales by neuron, int8 weights, an exponent by projection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.fixed_point import MEMBRANE_MAX, STOCK_EXPONENT, STOCK_THRESHOLD_MAX
from bispik.compiler.program import NeuronProgram
from bispik.compiler.stream.network import FloatArray, StreamNeurons
from bispik.compiler.stream.wiring import Wiring

LEAST = 1e-30
"""Weights and currents below this, in units of the integers, are none; quotients by them would be infinite."""

MAXIMAL_EXPONENT = 12
"""Largest shift on the currents of the strongest projection: thresholds then resolve finer than the decays' 12 bits."""


CLIPS = (1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5)
"""A population's largest weight over what is tried as the end of the integer range; the one that distorts its weights
least is taken. With 2 bits or 1 that is most of what a network keeps."""

CONSTANT_BITS = 10
"""Bits of a membrane that thresholds and biases leave, at the coarsest exponent: 4 of headroom and 6 to resolve."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightedInput:
    """One projection's weights, per whole number that its source sends."""

    wiring: Wiring
    weight: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Written:
    """One way to write a population's synapses in integers."""

    scale: FloatArray
    """(neurons,): membrane units per unit of the float membrane."""
    weights: tuple[npt.NDArray[np.int8], ...]
    exponents: tuple[int, ...]


def written_synapses(
    neurons: StreamNeurons, inputs: tuple[WeightedInput, ...], program: NeuronProgram, bits: int, largest: int
) -> Iterator[Written]:
    """Yield ways to write the synapses with weights of up to ``largest``, the finest exponent first.

    Where all weights are such integers as they stand, they stay what they are: the file then speaks in the units of
    Lava's own processes, and the membrane's unit is the 64th that they have.
    """
    peaks = np.stack([entry.wiring.row_peaks(entry.weight) for entry in inputs])
    whole = bits > 1 and all(_are_whole(entry.weight, largest) for entry in inputs)
    exponents = [STOCK_EXPONENT] if program == "stock" else list(range(MAXIMAL_EXPONENT, -1, -1))
    if program == "bispik" and neurons.output == "membrane" and bool((neurons.keep == 1).all()):
        exponents = [0]  # nothing decays, so nothing is gained by a finer unit, and the sums are never taken back
    rows = [_scale(neurons, peaks / clip, inputs, program, whole, largest) for clip in ((1.0,) if whole else CLIPS)]
    row = rows[0] if whole else min(rows, key=lambda row: _distortion(inputs, row, bits, largest))
    for exponent in exponents:
        yield _written(inputs, row, exponent, peaks, bits, largest, least=exponents[-1])


def _scale(
    neurons: StreamNeurons,
    peaks: FloatArray,
    inputs: tuple[WeightedInput, ...],
    program: NeuronProgram,
    whole: bool,
    largest: int,
) -> FloatArray:
    if program == "stock":
        return _threshold_scale(neurons, peaks, whole, largest)
    return np.ones(neurons.size) if whole else _row_scale(neurons, peaks.max(axis=0), inputs, largest)


def _distortion(inputs: tuple[WeightedInput, ...], row: FloatArray, bits: int, largest: int) -> float:
    """Return the sum over all weights of (rounded / scale - weight)^2."""
    total = 0.0
    for entry in inputs:
        unit = entry.wiring.scaled(np.ones_like(entry.weight), row)
        total += float(((_rounded(unit * entry.weight, bits, largest) / unit - entry.weight) ** 2).sum())
    return total


def _are_whole(weight: FloatArray, largest: int) -> bool:
    return bool((weight == np.rint(weight)).all()) and float(np.abs(weight).max(initial=0.0)) <= largest


def _row_scale(
    neurons: StreamNeurons, peaks: FloatArray, inputs: tuple[WeightedInput, ...], largest: int
) -> FloatArray:
    """Return integer weights per unit of weight, one for all neurons that share weights.

    Neurons with hardly any weight would need more than 24 bits for their threshold: their scale ends where threshold
    and bias take all but CONSTANT_BITS, and loses nothing, for no weight of theirs is as large as its integers.
    """
    constants = np.abs(neurons.bias) + np.maximum(np.abs(neurons.initial), np.abs(neurons.initial_current))
    if neurons.output == "spikes":
        constants = constants + np.abs(neurons.threshold)
    room = MEMBRANE_MAX / float(1 << CONSTANT_BITS)
    scale = largest / _positive(peaks)
    scale = scale * np.minimum(1.0, room / np.maximum(1.0, constants * scale))
    sharings = {entry.wiring.sharing for entry in inputs}
    shared = len(scale) if len(sharings - {1}) > 1 else max(sharings)  # maps of different shapes: one scale for all
    return np.repeat(scale.reshape(-1, shared).min(axis=1), shared)


def _threshold_scale(neurons: StreamNeurons, peaks: FloatArray, whole: bool, largest: int) -> FloatArray:
    """Return integer weights per unit of weight under which all neurons have the threshold vth << 6 of Lava's neuron.

    A threshold is put half a unit of vth above it, so that > and >= agree there; one that is whole stays as it is.
    """
    if neurons.output == "membrane":
        return np.full(neurons.size, 1.0 if whole else largest / (peaks.max() or 1.0))
    threshold = neurons.threshold
    exact = whole and neurons.fire == "gt" and bool((threshold == np.rint(threshold[0])).all())
    if exact and 1 <= threshold[0] <= STOCK_THRESHOLD_MAX:
        return np.ones(neurons.size)
    most = largest / (float((peaks / threshold).max()) or 1.0)
    vth = max(1, int(min(STOCK_THRESHOLD_MAX, most - 0.5)))  # of thresholds beyond all weights it is infinite
    return (vth + 0.5) / threshold


def _written(
    inputs: tuple[WeightedInput, ...],
    row: FloatArray,
    exponent: int,
    peaks: FloatArray,
    bits: int,
    largest: int,
    *,
    least: int,
) -> Written:
    """Round the weights of every projection; weaker ones get a smaller exponent, and more of their bits with it."""
    weights: list[npt.NDArray[np.int8]] = []
    exponents: list[int] = []
    for entry, peak in zip(inputs, peaks, strict=True):
        strongest = float((peak * row).max(initial=0.0))
        finer = int(np.floor(np.log2(largest / strongest) + 1e-9)) if LEAST < strongest < largest else 0
        finer = max(0, min(finer, exponent - least))
        scaled = entry.wiring.scaled(entry.weight, row * float(1 << finer))
        weights.append(_rounded(scaled, bits, largest))
        exponents.append(exponent - finer)
    return Written(scale=row * float(1 << exponent), weights=tuple(weights), exponents=tuple(exponents))


def _rounded(scaled: FloatArray, bits: int, largest: int) -> npt.NDArray[np.int8]:
    """Round to integers of magnitude ``largest``; 1 bit has no zero."""
    integers = np.where(scaled >= 0, 1, -1) if bits == 1 else np.clip(np.rint(scaled), -largest, largest)
    return integers.astype(np.int8)


def _positive(values: FloatArray) -> FloatArray:
    """Replace 0 (a row without weights) by 1: any scale will do for it."""
    return np.where(values > 0, values, 1.0)
