"""Scales, thresholds and biases chosen by what a population then spikes, held against the float network on text.

Inputs are those of the integer network, so that what earlier populations do wrong is part of what is judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from bispik.compiler.calibrate import Rows
from bispik.compiler.feedback import Feedback
from bispik.compiler.float_network import blocks
from bispik.compiler.graph import Neurons

FloatArray = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]

NEURONS_AT_ONCE = 1 << 21
"""Membranes that are looked at together, over all samples of a time step."""

RATE_SHARE = 2.0
"""Weight of a neuron's firing rate beside its single spikes: spikes that are missing throughout do not average out."""

MEMBRANE_SHARE = 0.02
"""Weight of a membrane that is one threshold off: it decides where spikes do not."""

FEEDBACK_BITS = 6
"""Weights of so many bits or fewer are rounded with feedback; with more, rounding is too small to matter."""

FINER = (1.0, 0.88, 1.14)
"""Multiples of the scale that suits the currents, among which spikes choose."""

BIAS_MOVES = (-0.05, 0.0, 0.05)
THRESHOLD_MOVES = (-0.08, -0.04, 0.0, 0.04, 0.08)
"""In thresholds; bias moves lie around none and around the mean of what the drive lacks."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wanted:
    """What a population does in real numbers; (T, samples, size) each."""

    drive: Single
    """Current and bias."""
    spikes: Single
    membranes: Single
    """At which each step decides to spike."""

    def some(self, samples: slice, rows: slice) -> Wanted:
        """Some samples of some neurons."""
        place = (slice(None), samples, rows)
        return Wanted(drive=self.drive[place], spikes=self.spikes[place], membranes=self.membranes[place])


def wanted(neurons: Neurons, spikes: FloatArray, membranes: FloatArray) -> Wanted:
    """Return what was done, and the drive that explains it; arrays are (T, B, L, size)."""
    steps, size = spikes.shape[0], spikes.shape[-1]
    fired, reached = spikes.reshape(steps, -1, size), membranes.reshape(steps, -1, size)
    drive = reached.copy()
    kept = neurons.decay * reached[:-1]
    if neurons.reset == "soft":
        drive[1:] -= kept - neurons.threshold * fired[:-1]
    else:
        drive[1:] -= kept * (fired[:-1] == 0)
    return Wanted(drive=drive.astype(np.float32), spikes=fired.astype(np.float32), membranes=reached.astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moves:
    """What is added to the constants of a population's neurons, in units of the float membrane; (size,) each."""

    bias: FloatArray
    threshold: FloatArray
    """Of a spike; what a reset subtracts stays."""


def disagreement(neurons: Neurons, drive: Single, found: Wanted, moves: Moves) -> FloatArray:
    """Return by neuron and time step: wrong spikes + RATE_SHARE * |rate - rate wanted| + a little for membranes.

    Args:
        neurons: of the float network.
        drive: (T, samples, size): current and bias that the integers give.
        found: what is wanted.
        moves: what is added to the constants.
    """
    own, decay = neurons.threshold.astype(np.float32), np.float32(neurons.decay)
    beyond, shift = own + moves.threshold.astype(np.float32), moves.bias.astype(np.float32)
    membrane, spike = np.zeros_like(drive[0]), np.zeros_like(drive[0])
    wrong, rate, error = np.zeros((3, drive.shape[-1]))
    for step in range(len(drive)):
        if neurons.reset == "soft":
            membrane = decay * membrane + drive[step] + shift - own * spike
        else:
            membrane = decay * membrane * (spike == 0) + drive[step] + shift
        spike = (membrane >= beyond).astype(np.float32)
        if neurons.spikes == "ternary":
            spike -= membrane <= -beyond
        off = spike - found.spikes[step]
        wrong += (off != 0).mean(axis=0)
        rate += off.mean(axis=0)
        error += np.minimum(np.abs((membrane - found.membranes[step]) / own), 1).mean(axis=0)
    result: FloatArray = (wrong + RATE_SHARE * np.abs(rate) + MEMBRANE_SHARE * error) / len(drive)
    return result


