"""Design rules on the integers of a program: ranges that a neurocore and Lava's own processes can represent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from bispik.compiler.bounds import (
    OutputRange,
    membrane_bound,
    norm_fits_64_bits,
    output_ranges,
    score_range,
    weight_range,
)
from bispik.compiler.fixed_point import DECAY_ONE, STOCK_BIAS_MAX, STOCK_EXPONENT, STOCK_THRESHOLD_MAX
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNeurons,
    IntegerNorm,
    IntegerPopulation,
    IntegerProjection,
    IntegerReadout,
    QuantizedProgram,
)
from bispik.compiler.target import Target

FloatArray = npt.NDArray[np.float64]


def weight_bits_are_supported(program: QuantizedProgram, target: Target) -> Iterator[str]:
    """Stored weights have a number of bits that the neurocore knows."""
    low, high = target.storage.weight_bits_min.value, target.storage.weight_bits_max.value
    for where, _, bits in _stored_weights(program):
        if not low <= bits <= high:
            yield f"{where}: {bits} bits a weight; {target.name} stores {low} to {high}"


def weights_fit_their_bits(program: QuantizedProgram, _: Target) -> Iterator[str]:
    """Weights lie in the symmetric range of their bits; of 1 bit they are -1 or 1."""
    for where, weight, bits in _stored_weights(program):
        limit = max(1, (1 << (bits - 1)) - 1)
        # int8 has no +128, so the magnitude is taken from both ends.
        largest = max(int(weight.max(initial=0)), -int(weight.min(initial=0)))
        if largest > limit:
            yield f"{where}: a weight of magnitude {largest}; {bits} bits hold up to {limit}"


def decays_fit_12_bits(program: QuantizedProgram, _: Target) -> Iterator[str]:
    """Decays are 0 to 4095."""
    for where, neurons in _neurons(program):
        if not 0 <= neurons.decay < DECAY_ONE:
            yield f"{where}: decay {neurons.decay}; it must be 0 to {DECAY_ONE - 1}"


def neuron_constants_fit_the_membrane(program: QuantizedProgram, target: Target) -> Iterator[str]:
    """Thresholds, subtractions and biases are numbers that a membrane can hold."""
    limit = _membrane_max(target)
    for where, neurons in _neurons(program):
        for what in ("threshold", "subtract", "bias"):
            largest = int(np.abs(getattr(neurons, what).astype(np.int64)).max(initial=0))
            if largest > limit:
                yield f"{where}: a {what} of magnitude {largest:,}; membranes hold up to {limit:,}"


def membranes_cannot_overflow(program: QuantizedProgram, target: Target) -> Iterator[str]:
    """No input whatever drives a membrane out of its range within the steps of a token."""
    limit = _membrane_max(target)
    for where, neurons, low, high in _current_ranges(program):
        bias, subtract = neurons.bias.astype(np.float64), neurons.subtract.astype(np.float64)
        bound = membrane_bound(low, high, bias, subtract, neurons.spikes, neurons.decay, program.steps_per_token)
        reached = float(bound.max(initial=0))
        if reached > limit:
            yield f"{where}: a membrane could reach {reached:,.0f} of {limit:,}; use fewer --bits or a smaller --window"


def accumulators_cannot_overflow(program: QuantizedProgram, target: Target) -> Iterator[str]:
    """No input whatever drives an accumulator of a readout on chip out of range within the steps of a token."""
    limit = _membrane_max(target)
    for node in (node for node in program.of_kind(IntegerReadout) if node.on_chip):
        low, high = weight_range(node.weight, output_ranges(program.nodes, program.window)[node.source], node.size)
        reached = int(max(high.max(initial=0), -low.min(initial=0))) * program.steps_per_token
        if reached > limit:
            yield f"{node.name}: an accumulator could reach {reached:,} of {limit:,}; use fewer --bits or --head host"


def graded_spikes_fit_their_payload(program: QuantizedProgram, target: Target) -> Iterator[str]:
    """No node sends a number, or a sign, that a graded spike cannot carry."""
    bits = target.storage.spike_payload_bits.value
    for where, outputs in output_ranges(program.nodes, program.window).items():
        size = outputs.magnitude.bit_length() if outputs.magnitude > 1 else 0  # that a spike comes says that it is 1
        if size + outputs.signed > bits:
            largest = f"{outputs.magnitude:,}{' with a sign' if outputs.signed else ''}"
            remedy = "use a smaller --window" if size else "ternary spikes need a target with graded ones"
            yield f"{where}: sends up to {largest}; a graded spike carries {bits} bits; {remedy}"


def joins_name_their_maximum(program: QuantizedProgram, _: Target) -> Iterator[str]:
    """The maximum of a join is no less than the sum of its inputs can be."""
    ranges = output_ranges(program.nodes, program.window)
    for node in program.of_kind(IntegerJoin):
        reached = ranges[node.name].magnitude
        if reached > node.maximum:
            yield f"{node.name}: can reach {reached}, but its maximum is {node.maximum}; quantise the graph anew"


def norms_fit_64_bits(program: QuantizedProgram, _: Target) -> Iterator[str]:
    """No input whatever makes a norm leave 64 bits on its way."""
    ranges = output_ranges(program.nodes, program.window)
    for node in program.of_kind(IntegerNorm):
        if not norm_fits_64_bits(node, ranges[node.source].magnitude):
            reached = ranges[node.source].magnitude
            yield f"{node.name}: inputs of up to {reached:,} in {node.size} channels leave 64 bits; quantise anew"


def ternary_thresholds_are_not_negative(program: QuantizedProgram, _: Target) -> Iterator[str]:
    """No membrane lies beyond both thresholds of a ternary neuron."""
    for where, neurons in _neurons(program):
        lowest = int(neurons.threshold.min(initial=0))
        if neurons.spikes == "ternary" and lowest < 0:
            yield f"{where}: a threshold of {lowest:,} for ternary spikes; it must be at least 0"


def stock_neurons_spike_binary(program: QuantizedProgram, _: Target) -> Iterator[str]:
    """Lava's own neuron has one threshold, above 0."""
    for node in _stock(program):
        if node.neurons.spikes != "binary":
            yield f"{node.name}: ternary spikes, which Lava's LIFReset does not have; use --neurons bispik"


