"""A population in the terms of Lava's own processes: `Dense` for its synapses, `LIFReset` for its neurons.

Lava's CPU models check no range and wrap silently, so whatever would not come out exactly is refused here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.bounds import OutputRange
from bispik.compiler.fixed_point import STOCK_BIAS_MAX, STOCK_EXPONENT, STOCK_THRESHOLD_MAX
from bispik.compiler.program import IntegerNeurons, IntegerProjection
from bispik.models.errors import BispikError

BIAS_EXPONENT_MAX = 7
"""``bias_exp`` has 3 bits."""

DELAY_MAX = 63
"""Steps that a synapse can delay a spike by (6 bits)."""

ACTIVATION_BITS = 32
"""Lava's `Dense` sends 32-bit signed integers; a larger one would wrap."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StockNeurons:
    """Constants of Lava's ``LIFReset``, for a current that has no memory (du = 4095)."""

    dv: int
    vth: int
    bias_mant: npt.NDArray[np.int32]
    """(n,), 13 bits signed."""
    bias_exp: npt.NDArray[np.int32]
    """(n,), 0 to 7."""


def stock_neurons(name: str, neurons: IntegerNeurons) -> StockNeurons:
    """Write neurons for ``LIFReset``: one threshold vth << 6, hard reset, bias bias_mant << bias_exp.

    Raises:
        BispikError: if they do not fit.
    """
    if neurons.spikes != "binary":
        raise BispikError(f"{name}: Lava's LIFReset only spikes 0 or 1; use the bispik neuron program")
    threshold, rest = divmod(int(neurons.threshold[0]), 1 << STOCK_EXPONENT)
    if neurons.reset != "hard":
        raise BispikError(
            f"{name}: Lava's LIFReset resets to 0, these neurons reset softly; use the bispik neuron program"
        )
    if rest or (neurons.threshold != neurons.threshold[0]).any():
        raise BispikError(
            f"{name}: Lava's LIFReset has one threshold a population, a multiple of {1 << STOCK_EXPONENT}"
        )
    if not 0 <= threshold <= STOCK_THRESHOLD_MAX:
        raise BispikError(f"{name}: threshold {threshold} is outside Lava's 0 to {STOCK_THRESHOLD_MAX}")
    mantissa, exponent = stock_bias(name, neurons.bias)
    return StockNeurons(dv=neurons.decay, vth=threshold, bias_mant=mantissa, bias_exp=exponent)


def stock_bias(name: str, bias: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Split biases into a 13-bit mantissa and the smallest exponent that makes it fit."""
    mantissa, exponent = bias.copy(), np.zeros_like(bias)
    for _ in range(BIAS_EXPONENT_MAX):
        too_large = np.abs(mantissa) > STOCK_BIAS_MAX
        mantissa[too_large] >>= 1
        exponent[too_large] += 1
    wrong = ((mantissa << exponent) != bias) | (np.abs(mantissa) > STOCK_BIAS_MAX)
    if wrong.any():
        raise BispikError(
            f"{name}: bias {bias[wrong][0]} of neuron {int(np.flatnonzero(wrong)[0])} is no 13-bit number "
            f"shifted by at most {BIAS_EXPONENT_MAX}"
        )
    return mantissa, exponent


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenseSynapses:
    """Parameters of Lava's ``Dense`` that make it send (weight @ s) << shift exactly, one step later.

    Lava drops the lowest bit of signed weights: they are doubled, and the exponent takes that back.
    """

    weights: npt.NDArray[np.int32]
    """(neurons, inputs): 2 * weight."""
    weight_exp: int
    """shift - 1."""
    num_message_bits: int
    """0 for inputs that spike 0 or 1; else the bits of a graded or signed input."""


def dense_synapses(
    name: str, projection: IntegerProjection, shift: int, inputs: int, outputs: OutputRange
) -> DenseSynapses:
    """Write a projection for Lava's ``Dense``.

    Args:
        name: of the population, for the message.
        projection: the synapses.
        shift: what the exponent leaves after the neurons' own shift.
        inputs: size of the source.
        outputs: what the source can send.

    Raises:
        BispikError: if the shift is negative or a sum could leave 32 bits.
    """
    weight = projection.weight
    if weight is None:
        weight = np.ones(inputs, np.int8)
    doubled = 2 * (np.diag(weight) if weight.ndim == 1 else weight).astype(np.int32)
    if shift < 0:
        raise BispikError(
            f"{name}: exponent {projection.exponent} from {projection.source} is below "
            f"the {projection.exponent - shift} that Lava's neurons shift by"
        )
    reach = int(np.abs(doubled).sum(axis=1, dtype=np.int64).max()) * outputs.magnitude << shift
    if reach >= 1 << (ACTIVATION_BITS - 1):
        raise BispikError(
            f"{name}: currents from {projection.source} could reach {reach:,} of {(1 << (ACTIVATION_BITS - 1)) - 1:,} "
            f"({ACTIVATION_BITS} bits in Lava's Dense)"
        )
    # A spike of -1 is a graded message of one bit and a sign; Lava takes 0 bits as a spike of 1, whatever arrives.
    binary = outputs == OutputRange(0, 1)
    bits = 0 if binary else outputs.magnitude.bit_length() + outputs.signed
    return DenseSynapses(weights=doubled, weight_exp=shift - 1, num_message_bits=bits)
