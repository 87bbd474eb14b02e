"""Design rules of stream programs: ranges that a neurocore and Lava's own processes can represent.

Each function is one rule and bears the sentence that it checks, as in `bispik.compiler.rules`, which has those on where
a network lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bispik.compiler.fixed_point import DECAY_ONE, STOCK_BIAS_MAX, STOCK_EXPONENT, STOCK_THRESHOLD_MAX
from bispik.compiler.mapping import Mapped
from bispik.compiler.rules import placement_violations, raise_first
from bispik.compiler.shapes import NetworkShape
from bispik.compiler.stream.bounds import current_reach
from bispik.compiler.stream.fabric import on_fabric
from bispik.compiler.stream.program import IntegerStreamPopulation, StreamProgram
from bispik.compiler.stream.schedule import schedule
from bispik.compiler.stream.shape import payload_bits
from bispik.compiler.target import Target

STOCK_WAIT_MAX = 62
"""Steps that a projection into Lava's own neurons can wait: Loihi's synaptic delays; Lava's go to 63."""

STOCK_BIAS_EXPONENT_MAX = 7
"""Largest ``bias_exp`` of Lava's LIF, of 3 bits."""


def check_stream(mapped: Mapped, program: StreamProgram, network: NetworkShape) -> None:
    """Check every rule on a mapped stream program.

    Raises:
        BispikError: with the first violation, the name of its rule, and how many more there are.
    """
    numbers = ((rule.__name__, text) for rule in STREAM_RULES for text in rule(program, mapped.target))
    sums = ((partial_sums_fit_their_payload.__name__, text) for text in partial_sums_fit_their_payload(mapped, program))
    raise_first([*placement_violations(mapped, network), *numbers, *sums])


def partial_sums_fit_their_payload(mapped: Mapped, program: StreamProgram) -> Iterator[str]:
    """A graded spike carries whatever a part of what rows read can add up to."""
    bits, fabric = mapped.target.storage.spike_payload_bits.value, on_fabric(program, mapped.parts)
    for part in mapped.parts:
        sums = fabric.population(part.name)
        reached = int(current_reach(program.input, sums.inputs, sums.neurons).max(initial=0))
        needed = reached.bit_length() + 1
        if needed > bits:
            yield f"{part.name}: sums of up to {reached:,} take {needed} bits; a graded spike carries {bits}"


def weight_bits_are_supported(program: StreamProgram, target: Target) -> Iterator[str]:
    """Stored weights have a number of bits that the neurocore knows."""
    low, high = target.storage.weight_bits_min.value, target.storage.weight_bits_max.value
    for population in program.populations:
        for entry in population.inputs:
            if not low <= entry.bits <= high:
                where = _place(population, entry.source)
                yield f"{where}: {entry.bits} bits a weight; {target.name} stores {low} to {high}"


def weights_fit_their_bits(program: StreamProgram, _: Target) -> Iterator[str]:
    """Weights lie in the symmetric range of their bits; of 1 bit they are -1 or 1."""
    for population in program.populations:
        for entry in population.inputs:
            limit = max(1, (1 << (entry.bits - 1)) - 1)
            largest = max(int(entry.weight.max(initial=0)), -int(entry.weight.min(initial=0)))
            if largest > limit:
                where = _place(population, entry.source)
                yield f"{where}: a weight of magnitude {largest}; {entry.bits} bits hold up to {limit}"


def neuron_constants_fit_the_membrane(program: StreamProgram, target: Target) -> Iterator[str]:
    """Thresholds, subtractions, biases and initial membranes are numbers that a membrane can hold."""
    limit = _membrane_max(target)
    for population in program.populations:
        for what in ("threshold", "subtract", "bias", "initial", "initial_current"):
            largest = int(np.abs(getattr(population.neurons, what).astype(np.int64)).max(initial=0))
            if largest > limit:
                yield f"{population.name}: a {what} of magnitude {largest:,}; membranes hold up to {limit:,}"


def currents_cannot_overflow(program: StreamProgram, target: Target) -> Iterator[str]:
    """No input whatever drives a current out of its range: Lava's would wrap there."""
    limit = _membrane_max(target)
    for population in program.populations:
        reached = float(current_reach(program.input, population.inputs, population.neurons).max(initial=0))
        if reached > limit:
            yield f"{population.name}: a current could reach {reached:,.0f} of {limit:,}; use fewer --bits"


def graded_input_fits_its_payload(program: StreamProgram, target: Target) -> Iterator[str]:
    """The host sends no number that a graded spike cannot carry."""
    entry, needed, bits = program.input, payload_bits(program), target.storage.spike_payload_bits.value
    if needed > bits:
        numbers = f"{entry.name}: numbers from {entry.low} to {entry.high}"
        if bits == 0:
            yield f"{numbers}, but {target.name} has no graded spikes; encode the input as spikes, 0 and 1"
        else:
            yield f"{numbers} take {needed} bits; a graded spike of {target.name} carries {bits}; use a smaller range"


