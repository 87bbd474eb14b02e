"""The shape of a stream program: what a mapping has to know of it, and no weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bispik.compiler.fixed_point import DECAY_ONE
from bispik.compiler.mapping import FanInPart
from bispik.compiler.shapes import InputShape, NetworkShape, NodeShape, network_shape
from bispik.compiler.stream.layout import LaidWiring, Layout, layout_of
from bispik.compiler.stream.program import IntegerStreamPopulation, StreamProgram
from bispik.compiler.stream.schedule import Schedule
from bispik.compiler.stream.wiring import Dense, OneToOne, Sparse


def stream_shape(program: StreamProgram, timing: Schedule, parts: Sequence[FanInPart] = ()) -> NetworkShape:
    """Return the shape of a stream program, which with ``parts`` is that of `bispik.compiler.stream.fabric`.

    The host's input arrives on axons, as another population's spikes do. What a projection has to wait for is kept in
    front of its synapses, by every neurocore that reads it: per source neuron and step of the wait one bit for spikes,
    and for a graded input as many as its numbers have. (Assumed: no public source says what a delay takes.) Spikes that
    the host reads leave on an axon of their own.
    """
    places = {part.name: part for part in parts}
    nodes = tuple(_node(program, timing, population, places) for population in program.populations)
    network = network_shape(nodes, steps_per_token=1, window=1)
    read = {program.output} if program.population(program.output).neurons.output == "spikes" else set[str]()
    counted = (replace(node, readers=node.readers + (node.name in read)) for node in network.nodes)
    return replace(network, nodes=tuple(counted), parts=tuple(parts))


def input_is_graded(program: StreamProgram) -> bool:
    """Say whether the host sends numbers other than 0 and 1."""
    return not (program.input.low >= 0 and program.input.high <= 1)


def payload_bits(program: StreamProgram) -> int:
    """Return the bits that a number of the host's input takes beside the spike that carries it; 0 for spikes."""
    if not input_is_graded(program):
        return 0
    entry = program.input
    return max(entry.high, -entry.low).bit_length() + (entry.low < 0)


def _node(
    program: StreamProgram,
    timing: Schedule,
    population: IntegerStreamPopulation,
    parts: Mapping[str, FanInPart],
) -> NodeShape:
    if population.name in parts:
        return _part(program, timing, population, parts[population.name])
    neurons = population.neurons
    ours = neurons.program == "bispik"
    layout = layout_of(population)
    return NodeShape(
        name=population.name,
        kind="population",
        size=population.size,
        inputs=tuple(_inputs(program, timing, population, layout, parts)),
        program=neurons.program,
        own_current=ours and bool((neurons.current_decay != DECAY_ONE).any()),
        own_decays=ours and any(len(set(decay.tolist())) > 1 for decay in (neurons.decay, neurons.current_decay)),
    )


def _part(program: StreamProgram, timing: Schedule, population: IntegerStreamPopulation, part: FanInPart) -> NodeShape:
    entry = replace(_input(program, timing, population, 0, layout_of(population)), index=part.index)
    wiring, width = population.inputs[0].wiring, part.stop - part.start
    if isinstance(wiring, Sparse) and len(wiring.sources) == wiring.outputs * width:  # every row reads the same
        entry = replace(entry, laid=None, first=part.start, fan_in=width)
    return NodeShape(
        name=part.name, kind="partial", size=population.size, inputs=(entry,), program=population.neurons.program
    )


def _inputs(
    program: StreamProgram,
    timing: Schedule,
    population: IntegerStreamPopulation,
    layout: Layout,
    parts: Mapping[str, FanInPart],
) -> Iterator[InputShape]:
    """Yield the inputs, each with its index in the program, where the parts of an input are one."""
    of_program = -1
    for place, entry in enumerate(population.inputs):
        of_program = parts[entry.source].index if entry.source in parts else of_program + 1
        yield replace(_input(program, timing, population, place, layout), index=of_program)


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
