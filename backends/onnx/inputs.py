"""What enters the nodes of a language-model program, in ONNX operators: the host's currents, and stored weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.onnx.graph import Graph
from bispik.compiler.program import IntegerInjection


def injected(graph: Graph, node: IntegerInjection, token: str, position: str, *, window: int) -> str:
    """Return the currents of tokens (n,) at positions (n,): (n * time steps, size), those of a token together."""
    tables = ((node.token_table, "token_table", token), (node.position_table[:window], "position_table", position))
    found: list[str] = []
    for table, what, index in tables:
        stored = graph.constant(f"{node.name}.{what}", table, np.int16)
        found.append(graph.cast(graph.run("Gather", stored, index, axis=0), np.int64))
    once = graph.run("Unsqueeze", graph.total(found), graph.numbers([1]))
    gains = graph.constant(f"{node.name}.step_gain", np.array(node.step_gain)[:, None])
    return graph.reshaped(graph.run("Mul", once, gains), [-1, node.size])


def stored_weights(graph: Graph, name: str, weight: npt.NDArray[np.int8]) -> str:
    """Store 8-bit weights; return them as the numbers that everything is computed in."""
    return graph.cast(graph.constant(name, weight, np.int8), np.int64)