def stock_neurons_reset_to_zero(program: QuantizedProgram, _: Target) -> Iterator[str]:
    """Lava's own neuron has a hard reset only."""
    for node in _stock(program):
        if node.neurons.reset != "hard" or node.neurons.subtract.any():
            yield f"{node.name}: a soft reset, which Lava's LIFReset does not have; use --neurons bispik"


def stock_neurons_share_a_threshold(program: QuantizedProgram, _: Target) -> Iterator[str]:
    """Lava's own neuron has one ``vth`` a population, of 17 bits, and shifts it left by 6."""
    for node in _stock(program):
        found = np.unique(node.neurons.threshold)
        if len(found) > 1:
            yield f"{node.name}: {len(found)} different thresholds; Lava's LIFReset has one; use --neurons bispik"
        elif any(value % (1 << STOCK_EXPONENT) for value in found.tolist()):
            yield f"{node.name}: threshold {found[0]:,} is no multiple of {1 << STOCK_EXPONENT}; use --neurons bispik"
        elif any(not 0 <= value >> STOCK_EXPONENT <= STOCK_THRESHOLD_MAX for value in found.tolist()):
            yield f"{node.name}: vth {found[0] >> STOCK_EXPONENT:,}; Lava's LIFReset holds 0 to {STOCK_THRESHOLD_MAX:,}"


def stock_biases_share_an_exponent(program: QuantizedProgram, _: Target) -> Iterator[str]:
    """Lava's own neuron has biases of a 13-bit mantissa and one exponent a population."""
    for node in _stock(program):
        bias = node.neurons.bias.astype(np.int64)
        common = int(np.bitwise_or.reduce(np.abs(bias), initial=0))
        exponent = (common & -common).bit_length() - 1 if common else 0
        mantissa = int((np.abs(bias) >> exponent).max(initial=0))
        if mantissa > STOCK_BIAS_MAX:
            yield f"{node.name}: bias_mant {mantissa:,} of {STOCK_BIAS_MAX:,}; use --neurons bispik"


