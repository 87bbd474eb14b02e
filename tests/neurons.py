"""Neurons of a program, run alone, as the reference runs them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.reference import NeuronState
from bispik.compiler.program import IntegerNeurons

IntArray = npt.NDArray[np.int64]


def run_neurons(neurons: IntegerNeurons, current: npt.ArrayLike) -> tuple[IntArray, IntArray, int]:
    """Spikes, stored membranes, both as the currents (steps, ..., n), and how many updates saturated; from rest."""
    currents = np.asarray(current, np.int64)
    constants = (neurons.threshold, neurons.subtract, neurons.bias)
    state = NeuronState(neurons, *(np.broadcast_to(c.astype(np.int64), currents.shape[1:]) for c in constants))
    spikes, membranes, saturations = np.empty_like(currents), np.empty_like(currents), 0
    for step, arriving in enumerate(currents):
        spikes[step], saturated = state.step(arriving)
        membranes[step] = state.membrane
        saturations += saturated
    return spikes, membranes, saturations
