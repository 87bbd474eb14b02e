"""Whether a program's parts fit together: a program from a file is checked before anything runs it."""

from __future__ import annotations

from bispik.compiler.bounds import norm_fits_64_bits, output_ranges
from bispik.compiler.fixed_point import DECAY_ONE
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNeurons,
    IntegerNode,
    IntegerNorm,
    IntegerPopulation,
    IntegerProjection,
    IntegerReadout,
    QuantizedProgram,
)
from bispik.compiler.schedule import skews
from bispik.models.errors import BispikError

EXPONENT_MAX = 30
"""Currents are computed in 64 bits; a larger shift could leave them."""


JOIN_EXPONENT_MAX = 14
"""Largest shift of a join's input: outputs have 16 bits."""

NORM_BITS_MAX = 14
"""Most bits behind the point of a norm's output, and of its root: outputs have 16 bits."""

GAIN_MAX = 1 << 10
"""Largest factor on the embedding's 16-bit current; a ramp needs 8."""


def check_consistency(program: QuantizedProgram, where: str) -> None:
    """Check shapes, ranges and the order of nodes.

    Raises:
        BispikError: naming the node, for anything that no compiler run could have produced.
    """
    _expect(1 <= program.steps_per_token <= 8, where, f"{program.steps_per_token} time steps per token, not 1 to 8")
    _expect(program.window >= 1, where, f"a window of {program.window} tokens")
    for kind in (IntegerInjection, IntegerReadout):
        _expect(len(program.of_kind(kind)) == 1, where, f"{len(program.of_kind(kind))} nodes of kind {kind.__name__}")
    sizes: dict[str, int] = {}
    for node in program.nodes:
        place = f"{where}: {node.name}"
        _expect(node.name not in sizes, place, "two nodes have this name")
        for source in node.sources:
            _expect(source in sizes, place, f"its source {source} does not come before it")
        _expect(node.size >= 1, place, "no channels")
        _check_node(node, sizes, program, place)
        if not isinstance(node, IntegerReadout):  # nothing reads the readout but the host
            sizes[node.name] = node.size
    ranges = output_ranges(program.nodes, program.window)
    for join in program.of_kind(IntegerJoin):
        reached = ranges[join.name].magnitude
        fits = join.maximum == reached
        _expect(fits, f"{where}: {join.name}", f"maximum {join.maximum}, but its inputs reach {reached}")
    for norm in program.of_kind(IntegerNorm):
        fits = norm_fits_64_bits(norm, ranges[norm.source].magnitude)
        _expect(fits, f"{where}: {norm.name}", "its inputs could be too large to normalise in 64 bits")


def check_slices(mapped: MappedProgram, where: str) -> None:
    """Check that the neurocores hold every row of every node, and nothing else.

    Raises:
        BispikError: naming the node.
    """
    _check_parts(mapped, where)
    nodes = {node.name: node for node in mapped.program.nodes}
    nodes |= {part.name: nodes[part.node] for part in mapped.parts}
    stored = dict.fromkeys(nodes, 0)
    for part in (part for core in mapped.neurocores for part in core.slices):
        place = f"{where}: {part.node}"
        _expect(part.node in nodes, place, "a neurocore holds a part of a node that is not there")
        node = nodes[part.node]
        _expect(0 <= part.start < part.stop <= node.size, place, f"rows {part.start} to {part.stop} of {node.size}")
        tokens = part.last_token - part.first_token if isinstance(node, IntegerAttention) else 1
        last = mapped.program.window if isinstance(node, IntegerAttention) else part.last_token
        _expect(tokens > 0 <= part.first_token and part.last_token <= last, place, "impossible stored tokens")
        stored[part.node] += (part.stop - part.start) * tokens
        for entry in part.inputs:
            _expect(entry.source in nodes, place, f"its source {entry.source} is not there")
            fits = 0 <= entry.start <= entry.stop <= nodes[entry.source].size
            _expect(fits, place, f"inputs {entry.start} to {entry.stop} of {entry.source}")
    for node in mapped.program.nodes:
        on_host = isinstance(node, IntegerInjection) or (isinstance(node, IntegerReadout) and not node.on_chip)
        rows = node.size * (mapped.program.window if isinstance(node, IntegerAttention) else 1)
        _expect(
            stored[node.name] == (0 if on_host else rows), f"{where}: {node.name}", "not on neurocores exactly once"
        )
    for own in mapped.parts:
        once = stored[own.name] == nodes[own.node].size
        _expect(once, f"{where}: {own.name}", "not on neurocores exactly once")
    _expect(dict(mapped.skew) == skews(mapped.program, mapped.parts), where, "its skews are not those of its nodes")


def _check_parts(mapped: MappedProgram, where: str) -> None:
    """Check that parts are of matrices that are there, and hold every output that these read once."""
    nodes = {node.name: node for node in mapped.program.nodes}
    read: dict[tuple[str, int], list[tuple[int, int]]] = {}
    names = {part.name for part in mapped.parts}
    _expect(len(names) == len(mapped.parts) and names.isdisjoint(nodes), where, "parts with names that others have")
    for part in mapped.parts:
        node, place = nodes.get(part.node), f"{where}: {part.name}"
        own = isinstance(node, IntegerPopulation | IntegerReadout) and 0 <= part.index < len(node.sources)
        _expect(own and node is not None and node.sources[part.index] == part.source, place, "a part of nothing")
        read.setdefault((part.node, part.index), []).append((part.start, part.stop))
    for (name, index), ranges in read.items():
        node = nodes[name]
        ends = [0, *(stop for _, stop in sorted(ranges))]
        whole = [start for start, _ in sorted(ranges)] == ends[:-1] and ends[-1] == nodes[node.sources[index]].size
        _expect(whole and all(start < stop for start, stop in ranges), f"{where}: {name}", "parts that leave gaps")
        matrix = isinstance(node, IntegerReadout) or (
            isinstance(node, IntegerPopulation) and _is_matrix(node.inputs[index])
        )
        _expect(matrix, f"{where}: {name}", "parts of what is no matrix")


