"""Whether a stream program's parts fit together: a program from a file is checked before anything runs it.

What is checked here no compiler run could produce, or no backend could run safely; what a target can represent is a
matter of `bispik.compiler.stream.rules`.
"""

from __future__ import annotations

import math

import numpy as np

from bispik.compiler.consistency import EXPONENT_MAX
from bispik.compiler.fixed_point import DECAY_ONE, MEMBRANE_MAX
from bispik.compiler.stream.bounds import current_reach
from bispik.compiler.stream.program import IntegerStreamPopulation, IntegerStreamProjection, StreamProgram
from bispik.compiler.stream.wiring import Convolution, OneToOne, Sparse
from bispik.models.errors import BispikError

DELAY_MAX = 4096
"""Steps of a projection's delay."""

INPUT_MAX = (1 << 15) - 1
"""Largest magnitude of an input value: runs and traces hold 16 bits."""

NEURONS_MAX = 1 << 26
"""Neurons and input channels of a program together."""

HISTORY_MAX = 1 << 28
"""Neurons and input channels, times the steps that the longest delay looks back: what a run has to remember."""

GEOMETRY_MAX = 1 << 16
"""Largest stride, padding and dilation of a convolution."""


def check_stream_program(program: StreamProgram, where: str) -> None:
    """Check shapes, ranges and the order of populations.

    Raises:
        BispikError: naming the population, for anything that no compiler run could have produced.
    """
    _check_whole(program, where)
    sizes = {program.input.name: program.input.size}
    for population in program.populations:
        place = f"{where}: {population.name}"
        expect(population.name not in sizes, place, "two nodes have this name")
        expect(population.name != "", place, "a population without a name")
        _check_shape(population.shape, population.size, place)
        sizes[population.name] = population.size
    outputs = {population.name: population.neurons.output for population in program.populations}
    before = {program.input.name}
    for population in program.populations:
        place = f"{where}: {population.name}"
        _check_neurons(population, place)
        expect(len(population.inputs) > 0, place, "no input")
        for entry in population.inputs:
            from_where = f"{place} from {entry.source}"
            expect(entry.source in sizes, from_where, "this source is not there")
            expect(outputs.get(entry.source) != "membrane", from_where, "membranes go to the host alone")
            expect(0 <= entry.delay <= DELAY_MAX, from_where, f"a delay of {entry.delay}, not 0 to {DELAY_MAX}")
            late = entry.delay > 0 or entry.source in before
            expect(late, from_where, "no delay, and this source does not come before it")
            _check_projection(entry, sizes[entry.source], population.size, from_where)
        before.add(population.name)
    _check_history(program, sum(sizes.values()), where)


def check_currents(program: StreamProgram, where: str) -> None:
    """Check the compiler's proof that no current leaves its 24 bits; the program must be consistent otherwise.

    Raises:
        BispikError: naming the population.
    """
    for population in program.populations:
        reached = float(current_reach(program.input, population.inputs, population.neurons).max(initial=0))
        fits = reached <= MEMBRANE_MAX
        expect(fits, f"{where}: {population.name}", f"a current could reach {reached:,.0f} of {MEMBRANE_MAX:,}")


def expect(fits: bool, where: str, message: str) -> None:
    """Raise a BispikError unless something holds."""
    if not fits:
        raise BispikError(f"{where}: {message}")


def _check_whole(program: StreamProgram, where: str) -> None:
    entry, place = program.input, f"{where}: {program.input.name}"
    _check_shape(entry.shape, entry.size, place)
    expect(-INPUT_MAX <= entry.low <= 0 <= entry.high <= INPUT_MAX, place, f"input from {entry.low} to {entry.high}")
    expect(math.isfinite(entry.unit) and entry.unit > 0, place, f"a unit of {entry.unit}")
    expect(math.isfinite(program.dt) and program.dt > 0, where, f"time steps of {program.dt} s")
    expect(1 <= program.bits <= 8, where, f"{program.bits} bits")
    expect(len(program.populations) > 0, where, "no population")
    names = [population.name for population in program.populations]
    expect(program.output in names, where, f"the host reads {program.output}, which is not there")
    expect(set(program.membrane_scale) == set(names), where, "membrane scales of other populations")
    for population in program.populations:
        shape = population.neurons.threshold.shape
        expect(len(shape) == 1 and shape[0] >= 1, f"{where}: {population.name}", "no neurons")
        scale = program.membrane_scale[population.name]
        fits = scale.shape == (population.size,) and bool((np.isfinite(scale) & (scale > 0)).all())
        expect(fits, f"{where}: {population.name}", "membrane scales that are no positive numbers, or not one a neuron")


