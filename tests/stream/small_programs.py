"""Stream programs put together by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bispik.compiler.stream.network import Output, StreamReset
from bispik.compiler.stream.program import (
    IntegerStreamInput,
    IntegerStreamNeurons,
    IntegerStreamPopulation,
    IntegerStreamProjection,
    StreamProgram,
)
from bispik.compiler.stream.wiring import Wiring


def constants(
    size: int, *, reset: StreamReset = "soft", output: Output = "spikes", **numbers: int
) -> IntegerStreamNeurons:
    """Neurons without leak and memory whose threshold is 64, but for what is given."""

    def same(name: str, value: int) -> npt.NDArray[np.int32]:
        return np.full(size, numbers.get(name, value), np.int32)

    return IntegerStreamNeurons(
        program="bispik",
        reset=reset,
        output=output,
        current_decay=same("current_decay", 4096),
        decay=same("decay", 0),
        threshold=same("threshold", 64),
        subtract=same("subtract", 65 if reset == "soft" else 0),
        bias=same("bias", 0),
        initial=same("initial", 0),
        initial_current=same("initial_current", 0),
    )


def synapses(source: str, wiring: Wiring, weight: int, *, exponent: int = 6, delay: int = 0) -> IntegerStreamProjection:
    weights = np.full(wiring.weight_shape, weight, np.int8)
    return IntegerStreamProjection(source=source, wiring=wiring, weight=weights, exponent=exponent, bits=8, delay=delay)


def population(name: str, neurons: IntegerStreamNeurons, *inputs: IntegerStreamProjection) -> IntegerStreamPopulation:
    return IntegerStreamPopulation(name=name, shape=(neurons.size,), inputs=inputs, neurons=neurons)


def program_of(size: int, *populations: IntegerStreamPopulation, low: int = 0, high: int = 1) -> StreamProgram:
    return StreamProgram(
        input=IntegerStreamInput(name="input", shape=(size,), size=size, low=low, high=high, unit=1.0),
        populations=populations,
        output=populations[-1].name,
        dt=1e-3,
        discretisation="euler",
        origin="made by a test",
        bits=8,
        neuron_program="bispik",
        membrane_scale={p.name: np.ones(p.size) for p in populations},
    )


def random_synapses(source: str, wiring: Wiring, seed: int, *, delay: int = 0) -> IntegerStreamProjection:
    weights = np.random.default_rng(seed).integers(-128, 128, wiring.weight_shape, np.int8)
    return replace(synapses(source, wiring, 0, delay=delay), weight=weights)
