"""The neurons of one population in integers: decays, thresholds, biases, and what their currents can reach."""

from __future__ import annotations

import numpy as np

from bispik.compiler.fixed_point import DECAY_ONE, MEMBRANE_MAX, STOCK_EXPONENT
from bispik.compiler.program import NeuronProgram
from bispik.compiler.quantize_neurons import mantissa_rounded
from bispik.compiler.stream.network import FloatArray, StreamNeurons, StreamPopulation
from bispik.compiler.stream.program import IntegerStreamNeurons
from bispik.models.errors import BispikError

HEADROOM = 2
"""Bits that are left beyond threshold and one step's current where a membrane leaks too slowly for a bound: twice two
steps in which all that inhibits a neuron comes together. What saturates for all that is counted in every run."""


def integer_stream_neurons(neurons: StreamNeurons, scale: FloatArray, program: NeuronProgram) -> IntegerStreamNeurons:
    """Write neurons in integers; ``scale`` is membrane units per unit, (neurons,).

    v >= theta holds for an integer v exactly if v > ceil(theta * scale) - 1, and v > theta if v > floor(theta * scale).
    A threshold above the 24-bit range can never be reached and stays unreachable when it is cut there. A decay that is
    not 0 stays so: 1 / 4096 a step at least.
    """
    exact = neurons.threshold * scale
    strict = np.ceil(exact) - 1 if neurons.fire == "ge" else np.floor(exact)
    bias = np.rint(neurons.bias * scale)
    if program == "stock":
        strict = np.floor(exact / (1 << STOCK_EXPONENT)) * (1 << STOCK_EXPONENT)
        bias = mantissa_rounded(bias)
    if neurons.output == "membrane":
        strict = np.full(neurons.size, float(MEMBRANE_MAX))
    return IntegerStreamNeurons(
        program=program,
        reset=neurons.reset,
        output=neurons.output,
        current_decay=np.maximum(1, _decay(neurons.current_keep)).astype(np.int32),
        decay=_decay(neurons.keep).astype(np.int32),
        threshold=_clipped(strict),
        subtract=_clipped(np.rint(neurons.subtract * scale)),
        bias=_clipped(bias),
        initial=_clipped(np.rint(neurons.initial * scale)),
        initial_current=_clipped(np.rint(neurons.initial_current * scale)),
    )


def reached_membrane(neurons: IntegerStreamNeurons, current: FloatArray) -> float:
    """Return the largest magnitude that a membrane can reach, whatever the input, for |u| <= ``current``, (n,).

    With g = 4096 / decay, the sum 1 + k + k^2 + ... for k = 1 - decay / 4096:
    |v| <= g (|u| + |bias| + subtract) + |initial|. Neurons with a hard reset come no further above their threshold than
    one step takes them. Where g is so large that this says nothing of neurons that spike, or nothing leaks, what one
    step brings beyond the threshold must leave HEADROOM bits.
    """
    step = current + np.abs(neurons.bias.astype(np.float64)) + neurons.subtract
    start = np.abs(neurons.initial.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        leaking = np.where(step > 0, step * DECAY_ONE / neurons.decay, 0.0) + start
    if neurons.output == "membrane":
        beyond = np.where(neurons.decay > 0, leaking, step * float(1 << HEADROOM))
        return float(np.maximum(current, beyond).max())
    once = step + np.maximum(neurons.threshold, 0)
    beyond = np.minimum(leaking, once * float(1 << HEADROOM))
    return float(np.maximum(np.maximum(current, once), beyond).max())


def check_stock(node: StreamPopulation) -> None:
    """Check that Lava's own LIF can be this population.

    Raises:
        BispikError: saying what it cannot.
    """
    neurons, remedy = node.neurons, "use --neurons bispik"
    if neurons.output == "spikes" and neurons.reset != "hard":
        what = "subtract their threshold" if neurons.reset == "soft" else "have no reset"
        raise BispikError(f"{node.name}: these neurons {what}, Lava's own LIF resets to a value; {remedy}")
    for what, values in (("membrane decay", neurons.keep), ("current decay", neurons.current_keep)):
        decays = np.unique(_decay(values))
        if len(decays) > 1:
            raise BispikError(
                f"{node.name}: its neurons have {len(decays)} different values of the {what}, from {decays[0]:g} to "
                f"{decays[-1]:g} 4096ths a step; Lava's own LIF has one a population; {remedy}"
            )
    if _decay(neurons.keep).max() == DECAY_ONE:
        raise BispikError(f"{node.name}: a membrane without memory; Lava's own LIF keeps a 4096th of it; {remedy}")
    if neurons.output == "spikes" and float(neurons.threshold.min()) <= 0:
        raise BispikError(
            f"{node.name}: a threshold of {float(neurons.threshold.min()):g} above the reset; Lava's own LIF takes "
            f"positive ones; {remedy}"
        )


def _decay(keep: FloatArray) -> FloatArray:
    """Return lost 4096ths per step, at least 1 where anything is lost."""
    lost = np.rint((1.0 - keep) * DECAY_ONE)
    decay: FloatArray = np.where(keep < 1.0, np.clip(lost, 1, DECAY_ONE), 0.0)
    return decay


def _clipped(values: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    clipped: np.ndarray[tuple[int], np.dtype[np.int32]] = np.clip(values, -MEMBRANE_MAX, MEMBRANE_MAX).astype(np.int32)
    return clipped