def _check_history(program: StreamProgram, neurons: int, where: str) -> None:
    longest = max(entry.delay for population in program.populations for entry in population.inputs)
    expect(neurons <= NEURONS_MAX, where, f"{neurons:,} neurons and input channels of {NEURONS_MAX:,}")
    remembered = neurons * (longest + 1)
    expect(
        remembered <= HISTORY_MAX,
        where,
        f"{neurons:,} neurons and input channels with a delay of {longest:,} steps: a run had to remember "
        f"{remembered:,} numbers of {HISTORY_MAX:,}; use shorter delays",
    )


def _check_shape(shape: tuple[int, ...], size: int, place: str) -> None:
    plausible = 1 <= len(shape) <= 8 and all(1 <= length <= NEURONS_MAX for length in shape)
    expect(plausible and math.prod(shape) == size, place, f"shape {shape} for {size:,} channels")


def _check_neurons(population: IntegerStreamPopulation, place: str) -> None:
    neurons = population.neurons
    size = neurons.threshold.shape
    for what in ("current_decay", "decay", "subtract", "bias", "initial", "initial_current"):
        expect(getattr(neurons, what).shape == size, place, f"{what} is not one number a neuron")
    lows = {"current_decay": 1, "decay": 0}
    for what in ("current_decay", "decay", "threshold", "subtract", "bias", "initial", "initial_current"):
        low, high = (lows[what], DECAY_ONE) if what in lows else (-MEMBRANE_MAX, MEMBRANE_MAX)
        values = getattr(neurons, what)
        least, most = int(values.min()), int(values.max())
        expect(low <= least and most <= high, place, f"{what} from {least:,} to {most:,}, not {low:,} to {high:,}")
    soft = neurons.reset == "soft" or not neurons.subtract.any()
    expect(soft, place, "something to subtract without a soft reset")
    expect(neurons.output == "spikes" or neurons.reset == "none", place, "a reset of neurons that do not spike")


def _check_projection(entry: IntegerStreamProjection, source: int, size: int, place: str) -> None:
    wiring = entry.wiring
    expect(0 <= entry.exponent <= EXPONENT_MAX, place, f"exponent {entry.exponent}, not 0 to {EXPONENT_MAX}")
    expect(1 <= entry.bits <= 8, place, f"{entry.bits} bits a weight")
    if isinstance(wiring, Convolution):
        _check_convolution(wiring, place)
    if isinstance(wiring, Sparse):
        _check_sparse(wiring, place)
    ends = f"synapses of {wiring.inputs:,} to {wiring.outputs:,} neurons between {source:,} and {size:,}"
    expect(wiring.inputs == source and wiring.outputs == size, place, ends)
    shape = (size,) if isinstance(wiring, OneToOne) else wiring.weight_shape
    expect(entry.weight.shape == shape, place, f"weights of shape {entry.weight.shape}, expected {shape}")
    expect(int(entry.weight.min(initial=0)) >= -127, place, "a weight of -128")


def _check_convolution(wiring: Convolution, place: str) -> None:
    expect(all(1 <= length <= NEURONS_MAX for length in (*wiring.source, *wiring.target)), place, "an empty map")
    channels = wiring.groups >= 1 and wiring.source[0] % wiring.groups == wiring.target[0] % wiring.groups == 0
    expect(channels, place, f"{wiring.groups} groups of {wiring.source[0]} and {wiring.target[0]} channels")
    for axis in (0, 1):
        least = min(wiring.kernel[axis], wiring.stride[axis], wiring.dilation[axis])
        largest = max(wiring.kernel[axis], wiring.stride[axis], wiring.dilation[axis], wiring.padding[axis])
        inside = least >= 1 and wiring.padding[axis] >= 0 and largest <= GEOMETRY_MAX
        expect(inside, place, f"a kernel, stride, dilation or padding outside of 1 to {GEOMETRY_MAX:,}")
        reads = (wiring.target[axis + 1] - 1) * wiring.stride[axis] - wiring.padding[axis]
        met = reads < wiring.source[axis + 1] + wiring.padding[axis]
        expect(met, place, "rows whose kernel lies wholly beyond the source and its padding")


def _check_sparse(wiring: Sparse, place: str) -> None:
    expect(wiring.inputs >= 1 and wiring.outputs >= 1, place, "synapses of no neurons")
    expect(wiring.sources.ndim == 1 and wiring.starts.shape == (wiring.outputs + 1,), place, "rows that are not listed")
    synapses = len(wiring.sources)
    ends = wiring.starts[0] == 0 and wiring.starts[-1] == synapses and bool((np.diff(wiring.starts) >= 0).all())
    expect(bool(ends), place, "rows that do not follow each other")
    inside = synapses == 0 or (wiring.sources.min() >= 0 and wiring.sources.max() < wiring.inputs)
    expect(bool(inside), place, "synapses from neurons that are not there")
    same_row = wiring.rows[1:] == wiring.rows[:-1]
    ascending = (np.diff(wiring.sources.astype(np.int64)) > 0) | ~same_row
    expect(bool(ascending.all()), place, "a row whose sources do not ascend")
