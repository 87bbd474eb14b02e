"""A stream program handed to the C++ engine: its synapses as they lie in memory, and how wide its currents are."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.backends.sim import _kernels
from bispik.compiler.fixed_point import MEMBRANE_MAX
from bispik.compiler.stream.program import IntegerStreamNeurons, IntegerStreamProjection, StreamProgram
from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Sparse

NARROW = 1 << 30
"""Currents, and biases plus subtractions, that stay below are added in 32 bits, with room for a membrane."""


@dataclass(frozen=True, eq=False)  # without slots: sessions of a program find it through a weak reference
class NativeStream:
    """A program in the engine; its populations have the numbers from 1 on, in order."""

    program: StreamProgram
    network: _kernels.StreamNetwork


_SHARED: weakref.WeakValueDictionary[int, NativeStream] = weakref.WeakValueDictionary()


def native_stream(program: StreamProgram) -> NativeStream:
    """Build the network, or return that of another session of the same program, which is still alive.

    Dense weights that lie input-major in memory, as in a mapped ``program.bspk``, are used where they are; others are
    copied.
    """
    shared = _SHARED.get(id(program))
    if shared is None or shared.program is not program:
        shared = _SHARED[id(program)] = NativeStream(program, _built(program))
    return shared


def _built(program: StreamProgram) -> _kernels.StreamNetwork:
    entry = program.input
    network = _kernels.StreamNetwork(input_size=entry.size, graded=entry.low < 0 or entry.high > 1)
    numbers, magnitudes = {entry.name: 0}, {entry.name: max(abs(entry.low), abs(entry.high))}
    for population in program.populations:
        magnitudes[population.name] = 1 if population.neurons.output == "spikes" else MEMBRANE_MAX
    for population in program.populations:
        current = sum(_largest(p) * magnitudes[p.source] << p.exponent for p in population.inputs)
        numbers[population.name] = network.population(_neurons(population.neurons, current))
    for population in program.populations:
        for projection in population.inputs:
            place = _kernels.StreamPlace(
                target=numbers[population.name],
                source=numbers[projection.source],
                exponent=projection.exponent,
                delay=projection.delay,
            )
            _add(network, place, projection)
    return network


def _add(network: _kernels.StreamNetwork, place: _kernels.StreamPlace, projection: IntegerStreamProjection) -> None:
    weight = projection.weight
    match projection.wiring:
        case Dense():
            network.dense(place, np.ascontiguousarray(weight.T))
        case OneToOne():
            network.one_to_one(place, np.ascontiguousarray(weight))
        case Sparse() as sparse:
            starts, sources = np.ascontiguousarray(sparse.starts), np.ascontiguousarray(sparse.sources)
            network.sparse(place, starts, sources, np.ascontiguousarray(weight))
        case Convolution() as kernel:
            network.convolution(
                place,
                np.ascontiguousarray(weight),
                source=kernel.source,
                target=kernel.target,
                stride=kernel.stride,
                padding=kernel.padding,
                dilation=kernel.dilation,
                groups=kernel.groups,
            )


def _neurons(neurons: IntegerStreamNeurons, current: int) -> _kernels.StreamNeurons:
    """Constants of neurons whose synapses add at most ``current`` in magnitude in a step."""
    added = sum(_magnitude(constant) for constant in (neurons.bias, neurons.subtract))
    wide = (
        current >= NARROW
        or added >= NARROW
        or max(_magnitude(neurons.initial), _magnitude(neurons.initial_current)) > MEMBRANE_MAX
    )

    def given(constant: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        return np.ascontiguousarray(constant, np.int32)

    return _kernels.StreamNeurons(
        reset=neurons.reset,
        spiking=neurons.output == "spikes",
        wide=wide,
        current_decay=given(neurons.current_decay),
        decay=given(neurons.decay),
        threshold=given(neurons.threshold),
        subtract=given(neurons.subtract),
        bias=given(neurons.bias),
        initial=given(neurons.initial),
        initial_current=given(neurons.initial_current),
    )


def _largest(projection: IntegerStreamProjection) -> int:
    """Bound on the magnitude of any neuron's weights, added up: its number of synapses times the largest weight."""
    match projection.wiring:
        case Dense(inputs=inputs):
            synapses = inputs
        case OneToOne():
            synapses = 1
        case Sparse(starts=starts):
            synapses = int(np.diff(starts).max(initial=0))
        case Convolution():
            synapses = int(np.prod(projection.weight.shape[1:]))
    return synapses * _magnitude(projection.weight)


def _magnitude(numbers: npt.NDArray[np.int8] | npt.NDArray[np.int32]) -> int:
    """Return the largest magnitude; that of the smallest integer has no integer of its own width."""
    return max(int(numbers.max(initial=0)), -int(numbers.min(initial=0)))