def stock_currents_are_shifted_by_6(program: QuantizedProgram, _: Target) -> Iterator[str]:
    """Lava's own neuron shifts every current left by 6."""
    for node in _stock(program):
        for projection in node.inputs:
            if projection.exponent != STOCK_EXPONENT:
                yield f"{node.name} from {projection.source}: exponent {projection.exponent}, not {STOCK_EXPONENT}"


ProgramRule = Callable[[QuantizedProgram, Target], Iterator[str]]
PROGRAM_RULES: tuple[ProgramRule, ...] = (
    weight_bits_are_supported,
    weights_fit_their_bits,
    decays_fit_12_bits,
    neuron_constants_fit_the_membrane,
    membranes_cannot_overflow,
    accumulators_cannot_overflow,
    graded_spikes_fit_their_payload,
    joins_name_their_maximum,
    norms_fit_64_bits,
    ternary_thresholds_are_not_negative,
    stock_neurons_spike_binary,
    stock_neurons_reset_to_zero,
    stock_neurons_share_a_threshold,
    stock_biases_share_an_exponent,
    stock_currents_are_shifted_by_6,
)


def _membrane_max(target: Target) -> int:
    return (1 << (target.storage.membrane_bits.value - 1)) - 1


def _stock(program: QuantizedProgram) -> Iterator[IntegerPopulation]:
    return (node for node in program.of_kind(IntegerPopulation) if node.neurons.program == "stock")


def _neurons(program: QuantizedProgram) -> Iterator[tuple[str, IntegerNeurons]]:
    for node in program.nodes:
        if isinstance(node, IntegerPopulation | IntegerAttention):
            yield node.name, node.neurons


def _stored_weights(program: QuantizedProgram) -> Iterator[tuple[str, npt.NDArray[np.int8], int]]:
    for node in program.of_kind(IntegerPopulation):
        for projection in node.inputs:
            if projection.weight is not None:
                yield f"{node.name} from {projection.source}", projection.weight, projection.bits
    for readout in program.of_kind(IntegerReadout):
        yield readout.name, readout.weight, readout.bits


def _current_ranges(program: QuantizedProgram) -> Iterator[tuple[str, IntegerNeurons, FloatArray, FloatArray]]:
    """Yield the lowest and highest current into each neuron of each population and attention, in membrane units."""
    outputs = output_ranges(program.nodes, program.window)
    for node in program.nodes:
        if isinstance(node, IntegerAttention):
            scores, unit = score_range(node, outputs), float(1 << node.exponent)
            yield (
                node.name,
                node.neurons,
                np.full(node.heads, scores.low * unit),
                np.full(node.heads, scores.high * unit),
            )
        elif isinstance(node, IntegerPopulation):
            ranges = [_input_range(program, projection, node.size, outputs) for projection in node.inputs]
            low, high = np.array(ranges, np.float64).sum(axis=0)
            yield node.name, node.neurons, low, high


def _input_range(
    program: QuantizedProgram, projection: IntegerProjection, size: int, outputs: Mapping[str, OutputRange]
) -> tuple[FloatArray, FloatArray]:
    source = program.node(projection.source)
    if isinstance(source, IntegerInjection):
        low, high = _injected_range(source)
    else:
        low, high = weight_range(projection.weight, outputs[projection.source], size)
    factor = float(1 << projection.exponent)
    return np.broadcast_to(low * factor, size), np.broadcast_to(high * factor, size)


def _injected_range(injection: IntegerInjection) -> tuple[FloatArray, FloatArray]:
    low = injection.token_table.min(axis=0).astype(np.int64) + injection.position_table.min(axis=0)
    high = injection.token_table.max(axis=0).astype(np.int64) + injection.position_table.max(axis=0)
    gains = np.array(injection.step_gain, np.int64)[:, None]
    return (low * gains).min(axis=0).astype(np.float64), (high * gains).max(axis=0).astype(np.float64)
