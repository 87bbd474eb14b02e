"""Spiking attention over stored keys and values in ONNX operators."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bispik.backends.onnx.graph import NEXT, Graph
from bispik.backends.onnx.neurons import give_saturations, run_neurons
from bispik.compiler.program import IntegerAttention


def attend(
    graph: Graph, node: IntegerAttention, outputs: Mapping[str, str], position: str, *, steps: int, window: int
) -> str:
    """Store the token's keys and values, then look at all that is stored; return the outputs (steps, size)."""
    name, heads, width = node.name, node.heads, node.head_dim
    query, key, value = (outputs[source] for source in node.sources)
    keys = _store(graph, node, "keys", key, position, steps=steps, window=window)
    values = _store(graph, node, "values", value, position, steps=steps, window=window)

    asked = graph.reshaped(query, [steps, heads, 1, width])
    by_token = graph.run("Transpose", graph.cast(keys, np.int64), perm=[1, 2, 3, 0])  # steps, heads, width, window
    scores = graph.reshaped(graph.run("MatMul", asked, by_token), [steps, heads, window])
    currents = graph.shifted(scores, node.exponent)
    neurons = run_neurons(graph, name, node.neurons, currents, steps=steps, trailing=(1,))

    # Neurons of tokens that are not stored yet may spike by their bias, or by what the caller left there.
    stored = graph.whole(graph.run("LessOrEqual", graph.places(window), position))
    spikes = graph.run("Mul", neurons.spikes, stored)
    graph.output(f"{name}.scores", spikes, np.int64, (steps, heads, window), "spikes of the scores, by stored token")
    give_saturations(graph, name, graph.run("Mul", neurons.clipped, stored))

    weights = graph.reshaped(spikes, [steps, heads, 1, window])
    mixed = graph.run("Transpose", graph.cast(values, np.int64), perm=[1, 2, 0, 3])  # steps, heads, window, width
    return graph.reshaped(graph.run("MatMul", weights, mixed), [steps, node.size])


def _store(
    graph: Graph, node: IntegerAttention, what: str, spikes: str, position: str, *, steps: int, window: int
) -> str:
    """Write the token's spikes into what is stored; return all of it, (window, steps, heads, head_dim)."""
    shape = (window, steps, node.heads, node.head_dim)
    before = graph.input(f"{node.name}.{what}", np.int8, shape, "of the tokens before, by position")
    row = graph.reshaped(graph.cast(spikes, np.int8), [1, *shape[1:]])
    place = graph.run("Unsqueeze", position, graph.numbers([1]))
    now = graph.run("ScatterND", before, place, row)
    graph.output(f"{node.name}.{what}{NEXT}", now, np.int8, shape, "with the token's own")
    return now
