"""Neurons of language-model programs in ONNX operators: from rest, through the time steps of a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bispik.backends.onnx.arithmetic import Fired, Firing, decayed, fired
from bispik.backends.onnx.graph import Graph
from bispik.compiler.fixed_point import DECAY_ONE
from bispik.compiler.program import IntegerNeurons


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOfNeurons:
    """What became of neurons in a token; each is the name of a tensor (time steps, ...)."""

    spikes: str
    membranes: str
    clipped: str


def run_neurons(
    graph: Graph, name: str, neurons: IntegerNeurons, currents: str, *, steps: int, trailing: tuple[int, ...] = ()
) -> TokenOfNeurons:
    """Run neurons on the currents (steps, n, ...); constants are those of the n, the same along trailing axes."""
    kept = graph.number(DECAY_ONE - neurons.decay)

    def constant(what: str, values: npt.NDArray[Any]) -> str:
        return graph.constant(f"{name}.{what}", values.reshape(1, neurons.size, *trailing))

    below = constant("below", -neurons.threshold.astype(np.int64)) if neurons.spikes == "ternary" else None
    firing = Firing(threshold=constant("threshold", neurons.threshold), below=below, hard=neurons.reset == "hard")
    subtract = constant("subtract", neurons.subtract) if neurons.reset == "soft" else ""
    driven = graph.run("Add", currents, constant("bias", neurons.bias))
    results: list[Fired] = []
    for arriving in graph.split(driven, steps):
        membrane = arriving
        if results:
            membrane = graph.run("Add", decayed(graph, results[-1].membrane, kept), membrane)
        if results and subtract:
            membrane = graph.run("Sub", membrane, graph.run("Mul", subtract, results[-1].spike))
        results.append(fired(graph, membrane, firing))
    return TokenOfNeurons(
        spikes=graph.concat([result.spike for result in results]),
        membranes=graph.concat([result.membrane for result in results]),
        clipped=graph.concat([result.clipped for result in results]),
    )


def give_saturations(graph: Graph, name: str, clipped: str) -> None:
    """Make the number of clipped membranes an output."""
    saturations = graph.run("ReduceSum", clipped, keepdims=0)
    graph.output(f"{name}.saturations", saturations, np.int64, (), "how many membranes were clipped")
