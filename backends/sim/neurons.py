"""Integer neurons over time, in float64 arithmetic that is exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.fixed_point import DECAY_ONE, MEMBRANE_MAX
from bispik.compiler.program import IntegerNeurons

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NeuronRun:
    """What neurons did over the steps of their tokens."""

    spikes: npt.NDArray[np.float32]
    """Shape of the currents; 0 or 1, or -1, 0 or 1."""
    membranes: Array | None
    """Stored membrane behind each step, if asked for."""
    saturations: int


def run_neurons(
    neurons: IntegerNeurons,
    current: Array,
    *,
    keep_membranes: bool = False,
    trailing_axes: int = 0,
    counted: npt.NDArray[np.bool_] | None = None,
) -> NeuronRun:
    """Run neurons from rest over the first axis of ``current``.

    The neuron's constants belong to the last axis of the current, or to the one before ``trailing_axes`` more.
    ``counted`` says which places exist at all (the causal mask); saturations elsewhere do not count.
    """
    shape = (-1,) + (1,) * trailing_axes
    threshold, subtract, bias = (
        constant.astype(np.float64).reshape(shape) for constant in (neurons.threshold, neurons.subtract, neurons.bias)
    )
    keep = (DECAY_ONE - neurons.decay) / DECAY_ONE
    spikes = np.empty(current.shape, np.float32)
    membranes = np.empty_like(current) if keep_membranes else None
    membrane = np.zeros_like(current[0])
    saturations = 0
    for step in range(len(current)):
        # The product is exact, so truncation toward zero is Lava's sign-magnitude shift.
        membrane = np.trunc(membrane * keep) + current[step] + bias
        if neurons.reset == "soft" and step:
            membrane -= subtract * spikes[step - 1]
        beyond = np.abs(membrane) > MEMBRANE_MAX
        if beyond.any():
            saturations += int(np.count_nonzero(beyond & counted if counted is not None else beyond))
            np.clip(membrane, -MEMBRANE_MAX, MEMBRANE_MAX, out=membrane)
        fired = membrane > threshold
        spikes[step] = fired
        if neurons.spikes == "ternary":
            below = membrane < -threshold
            spikes[step] -= below
            fired |= below
        if neurons.reset == "hard":
            membrane[fired] = 0.0
        if membranes is not None:
            membranes[step] = membrane
    return NeuronRun(spikes=spikes, membranes=membranes, saturations=saturations)