def stock_neurons_reset_to_zero(program: StreamProgram, _: Target) -> Iterator[str]:
    """Lava's own neuron has a hard reset only; one that the host reads does not spike."""
    for population in _stock(program):
        neurons = population.neurons
        expected = "hard" if neurons.output == "spikes" else "none"
        if neurons.reset != expected:
            yield f"{population.name}: reset {neurons.reset!r}, which Lava's LIF does not have; use --neurons bispik"


def stock_neurons_share_their_constants(program: StreamProgram, _: Target) -> Iterator[str]:
    """Lava's own neuron has one ``vth``, ``du`` and ``dv`` a population."""
    for population in _stock(program):
        for what in ("threshold", "current_decay", "decay"):
            found = len(np.unique(getattr(population.neurons, what)))
            if found > 1:
                yield f"{population.name}: {found} different values of {what}; Lava's LIF has one; use --neurons bispik"


def stock_decays_fit_12_bits(program: StreamProgram, _: Target) -> Iterator[str]:
    """Lava's own neuron keeps at least a 4096th of its membrane: ``dv`` is 0 to 4095, as ``du`` is."""
    for population in _stock(program):
        largest = int(population.neurons.decay.max(initial=0))
        if largest >= DECAY_ONE:
            yield f"{population.name}: decay {largest}; Lava's LIF has up to {DECAY_ONE - 1}; use --neurons bispik"


def stock_thresholds_fit_17_bits(program: StreamProgram, _: Target) -> Iterator[str]:
    """Lava's own neuron has a ``vth`` of 17 bits and shifts it left by 6."""
    for population in _stock(program):
        for value in np.unique(population.neurons.threshold).tolist() if population.neurons.output == "spikes" else ():
            if value % (1 << STOCK_EXPONENT):
                yield f"{population.name}: threshold {value:,} is no multiple of {1 << STOCK_EXPONENT}"
            elif not 0 <= value >> STOCK_EXPONENT <= STOCK_THRESHOLD_MAX:
                vth = value >> STOCK_EXPONENT
                yield f"{population.name}: vth {vth:,}; Lava's LIF holds 0 to {STOCK_THRESHOLD_MAX:,}"


def stock_biases_share_an_exponent(program: StreamProgram, _: Target) -> Iterator[str]:
    """Lava's own neuron has biases of a 13-bit mantissa and one 3-bit exponent a population."""
    for population in _stock(program):
        bias = np.abs(population.neurons.bias.astype(np.int64))
        common = int(np.bitwise_or.reduce(bias, initial=0))
        trailing = (common & -common).bit_length() - 1 if common else 0
        exponent = min(trailing, STOCK_BIAS_EXPONENT_MAX)
        mantissa = int((bias >> exponent).max(initial=0))
        if mantissa > STOCK_BIAS_MAX:
            yield (
                f"{population.name}: bias_mant {mantissa:,} of {STOCK_BIAS_MAX:,} at bias_exp {exponent}; "
                "use --neurons bispik"
            )


def stock_currents_are_shifted_by_6(program: StreamProgram, _: Target) -> Iterator[str]:
    """Lava's own neuron shifts every current left by 6."""
    for population in _stock(program):
        for entry in population.inputs:
            if entry.exponent != STOCK_EXPONENT:
                yield f"{_place(population, entry.source)}: exponent {entry.exponent}, not {STOCK_EXPONENT}"


def stock_projections_wait_62_steps(program: StreamProgram, _: Target) -> Iterator[str]:
    """No spike waits longer for Lava's own neuron than its synapses can delay it."""
    waits = schedule(program.input.name, program.populations).waits
    for population in _stock(program):
        for index, entry in enumerate(population.inputs):
            wait = waits[population.name, index]
            if wait > STOCK_WAIT_MAX:
                where = _place(population, entry.source)
                yield f"{where}: waits {wait} steps of {STOCK_WAIT_MAX}; use a shorter delay or --neurons bispik"


StreamRule = Callable[[StreamProgram, Target], Iterator[str]]
STREAM_RULES: tuple[StreamRule, ...] = (
    weight_bits_are_supported,
    weights_fit_their_bits,
    neuron_constants_fit_the_membrane,
    currents_cannot_overflow,
    graded_input_fits_its_payload,
    stock_neurons_reset_to_zero,
    stock_neurons_share_their_constants,
    stock_decays_fit_12_bits,
    stock_thresholds_fit_17_bits,
    stock_biases_share_an_exponent,
    stock_currents_are_shifted_by_6,
    stock_projections_wait_62_steps,
)


def _membrane_max(target: Target) -> int:
    return (1 << (target.storage.membrane_bits.value - 1)) - 1


def _stock(program: StreamProgram) -> Iterator[IntegerStreamPopulation]:
    return (population for population in program.populations if population.neurons.program == "stock")


def _place(population: IntegerStreamPopulation, source: str) -> str:
    return f"{population.name} from {source}"