class Match:
    """One population's choices."""

    def __init__(
        self, neurons: Neurons, found: Wanted, arriving: Mapping[str, Single], feedback: Mapping[str, Feedback]
    ) -> None:
        """Take what is known.

        Args:
            neurons: of the float network.
            found: what they do there.
            arriving: by source, what the integer network sends, in units of the float one: (T, samples, size).
            feedback: by source of a matrix, made of the same inputs.
        """
        self.neurons, self.found, self.arriving, self.feedback = neurons, found, arriving, feedback

    def integers(self, source: str, rows: Rows, scale: FloatArray, bits: int) -> npt.NDArray[np.int8]:
        """Round a matrix."""
        return self.feedback[source].rounded(rows, scale, bits)

    def drive(self, weights: Mapping[str, FloatArray | Single | None]) -> Single:
        """Return current and bias that weights cause, (T, samples, size); None stands for one-to-one weights of 1."""
        total = np.zeros(self.found.drive.shape, np.float32) + self.neurons.bias.astype(np.float32)
        for source, weight in weights.items():
            inputs = self.arriving[source]
            if weight is None:
                total += inputs
            elif weight.ndim == 1:
                total += inputs * weight.astype(np.float32)
            else:
                flat = inputs.reshape(-1, inputs.shape[-1]) @ weight.astype(np.float32).T
                total += flat.reshape(total.shape)
        return total

    def errors(self, drive: Single, moves: Moves, samples: slice = slice(None)) -> FloatArray:
        """Return the disagreement by neuron, some neurons at a time."""
        result = np.empty(self.neurons.size)
        for rows in blocks(self.neurons.size, NEURONS_AT_ONCE // max(1, drive.shape[1])):
            some = Moves(bias=moves.bias[rows], threshold=moves.threshold[rows])
            part = drive[:, samples, rows]
            result[rows] = disagreement(_some(self.neurons, rows), part, self.found.some(samples, rows), some)
        return result

    def chosen(self, drives: Sequence[Single]) -> npt.NDArray[np.int64]:
        """Return by neuron the drive under which it spikes most like the float network; the first of equals."""
        still = self.still()
        errors = np.stack([self.errors(drive, still) for drive in drives])
        best: npt.NDArray[np.int64] = errors.argmin(axis=0)
        return best

    def still(self) -> Moves:
        """No moves."""
        return Moves(bias=np.zeros(self.neurons.size), threshold=np.zeros(self.neurons.size))

    def placed(self, drive: Single) -> Moves:
        """Return thresholds and biases, searched together, under which spikes agree best.

        They are moved only where the choice of either half of the samples is better than none on the other half too.
        """
        own = self.neurons.threshold.astype(np.float64)
        lacking: FloatArray = (self.found.drive - drive).mean(axis=(0, 1), dtype=np.float64)
        choices = sorted(product((0.0, 1.0), BIAS_MOVES, THRESHOLD_MOVES), key=lambda choice: choice != (0.0, 0.0, 0.0))
        halves = np.empty((2, len(choices), len(own)))
        for number, (mean, bias, threshold) in enumerate(choices):
            moves = Moves(bias=mean * lacking + bias * own, threshold=threshold * own)
            for half in range(2):
                halves[half, number] = self.errors(drive, moves, slice(half, None, 2))
        neuron = np.arange(len(own))
        helps = np.ones(len(own), bool)
        for one, other in (halves, halves[::-1]):
            helps &= other[one.argmin(axis=0), neuron] < other[0]
        best = np.array(choices)[halves.sum(axis=0).argmin(axis=0)] * helps[:, None]
        return Moves(bias=best[:, 0] * lacking + best[:, 1] * own, threshold=best[:, 2] * own)


def _some(neurons: Neurons, rows: slice) -> Neurons:
    return Neurons(
        decay=neurons.decay,
        threshold=neurons.threshold[rows],
        bias=neurons.bias[rows],
        reset=neurons.reset,
        fire=neurons.fire,
        spikes=neurons.spikes,
    )
