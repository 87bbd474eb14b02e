"""Whether a program's parts fit together: a program from a file is checked before anything runs it."""

from __future__ import annotations

from bispik.compiler.fixed_point import DECAY_ONE
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNeurons,
    IntegerNode,
    IntegerPopulation,
    IntegerProjection,
    IntegerReadout,
    QuantizedProgram,
)
from bispik.models.errors import BispikError

EXPONENT_MAX = 30
"""Currents are computed in 64 bits; a larger shift could leave them."""


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
        _check_node(node, sizes, program, place)
        sizes[node.name] = node.size


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
        case IntegerPopulation():
            _check_neurons(node.neurons, place)
            _expect(len(node.inputs) > 0, place, "no input")
            for projection in node.inputs:
                _check_projection(projection, node.size, sizes[projection.source], place)
        case IntegerJoin():
            _expect(all(sizes[source] == node.size for source in node.inputs), place, "inputs differ in size")
        case IntegerAttention():
            _check_neurons(node.neurons, place)
            _expect(node.neurons.size == node.heads >= 1 <= node.head_dim, place, "not one set of constants per head")
            _expect(all(sizes[source] == node.size for source in node.sources), place, "q, k or v has another size")
            _expect(0 <= node.exponent <= EXPONENT_MAX, place, f"exponent {node.exponent}")
        case IntegerReadout():
            _expect(
                node.weight.ndim == 2 and node.weight.shape[1] == sizes[node.source], place, "weight has another shape"
            )
            _expect(node.bias.shape == (node.size,), place, "bias has another shape")
            vocabulary = len(program.injection.token_table)
            _expect(node.size == vocabulary, place, f"{node.size} logits for a vocabulary of {vocabulary}")


def _check_neurons(neurons: IntegerNeurons, place: str) -> None:
    shapes = {neurons.threshold.shape, neurons.subtract.shape, neurons.bias.shape}
    _expect(shapes == {(neurons.size,)}, place, "threshold, subtract and bias differ in shape")
    _expect(0 <= neurons.decay < DECAY_ONE, place, f"decay {neurons.decay}, not 0 to {DECAY_ONE - 1}")


def _check_projection(projection: IntegerProjection, size: int, source_size: int, place: str) -> None:
    weight = projection.weight
    one_to_one = weight is None or weight.ndim == 1
    expected = (size,) if one_to_one else (size, source_size)
    _expect(not one_to_one or size == source_size, place, f"one-to-one input of {source_size} for {size} neurons")
    _expect(weight is None or weight.shape == expected, place, f"weight of another shape than {expected}")
    _expect(0 <= projection.exponent <= EXPONENT_MAX, place, f"exponent {projection.exponent}")
