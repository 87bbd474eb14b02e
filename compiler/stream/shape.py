"""The shape of a stream program: what a mapping has to know of it, and no weight."""

from __future__ import annotations

from dataclasses import replace

from bispik.compiler.fixed_point import DECAY_ONE
from bispik.compiler.shapes import InputShape, NetworkShape, NodeShape, network_shape
from bispik.compiler.stream.layout import LaidWiring, Layout, layout_of
from bispik.compiler.stream.program import IntegerStreamPopulation, StreamProgram
from bispik.compiler.stream.schedule import Schedule
from bispik.compiler.stream.wiring import Dense, OneToOne


def stream_shape(program: StreamProgram, timing: Schedule) -> NetworkShape:
    """Return the shape of a stream program.

    The host's input arrives on axons, as another population's spikes do. What a projection has to wait for is kept in
    front of its synapses, by every neurocore that reads it: per source neuron and step of the wait one bit for spikes,
    and for a graded input as many as its numbers have. (Assumed: no public source says what a delay takes.) Spikes that
    the host reads leave on an axon of their own.
    """
    nodes = tuple(_node(program, timing, population) for population in program.populations)
    network = network_shape(nodes, steps_per_token=1, window=1)
    read = {program.output} if program.population(program.output).neurons.output == "spikes" else set[str]()
    counted = (replace(node, readers=node.readers + (node.name in read)) for node in network.nodes)
    return replace(network, nodes=tuple(counted))


def input_is_graded(program: StreamProgram) -> bool:
    """Say whether the host sends numbers other than 0 and 1."""
    return not (program.input.low >= 0 and program.input.high <= 1)


def payload_bits(program: StreamProgram) -> int:
    """Return the bits that a number of the host's input takes beside the spike that carries it; 0 for spikes."""
    if not input_is_graded(program):
        return 0
    entry = program.input
    return max(entry.high, -entry.low).bit_length() + (entry.low < 0)


def _node(program: StreamProgram, timing: Schedule, population: IntegerStreamPopulation) -> NodeShape:
    neurons = population.neurons
    ours = neurons.program == "bispik"
    layout = layout_of(population)
    return NodeShape(
        name=population.name,
        kind="population",
        size=population.size,
        inputs=tuple(_input(program, timing, population, index, layout) for index in range(len(population.inputs))),
        program=neurons.program,
        own_current=ours and bool((neurons.current_decay != DECAY_ONE).any()),
        own_decays=ours and any(len(set(decay.tolist())) > 1 for decay in (neurons.decay, neurons.current_decay)),
    )


def _input(
    program: StreamProgram, timing: Schedule, population: IntegerStreamPopulation, index: int, layout: Layout
) -> InputShape:
    entry = population.inputs[index]
    wiring, one_to_one = entry.wiring, isinstance(entry.wiring, OneToOne)
    simple = isinstance(wiring, Dense) or (one_to_one and not layout.reordered)
    each = max(1, payload_bits(program)) if entry.source == program.input.name else 1
    return InputShape(
        source=entry.source,
        fan_in=1 if one_to_one else wiring.inputs,
        one_to_one=one_to_one,
        bits=entry.bits,
        host=False,
        laid=None if simple else LaidWiring(wiring=wiring, layout=layout),
        wait_bits=timing.waits[population.name, index] * each,
    )
