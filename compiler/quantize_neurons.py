"""One population in integers: a scale for its membranes that its weights, thresholds and biases share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bispik.compiler.bounds import OutputRange, membrane_bound, weight_range
from bispik.compiler.calibrate import (
    Rows,
    largest_integer,
    lattice_scales,
    naive_scales,
    rounded,
    rounded_rows,
    row_scales,
)
from bispik.compiler.fixed_point import (
    DECAY_ONE,
    MEMBRANE_MAX,
    STOCK_BIAS_MAX,
    STOCK_EXPONENT,
    STOCK_THRESHOLD_MAX,
)
from bispik.compiler.graph import Neurons
from bispik.compiler.matching import FINER, Match, Moves
from bispik.compiler.program import IntegerNeurons, IntegerProjection, NeuronProgram
from bispik.models.errors import BispikError

FloatArray = npt.NDArray[np.float64]

ONE_TO_ONE_BITS = 8
"""One-to-one weights have 8 bits whatever is chosen for the matrices: there is one a neuron."""

LEAST_STOCK_WEIGHT = 16
"""Least integer that may stand for a one-to-one weight of 1 in stock neurons: rounding is off by 3% at most."""

MAXIMAL_EXPONENT = 12
"""Largest shift on a current: thresholds then resolve finer than the 12 bits of the decay."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InputSynapses:
    """One input of a population, with what calibration knows of it."""

    source: str
    weight: FloatArray | None
    """(neurons, inputs); (neurons,) for one-to-one synapses, None for such of weight 1."""
    outputs: OutputRange
    """Of the source, in integers."""
    unit: float
    """The source's integers per unit of its outputs in real numbers: 1 for spikes, a power of two."""
    samples: FloatArray
    """(samples, inputs): what the source sends on text, in units of the float network."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """One way to write a population in integers."""

    program: NeuronProgram
    projections: tuple[IntegerProjection, ...]
    scale: FloatArray
    """(neurons,): membrane units per unit of the float membrane."""
    low: FloatArray
    """(neurons,): lowest current that any input causes in one step, in membrane units."""
    high: FloatArray
    moves: Moves | None = None
    """What is added to thresholds and biases."""


def first_safe(
    name: str, neurons: Neurons, candidates: Iterable[Candidate], steps: int
) -> tuple[Candidate, IntegerNeurons]:
    """Return the first candidate whose membranes stay within 24 bits for every input.

    Raises:
        BispikError: if there is none; the message says how far the last one was off.
    """
    reached: float | None = None
    for candidate in candidates:
        integers = integer_neurons(neurons, candidate.scale, candidate.program, candidate.moves)
        bias, subtract = integers.bias.astype(np.float64), integers.subtract.astype(np.float64)
        bound = membrane_bound(candidate.low, candidate.high, bias, subtract, integers.spikes, integers.decay, steps)
        reached = float(bound.max())
        if reached <= MEMBRANE_MAX:
            return candidate, integers
    if reached is None:
        raise BispikError(
            f"{name}: its inputs are of units too different for weights of one population that shares a threshold; "
            "use --neurons bispik"
        )
    raise BispikError(
        f"{name}: membranes could reach {reached:,.0f} of {MEMBRANE_MAX:,} (24 bits) even at the coarsest scale; "
        "fewer --bits or a smaller --window may help"
    )


def integer_neurons(
    neurons: Neurons, scale: FloatArray, program: NeuronProgram, moves: Moves | None = None
) -> IntegerNeurons:
    """Write decay, threshold, reset and bias in integers; ``scale`` is membrane units per unit, (neurons,).

    v >= theta holds for an integer v exactly if v > ceil(theta * scale) - 1, and v > theta if v > floor(theta * scale);
    the same holds for -v, so one threshold serves both ternary spikes.
    A threshold above the 24-bit range can never be reached and stays unreachable when it is cut there.
    ``moves`` are added to bias and threshold before; what a reset subtracts is the float network's own threshold.
    """
    exact = neurons.threshold * scale
    spiking = exact if moves is None else np.maximum((neurons.threshold + moves.threshold) * scale, 1.0)
    strict = np.ceil(spiking) - 1 if neurons.fire == "ge" else np.floor(spiking)
    bias = np.rint((neurons.bias if moves is None else neurons.bias + moves.bias) * scale)
    if program == "stock":
        # The scale puts theta half a unit of Lava's threshold above a multiple of 2^6, so `ge` and `gt` agree there.
        strict = np.floor(exact / (1 << STOCK_EXPONENT)) * (1 << STOCK_EXPONENT)
        bias = mantissa_rounded(bias)
    # Membranes stay within 24 bits, so a neuron whose threshold lies beyond never spikes and subtracts nothing.
    subtracts = (strict < MEMBRANE_MAX) & (neurons.reset == "soft")
    subtract = np.where(subtracts, np.rint(exact), 0.0)
    return IntegerNeurons(
        program=program,
        reset=neurons.reset,
        spikes=neurons.spikes,
        decay=min(DECAY_ONE - 1, round((1 - neurons.decay) * DECAY_ONE)),
        threshold=np.minimum(strict, MEMBRANE_MAX).astype(np.int32),
        subtract=subtract.astype(np.int32),
        bias=np.clip(bias, -MEMBRANE_MAX, MEMBRANE_MAX).astype(np.int32),
    )


def synapse_candidates(
    neurons: Neurons,
    synapses: tuple[InputSynapses, ...],
    program: NeuronProgram,
    bits: int,
    match: Match | None,
    *,
    naive: bool = False,
) -> Iterator[Candidate]:
    """Yield ways to write a population that is driven by synapses, the finest first.

    Args:
        neurons: in real numbers.
        synapses: its inputs.
        program: what they run.
        bits: of a matrix's weights.
        match: chooses by spikes; None rounds to the nearest and leaves thresholds and biases where they are.
        naive: all rows of a matrix share the scale at which its largest weight is the largest integer.
    """
    if program == "stock":
        return _stock_candidates(neurons, synapses, bits, naive=naive)
    return _bispik_candidates(neurons, synapses, bits, match, naive=naive)


def trained_in_integers(weight: FloatArray, bits: int) -> bool:
    """Say whether all rows lie on lattices of integers already: training chose these, and no others will do."""
    return bool((lattice_scales(weight, bits) > 0).all())


def _bispik_candidates(
    neurons: Neurons, synapses: tuple[InputSynapses, ...], bits: int, match: Match | None, *, naive: bool
) -> Iterator[Candidate]:
    """Weights have a scale per row; the exponent on all currents steps down from the finest.

    Where even the lowest exponent is too much, weights are written with half as many integers, and again.
    """
    weighted = [s for s in synapses if s.weight is not None]
    if not weighted:
        (unit,) = {s.unit for s in synapses}
        weights, ranges = [None] * len(synapses), _ranges(synapses, [None] * len(synapses), neurons.size)
        for exponent in range(MAXIMAL_EXPONENT, -1, -1):
            scale = np.full(neurons.size, unit * (1 << exponent))
            yield _candidate("bispik", synapses, scale, weights, ranges, [exponent] * len(synapses), bits)
        return
    (unit,) = {s.unit for s in weighted}
    finest: FloatArray = np.minimum(_row_scales(weighted, bits, naive=naive), _largest_rows(neurons, unit))
    if naive:
        finest = np.full_like(finest, finest.min())
    if match is not None:
        finest = _spiking_best(synapses, finest, bits, match)
    for halvings in range(bits):
        yield from _at_row_scales(synapses, finest / (1 << halvings), unit, bits, match)


def _spiking_best(synapses: tuple[InputSynapses, ...], rows: FloatArray, bits: int, match: Match) -> FloatArray:
    """Return by row the one of some scales around ``rows`` under which its neuron spikes most as it should."""
    scales = np.stack([rows * factor for factor in FINER])
    drives = [match.drive(_real_weights(synapses, _integers(synapses, rows, bits, match), rows)) for rows in scales]
    best: FloatArray = np.take_along_axis(scales, match.chosen(drives)[None], axis=0)[0]
    return best


def _integers(
    synapses: tuple[InputSynapses, ...], rows: FloatArray, bits: int, match: Match | None
) -> list[npt.NDArray[np.int8] | None]:
    """Round weights at scales of the rows: with feedback if there is a match, else each to the nearest."""

    def rounded_to(synapse: InputSynapses) -> npt.NDArray[np.int8] | None:
        weight = synapse.weight
        if weight is None:
            return None
        if weight.ndim == 2 and match is not None:
            return match.integers(synapse.source, Rows.of(weight), rows, bits)
        return _rounded(weight, rows, bits)

    return [rounded_to(synapse) for synapse in synapses]


def _real_weights(
    synapses: tuple[InputSynapses, ...], weights: Sequence[npt.NDArray[np.int8] | None], rows: FloatArray
) -> dict[str, FloatArray | None]:
    """Return what integers stand for in real numbers, by source."""
    return {
        synapse.source: None if weight is None else (weight.T / rows).T
        for synapse, weight in zip(synapses, weights, strict=True)
    }


def _row_scales(weighted: list[InputSynapses], bits: int, *, naive: bool) -> FloatArray:
    """Return integer units per unit of weight that suit all weighted inputs, by row."""
    chosen: list[FloatArray] = []
    for synapse in weighted:
        assert synapse.weight is not None
        if synapse.weight.ndim == 1:  # one weight a row: any scale that it fits is exact but for that weight
            peak = np.abs(synapse.weight)
            chosen.append(largest_integer(ONE_TO_ONE_BITS) / np.where(peak > 0, peak, 1.0))
        elif naive:
            chosen.append(naive_scales(Rows.of(synapse.weight), bits))
        else:
            chosen.append(row_scales(Rows.of(synapse.weight), synapse.samples, bits, per_row=True))
    least: FloatArray = np.stack(chosen).min(axis=0)
    return least


def _at_row_scales(
    synapses: tuple[InputSynapses, ...], rows: FloatArray, unit: float, bits: int, match: Match | None
) -> Iterator[Candidate]:
    """Yield the exponents for weights of ``rows`` integer units per unit, on sources of that unit."""
    shift, one_to_one = 0, np.zeros(0, np.int8)
    plain = [s for s in synapses if s.weight is None]
    if plain:
        # One-to-one inputs of weight 1 must match the row's scale: an integer weight m << shift is the scale itself.
        (plain_unit,) = {s.unit for s in plain}
        wanted = rows * unit / plain_unit
        wanted = np.minimum(wanted, wanted.min() * largest_integer(ONE_TO_ONE_BITS))
        shift = int(np.ceil(np.log2(wanted.max() / largest_integer(ONE_TO_ONE_BITS))))
        one_to_one = np.maximum(1, np.floor(wanted / 2.0**shift)).astype(np.int8)
        rows = one_to_one.astype(np.float64) * 2.0**shift * plain_unit / unit
    integers = _integers(synapses, rows, bits, match)
    moves = None if match is None else match.placed(match.drive(_real_weights(synapses, integers, rows)))
    weights = [one_to_one if weight is None else weight for weight in integers]
    ranges = _ranges(synapses, weights, len(rows))
    for exponent in range(MAXIMAL_EXPONENT, max(-1, -shift - 1), -1):
        exponents = [exponent + shift if s.weight is None else exponent for s in synapses]
        scale = rows * unit * float(1 << exponent)
        yield replace(_candidate("bispik", synapses, scale, weights, ranges, exponents, bits), moves=moves)


def _rounded(weight: FloatArray, rows: FloatArray, bits: int) -> npt.NDArray[np.int8]:
    """Round a matrix, or one-to-one weights, which always have 8 bits."""
    if weight.ndim == 1:
        return rounded(weight[:, None], rows, ONE_TO_ONE_BITS)[:, 0]
    return rounded_rows(Rows.of(weight), rows, bits)


def _largest_rows(neurons: Neurons, unit: float) -> FloatArray:
    """Return by neuron the integer weight per unit past which threshold and bias alone would crowd out the currents.

    Rows with hardly any weight reach it; they lose nothing, for a coarser scale is always allowed.
    """
    constants = np.abs(neurons.threshold).astype(np.float64) + np.abs(neurons.bias)
    # The constants of up to 8 steps add up; this leaves them half the range where membranes resolve a weight's last bit
    # in 2^6 parts: by an exponent of 6 behind spikes, by the fractions of what arrives behind a norm.
    room = MEMBRANE_MAX / 16 / max(unit, float(1 << STOCK_EXPONENT))
    rows: FloatArray = room / np.maximum(constants, np.finfo(np.float64).tiny)
    return rows


def _stock_candidates(
    neurons: Neurons, synapses: tuple[InputSynapses, ...], bits: int, *, naive: bool
) -> Iterator[Candidate]:
    """Lava's exponent is fixed and all neurons share a threshold, so weights carry the differences between rows."""
    share = 1.0 / neurons.threshold.astype(np.float64)
    normal = [_column(s, neurons.size) * share[:, None] for s in synapses]
    inputs = [
        np.ones((1, 1)) if matrix.shape[1] == 1 else s.samples for s, matrix in zip(synapses, normal, strict=True)
    ]
    widths = [bits if s.weight is not None and s.weight.ndim == 2 else ONE_TO_ONE_BITS for s in synapses]

    def suits(weight: Rows, x: FloatArray, width: int) -> float:
        found = naive_scales(weight, width) if naive else row_scales(weight, x, width, per_row=False)
        return float(found[0])

    wanted = min(
        suits(Rows.of(weight), x, width) * s.unit
        for s, weight, x, width in zip(synapses, normal, inputs, widths, strict=True)
    )
    threshold = max(1, min(STOCK_THRESHOLD_MAX, int(wanted - 0.5)))
    while threshold >= 1:
        scale = (threshold + 0.5) * share
        weights = [
            rounded(_column(s, neurons.size), scale / s.unit, width) for s, width in zip(synapses, widths, strict=True)
        ]
        shaped = [
            w if s.weight is not None and s.weight.ndim == 2 else w[:, 0]
            for s, w in zip(synapses, weights, strict=True)
        ]
        exponents = [STOCK_EXPONENT] * len(synapses)
        plain = [w for s, w in zip(synapses, shaped, strict=True) if s.weight is None and s.unit > 1]
        if all(int(w.min()) >= LEAST_STOCK_WEIGHT for w in plain):
            ranges = _ranges(synapses, shaped, neurons.size)
            yield _candidate("stock", synapses, scale * (1 << STOCK_EXPONENT), shaped, ranges, exponents, bits)
        threshold //= 2


