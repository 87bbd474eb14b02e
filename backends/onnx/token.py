"""A language-model program as an ONNX graph of one token: all of its time steps, node after node.

Inputs, int64, are ``token`` and ``position``, (1,) both, and for each attention ``NAME.keys`` and ``NAME.values``, int8
(window, time steps, heads, head_dim): what every token before has stored. Rows of ``position`` and later are not
looked at, so that a sequence may start with zeros, or with whatever is there.

Outputs, int64: ``NAME.output`` (time steps, size) of each population, join, norm and attention; ``NAME.membrane`` (time
steps, size) of each population; ``NAME.scores`` (time steps, heads, window) of each attention; ``NAME.saturations`` of
both; the readout's ``NAME.accumulators`` (vocabulary,) and ``NAME.sums`` (size of its source,). ``NAME.keys.next`` and
``NAME.values.next`` are the keys and values for the next token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bispik.backends.onnx.arithmetic import normalised
from bispik.backends.onnx.attention import attend
from bispik.backends.onnx.graph import Graph
from bispik.backends.onnx.inputs import injected, stored_weights
from bispik.backends.onnx.neurons import give_saturations, run_neurons
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNorm,
    IntegerPopulation,
    IntegerReadout,
    QuantizedProgram,
)

MEANING = (
    "One token of a bispik language-model program: all of its time steps. Inputs: the token's id, its position, and "
    "the keys and values of the tokens before. Outputs: what every node did, what the host reads (accumulators and "
    "sums), and the keys and values for the next token: feed NAME.next to NAME."
)


def build_token_model(program: QuantizedProgram) -> Any:
    """Return the ModelProto, checked.

    Raises:
        BispikError: if onnx is not installed, or the program is larger than an ONNX model can be.
    """
    graph, steps = Graph(), program.steps_per_token
    token = graph.input("token", np.int64, (1,), "id of the token")
    position = graph.input("position", np.int64, (1,), f"of the token in its sequence: 0 to {program.window - 1}")
    outputs: dict[str, str] = {}
    """By node: the tensor of its outputs, (time steps, size)."""
    for node in program.nodes:
        name = graph.section = node.name
        match node:
            case IntegerInjection():
                outputs[name] = injected(graph, node, token, position, window=program.window)
                continue
            case IntegerPopulation():
                outputs[name] = _population(graph, node, outputs, steps)
            case IntegerJoin():
                shifted = zip(node.inputs, node.exponents, strict=True)
                outputs[name] = graph.total([graph.shifted(outputs[source], bits) for source, bits in shifted])
            case IntegerNorm():
                outputs[name] = normalised(graph, outputs[node.source], node)
            case IntegerAttention():
                outputs[name] = attend(graph, node, outputs, position, steps=steps, window=program.window)
            case IntegerReadout():
                _readout(graph, node, outputs[node.source])
                continue
        graph.output(f"{name}.output", outputs[name], np.int64, (steps, node.size), "in each time step")
    properties = {"bispik.kind": "language model", "bispik.semantics": str(program.semantics_version)}
    return graph.model("token", MEANING, properties)


def _population(graph: Graph, node: IntegerPopulation, outputs: Mapping[str, str], steps: int) -> str:
    """Add a population and its outputs; return its spikes."""
    name = node.name
    parts: list[str] = []
    for index, projection in enumerate(node.inputs):
        arriving, weight = outputs[projection.source], projection.weight
        if weight is not None:
            stored = stored_weights(graph, f"{name}.{index}.weight", weight.T)
            arriving = graph.run("MatMul" if weight.ndim == 2 else "Mul", arriving, stored)
        parts.append(graph.shifted(arriving, projection.exponent))
    neurons = run_neurons(graph, name, node.neurons, graph.total(parts), steps=steps)
    shape = (steps, node.size)
    graph.output(f"{name}.membrane", neurons.membranes, np.int64, shape, "stored behind each time step")
    give_saturations(graph, name, neurons.clipped)
    return neurons.spikes


def _readout(graph: Graph, node: IntegerReadout, arriving: str) -> None:
    """Add what the host reads. Sums of products are products of sums: the matrix is read once."""
    sums = graph.run("ReduceSum", arriving, graph.numbers([0]), keepdims=0)
    accumulators = graph.run("MatMul", sums, stored_weights(graph, f"{node.name}.weight", node.weight.T))
    size = node.weight.shape[1]
    graph.output(f"{node.name}.sums", sums, np.int64, (size,), f"of the outputs of {node.source} over the time steps")
    graph.output(f"{node.name}.accumulators", accumulators, np.int64, (node.size,), "behind the last time step")
