"""The host's part of a language-model program as two ONNX graphs, for a host beside a chip. n: tokens, any number.

``embedding``: ``tokens`` and ``positions``, int64 (n,), to ``currents``, int64 (n, time steps, size), which the host
injects. ``readout``: ``sums``, int64 (n, size), of the readout's source over a token's time steps, and
``accumulators``, int64 (n, vocabulary), to ``logits``, double (n, vocabulary). Where the program's head is on the host,
there is no input ``accumulators``: they are computed from the sums.

Logits are those of `bispik.backends.host` up to the last bits of a double: that adds up a variance in real numbers,
this in whole ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bispik.backends.onnx.arithmetic import spread_of
from bispik.backends.onnx.graph import Graph
from bispik.backends.onnx.inputs import injected, stored_weights
from bispik.compiler.bounds import output_ranges
from bispik.compiler.program import QuantizedProgram
from bispik.models.errors import BispikError

TOKENS = "tokens"
"""Name of the size that is chosen when a graph runs."""

SPREAD_LIMIT = 1 << 62


def build_embedding_model(program: QuantizedProgram) -> Any:
    """Return the ModelProto that looks up what the host injects, checked.

    Raises:
        BispikError: if onnx is not installed, or the tables are larger than an ONNX model can be.
    """
    graph, node = Graph(), program.injection
    graph.section = node.name
    tokens = graph.input("tokens", np.int64, (TOKENS,), "ids")
    positions = graph.input("positions", np.int64, (TOKENS,), f"in their sequence: 0 to {program.window - 1}")
    rows = injected(graph, node, tokens, positions, window=program.window)
    shape = (program.steps_per_token, node.size)
    currents = graph.reshaped(rows, [-1, *shape])
    graph.output("currents", currents, np.int64, (TOKENS, *shape), "into each channel in each time step")
    meaning = "Host part of a bispik language-model program: the currents that tokens inject."
    return graph.model("embedding", meaning, {"bispik.kind": "embedding"})


def build_readout_model(program: QuantizedProgram) -> Any:
    """Return the ModelProto that turns what the chip gives into logits, checked.

    Raises:
        BispikError: if onnx is not installed, the head is larger than an ONNX model can be, or its inputs than 64 bits.
    """
    graph, node = Graph(), program.readout
    graph.section = node.name
    size, steps = node.weight.shape[1], program.steps_per_token
    reached = output_ranges(program.nodes, program.window)[node.source].magnitude * steps
    if (size * reached) ** 2 >= SPREAD_LIMIT:
        raise BispikError(f"{node.name}: sums of up to {reached:,} in {size:,} channels leave 64 bits when squared")
    sums = graph.input("sums", np.int64, (TOKENS, size), f"outputs of {node.source}, over a token's time steps")
    if node.on_chip:
        accumulators = graph.input("accumulators", np.int64, (TOKENS, node.size), "the chip's, behind the last step")
    else:
        accumulators = graph.run("MatMul", sums, stored_weights(graph, "weight", node.weight.T))
    spread = graph.cast(spread_of(graph, sums, size), np.float64)
    variance = graph.run("Div", spread, graph.constant("size times steps squared", (size * steps) ** 2, np.float64))
    deviation = graph.run("Sqrt", graph.run("Add", variance, graph.constant("epsilon", node.epsilon, np.float64)))
    factor = graph.run("Div", graph.constant("scale", node.scale, np.float64), deviation)
    scaled = graph.run("Mul", graph.cast(accumulators, np.float64), factor)
    logits = graph.run("Add", scaled, graph.constant("bias", node.bias, np.float64))
    graph.output("logits", logits, np.float64, (TOKENS, node.size), "of the next token")
    meaning = "Host part of a bispik language-model program: logits from what the chip read out."
    return graph.model("readout", meaning, {"bispik.kind": "readout"})