def _column(synapse: InputSynapses, size: int) -> FloatArray:
    """Return weights as a matrix; one-to-one ones as a single column."""
    if synapse.weight is None:
        return np.ones((size, 1))
    return synapse.weight if synapse.weight.ndim == 2 else synapse.weight[:, None]


def _ranges(
    synapses: tuple[InputSynapses, ...], weights: Sequence[npt.NDArray[np.int8] | None], size: int
) -> list[tuple[FloatArray, FloatArray]]:
    """Return by input the lowest and the highest sum that any outputs of its source cause, by neuron."""
    return [weight_range(weight, synapse.outputs, size) for synapse, weight in zip(synapses, weights, strict=True)]


def _candidate(
    program: NeuronProgram,
    synapses: tuple[InputSynapses, ...],
    scale: FloatArray,
    weights: Sequence[npt.NDArray[np.int8] | None],
    ranges: Sequence[tuple[FloatArray, FloatArray]],
    exponents: list[int],
    bits: int,
) -> Candidate:
    low, high = np.zeros(len(scale)), np.zeros(len(scale))
    projections: list[IntegerProjection] = []
    for synapse, weight, (lowest, highest), exponent in zip(synapses, weights, ranges, exponents, strict=True):
        low, high = low + lowest * (1 << exponent), high + highest * (1 << exponent)
        stored = 0 if weight is None else ONE_TO_ONE_BITS if weight.ndim == 1 else bits
        projections.append(IntegerProjection(source=synapse.source, weight=weight, exponent=exponent, bits=stored))
    return Candidate(program=program, projections=tuple(projections), scale=scale, low=low, high=high)


def mantissa_rounded(bias: FloatArray) -> FloatArray:
    """Round to a common power of two so that every mantissa fits Lava's 13-bit signed ``bias_mant``."""
    exponent = 0
    while np.abs(bias).max(initial=0.0) > STOCK_BIAS_MAX << exponent:
        exponent += 1
    mantissa: FloatArray = np.clip(np.rint(bias / (1 << exponent)), -STOCK_BIAS_MAX, STOCK_BIAS_MAX)
    return mantissa * (1 << exponent)
