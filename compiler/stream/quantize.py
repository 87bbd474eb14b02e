"""Stream network to integers, with a proof that no current overflows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bispik.compiler.calibrate import largest_integer
from bispik.compiler.fixed_point import MEMBRANE_MAX
from bispik.compiler.program import NeuronProgram
from bispik.compiler.stream.bounds import current_reach
from bispik.compiler.stream.network import FloatArray, StreamNetwork, StreamPopulation
from bispik.compiler.stream.program import (
    IntegerStreamInput,
    IntegerStreamPopulation,
    IntegerStreamProjection,
    StreamProgram,
)
from bispik.compiler.stream.quantize_neurons import check_stock, integer_stream_neurons, reached_membrane
from bispik.compiler.stream.quantize_synapses import WeightedInput, Written, written_synapses
from bispik.compiler.stream.schedule import schedule
from bispik.models.errors import BispikError

INPUT_MAX = (1 << 15) - 1
"""Largest magnitude of a graded input: 16 bits of payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """What the user chooses."""

    bits: int = 8
    """Bits per synaptic weight, 1 to 8."""
    neuron_program: NeuronProgram = "stock"
    low: float = 0.0
    """Least number of the network's input."""
    high: float = 1.0
    unit: float = 1.0
    """Whole numbers that the chip gets per 1.0 of the network's input: 1 for spikes and counts."""


MAGNITUDE_MAX = 1e30
"""Of a network's numbers: products and quotients of a few of them are real numbers of 64 bits."""


def quantize_stream(network: StreamNetwork, options: StreamOptions) -> StreamProgram:
    """Return the network in integers.

    Every population gets membrane units per unit of the float membrane: one factor for neurons that share weights
    (``bispik``), or factors that make all thresholds the same number (``stock``). Threshold, bias and weights share it.
    The exponent on the currents is the largest for which no input whatever drives a current or a leaking membrane out
    of 24 bits. A membrane that hardly leaks can always get there in the end; it saturates then, as Lava's does, and
    that is counted in every run.

    Raises:
        BispikError: if the options do not fit the network, or no exponent keeps a population from overflowing.
    """
    if not 1 <= options.bits <= 8:
        raise BispikError(f"--bits {options.bits}: weights have 1 to 8 bits")
    schedule(network.input.name, network.populations)  # refuses a loop that a chip has no time for
    entry = _input(network, options)
    populations: list[IntegerStreamPopulation] = []
    scales: dict[str, FloatArray] = {}
    for node in network.populations:
        _check_magnitudes(node)
        population, scales[node.name] = _population(node, entry, options)
        populations.append(population)
    return StreamProgram(
        input=entry,
        populations=tuple(populations),
        output=network.output,
        dt=network.dt,
        discretisation=network.discretisation,
        origin=network.origin,
        bits=options.bits,
        neuron_program=options.neuron_program,
        membrane_scale=scales,
    )


def _check_magnitudes(node: StreamPopulation) -> None:
    """Refuse numbers that no network in use has.

    Raises:
        BispikError: naming the population and the number.
    """
    neurons = node.neurons
    arrays = {"threshold": neurons.threshold, "bias": neurons.bias, "subtraction": neurons.subtract}
    arrays |= {"initial membrane": neurons.initial, "initial current": neurons.initial_current}
    arrays |= {f"weight from {entry.source}": entry.weight for entry in node.inputs}
    for what, values in arrays.items():
        largest = float(np.abs(values).max(initial=0.0))
        if not largest <= MAGNITUDE_MAX:
            raise BispikError(f"{node.name}: a {what} of {largest:g}, more than {MAGNITUDE_MAX:g}; scale the network")


def _input(network: StreamNetwork, options: StreamOptions) -> IntegerStreamInput:
    low, high = round(options.low * options.unit), round(options.high * options.unit)
    if not -INPUT_MAX <= low <= 0 <= high <= INPUT_MAX or low == high:
        raise BispikError(
            f"input from {options.low:g} to {options.high:g} is sent as whole numbers from {low:,} to {high:,}; "
            f"they must enclose 0 and lie within {INPUT_MAX:,} on either side"
        )
    entry = network.input
    return IntegerStreamInput(
        name=entry.name, shape=entry.shape, size=entry.size, low=low, high=high, unit=options.unit
    )


def _population(
    node: StreamPopulation, entry: IntegerStreamInput, options: StreamOptions
) -> tuple[IntegerStreamPopulation, FloatArray]:
    if options.neuron_program == "stock":
        check_stock(node)
    inputs = tuple(
        WeightedInput(
            wiring=projection.wiring,
            weight=projection.weight / (entry.unit if projection.source == entry.name else 1.0),
        )
        for projection in node.inputs
    )
    reached = 0.0
    for written, bits in _finest_first(node, inputs, options):
        projections = tuple(
            IntegerStreamProjection(
                source=projection.source,
                wiring=projection.wiring,
                weight=weight,
                exponent=exponent,
                bits=bits,
                delay=projection.delay,
            )
            for projection, weight, exponent in zip(node.inputs, written.weights, written.exponents, strict=True)
        )
        neurons = integer_stream_neurons(node.neurons, written.scale, options.neuron_program)
        reached = reached_membrane(neurons, current_reach(entry, projections, neurons))
        if reached <= MEMBRANE_MAX:
            population = IntegerStreamPopulation(name=node.name, shape=node.shape, inputs=projections, neurons=neurons)
            return population, written.scale
    remedy = ", or --neurons bispik" if options.neuron_program == "stock" else ""
    raise BispikError(
        f"{node.name}: currents and membranes could reach {reached:,.0f} of {MEMBRANE_MAX:,} (24 bits) even at the "
        f"coarsest scale; use a smaller range of the input{remedy}"
    )


def _finest_first(
    node: StreamPopulation, inputs: tuple[WeightedInput, ...], options: StreamOptions
) -> Iterator[tuple[Written, int]]:
    """Yield ways to write the synapses, and the bits that their weights have.

    Exponents come from the finest on, then weights of half as many integers, and again.
    """
    for fewer in range(max(1, options.bits - 1)):
        largest = max(1, largest_integer(options.bits) >> fewer)
        for written in written_synapses(node.neurons, inputs, options.neuron_program, options.bits, largest):
            yield written, options.bits - fewer
