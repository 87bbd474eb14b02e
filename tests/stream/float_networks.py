"""Small stream networks in real numbers, for tests."""

from __future__ import annotations

import numpy as np

from bispik.compiler.graph import Fire
from bispik.compiler.stream.network import (
    FloatArray,
    Output,
    StreamInput,
    StreamNetwork,
    StreamNeurons,
    StreamPopulation,
    StreamProjection,
    StreamReset,
)
from bispik.compiler.stream.wiring import Wiring


def neurons(
    size: int,
    *,
    keep: float = 0.9,
    current_keep: float = 0.0,
    threshold: float | FloatArray = 1.0,
    bias: float | FloatArray = 0.0,
    initial: float = 0.0,
    initial_current: float | FloatArray = 0.0,
    reset: StreamReset = "hard",
    fire: Fire = "gt",
    output: Output = "spikes",
) -> StreamNeurons:
    """Return neurons that share their constants unless arrays are given."""

    def each(value: float | FloatArray) -> FloatArray:
        return np.broadcast_to(np.asarray(value, np.float64), (size,)).copy()

    return StreamNeurons(
        current_keep=each(current_keep),
        keep=each(keep),
        bias=each(bias),
        threshold=each(threshold),
        subtract=each(threshold if reset == "soft" else 0.0),
        initial=each(initial),
        initial_current=each(initial_current),
        reset=reset,
        fire=fire,
        output=output,
    )


def population(name: str, of: StreamNeurons, *inputs: StreamProjection) -> StreamPopulation:
    """Return a population without a shape of its own."""
    return StreamPopulation(name=name, shape=(of.size,), inputs=inputs, neurons=of)


def projection(source: str, wiring: Wiring, weight: FloatArray, delay: int = 0) -> StreamProjection:
    """Return synapses."""
    return StreamProjection(source=source, wiring=wiring, weight=weight.astype(np.float64), delay=delay)


def network(shape: tuple[int, ...], *populations: StreamPopulation) -> StreamNetwork:
    """Return a network whose last population is read."""
    return StreamNetwork(
        input=StreamInput(name="input", shape=shape, size=int(np.prod(shape))),
        populations=populations,
        output=populations[-1].name,
        dt=1e-3,
        discretisation="euler",
        origin="made by a test",
    )