def _is_matrix(projection: IntegerProjection) -> bool:
    return projection.weight is not None and projection.weight.ndim == 2


def _expect(fits: bool, where: str, message: str) -> None:
    if not fits:
        raise BispikError(f"{where}: {message}")


def _check_node(node: IntegerNode, sizes: dict[str, int], program: QuantizedProgram, place: str) -> None:
    match node:
        case IntegerInjection():
            tables = node.token_table.ndim == node.position_table.ndim == 2
            _expect(
                tables and node.token_table.shape[1] == node.position_table.shape[1], place, "tables differ in width"
            )
            _expect(len(node.position_table) >= program.window, place, "fewer positions than the window has tokens")
            _expect(len(node.step_gain) == program.steps_per_token, place, "not one gain per time step")
            _expect(all(abs(gain) <= GAIN_MAX for gain in node.step_gain), place, f"a gain beyond {GAIN_MAX}")
        case IntegerPopulation():
            _check_neurons(node.neurons, place)
            _expect(len(node.inputs) > 0, place, "no input")
            for projection in node.inputs:
                _check_projection(projection, node.size, sizes[projection.source], place)
                from_host = projection.source == program.injection.name
                _expect(not from_host or projection.weight is None, place, "weights on the current from the host")
        case IntegerJoin():
            fits = len(node.inputs) > 0 and all(sizes[source] == node.size for source in node.inputs)
            _expect(fits, place, "no inputs, or inputs that differ in size")
            shifts = len(node.exponents) == len(node.inputs) and all(
                0 <= e <= JOIN_EXPONENT_MAX for e in node.exponents
            )
            _expect(shifts, place, f"exponents {node.exponents}, not one of 0 to {JOIN_EXPONENT_MAX} per input")
            host_alone = node.inputs == (program.injection.name,) and node.exponents == (0,)
            from_host = program.injection.name in node.inputs
            _expect(host_alone or not from_host, place, "adds something to the current from the host, or shifts it")
        case IntegerNorm():
            _expect(sizes[node.source] == node.size, place, f"{node.size} channels from {sizes[node.source]}")
            _expect(node.source != program.injection.name, place, "normalises the current from the host")
            bits = 0 <= node.fraction_bits <= NORM_BITS_MAX and 0 <= node.root_bits <= NORM_BITS_MAX
            _expect(bits and node.epsilon >= 0, place, f"more than {NORM_BITS_MAX} bits, or a negative epsilon")
        case IntegerAttention():
            _check_neurons(node.neurons, place)
            _expect(node.neurons.size == node.heads >= 1 <= node.head_dim, place, "not one set of constants per head")
            _expect(all(sizes[source] == node.size for source in node.sources), place, "q, k or v has another size")
            spikes = all(isinstance(program.node(source), IntegerPopulation) for source in node.sources)
            _expect(spikes, place, "q, k or v is no population, whose outputs are spikes")
            _expect(0 <= node.exponent <= EXPONENT_MAX, place, f"exponent {node.exponent}")
        case IntegerReadout():
            _expect(
                node.weight.ndim == 2 and node.weight.shape[1] == sizes[node.source], place, "weight has another shape"
            )
            _expect(node.source != program.injection.name, place, "reads the current from the host")
            _expect(node.bias.shape == (node.size,), place, "bias has another shape")
            vocabulary = len(program.injection.token_table)
            _expect(node.size == vocabulary, place, f"{node.size} logits for a vocabulary of {vocabulary}")


def _check_neurons(neurons: IntegerNeurons, place: str) -> None:
    shapes = {neurons.threshold.shape, neurons.subtract.shape, neurons.bias.shape}
    _expect(shapes == {(neurons.size,)}, place, "threshold, subtract and bias differ in shape")
    _expect(0 <= neurons.decay < DECAY_ONE, place, f"decay {neurons.decay}, not 0 to {DECAY_ONE - 1}")
    signs = neurons.spikes == "binary" or (neurons.threshold >= 0).all()
    _expect(bool(signs), place, "a negative threshold for ternary spikes")
    stock = neurons.program == "stock" and neurons.spikes != "binary"
    _expect(not stock, place, "ternary spikes of stock neurons, which have none")


def _check_projection(projection: IntegerProjection, size: int, source_size: int, place: str) -> None:
    weight = projection.weight
    one_to_one = weight is None or weight.ndim == 1
    expected = (size,) if one_to_one else (size, source_size)
    _expect(not one_to_one or size == source_size, place, f"one-to-one input of {source_size} for {size} neurons")
    _expect(weight is None or weight.shape == expected, place, f"weight of another shape than {expected}")
    _expect(0 <= projection.exponent <= EXPONENT_MAX, place, f"exponent {projection.exponent}")
