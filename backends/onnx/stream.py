"""A stream program as an ONNX graph of one time step.

Inputs are what the host sends, ``NAME.sent``, and the state: ``NAME.membrane`` of each population, ``NAME.current``
where currents have a memory, ``NAME.spike`` where a soft reset asks for the last spikes, ``NAME.past`` where a
projection has a delay: what the node sent before, a row a step, the newest last. A state that is left out is that of a
sequence's start.

Outputs are ``NAME.sent`` and ``NAME.saturations`` of each population, and the new state: for each input of it the
output ``INPUT.next``. Everything is int64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bispik.backends.onnx.arithmetic import Firing, decayed, differs, fired, saturated
from bispik.backends.onnx.graph import NEXT, Graph
from bispik.backends.onnx.synapses import current
from bispik.compiler.fixed_point import DECAY_ONE
from bispik.compiler.stream.program import IntegerStreamPopulation, StreamProgram

MEANING = (
    "One time step of a bispik stream program. Inputs: what the host sends, and the state; a state that is left out is "
    "that of a sequence's start. Outputs: what each population sends, how many of its membranes saturated, and "
    "the new state: feed NAME.next to NAME in the next step."
)


def build_stream_model(program: StreamProgram) -> Any:
    """Return the ModelProto, checked.

    Raises:
        BispikError: if onnx is not installed, or the program is larger than an ONNX model can be.
    """
    graph, entry = Graph(), program.input
    meaning = f"what the host sends in this step: whole numbers from {entry.low} to {entry.high}"
    sent = {entry.name: graph.input(f"{entry.name}.sent", np.int64, (entry.size,), meaning)}
    sizes = {entry.name: entry.size} | {population.name: population.size for population in program.populations}
    delays = {name: _longest_delay(program, name) for name in sizes}
    past = {
        name: graph.state(f"{name}.past", np.zeros((delay, sizes[name]), np.int64), "sent before; the newest is last")
        for name, delay in delays.items()
        if delay
    }
    for population in program.populations:
        graph.section = population.name
        sent[population.name] = _population(graph, population, _current(graph, population, sent, past, delays))
    for name, rows in past.items():
        graph.section = name
        lasting = graph.reshaped(sent[name], [1, sizes[name]])
        if delays[name] > 1:
            kept = graph.run("Slice", rows, graph.numbers([1]), graph.numbers([delays[name]]), graph.numbers([0]))
            lasting = graph.concat([kept, lasting])
        graph.output(f"{rows}{NEXT}", lasting, np.int64, (delays[name], sizes[name]), "")
    properties = {
        "bispik.kind": "stream",
        "bispik.semantics": str(program.semantics_version),
        "bispik.output": f"{program.output}.sent",
        "bispik.dt": repr(program.dt),
        "bispik.input_unit": repr(entry.unit),
    }
    return graph.model("time step", f"{MEANING} The host reads {program.output}.sent.", properties)


def _longest_delay(program: StreamProgram, source: str) -> int:
    projections = (projection for population in program.populations for projection in population.inputs)
    return max((projection.delay for projection in projections if projection.source == source), default=0)


def _current(
    graph: Graph,
    population: IntegerStreamPopulation,
    sent: Mapping[str, str],
    past: Mapping[str, str],
    delays: Mapping[str, int],
) -> str:
    parts: list[str] = []
    for index, projection in enumerate(population.inputs):
        arriving = sent.get(projection.source, "")
        if projection.delay:
            row = graph.number(delays[projection.source] - projection.delay)
            arriving = graph.run("Gather", past[projection.source], row, axis=0)
        parts.append(current(graph, f"{population.name}.{index}", projection, arriving))
    return graph.total(parts)


def _population(graph: Graph, population: IntegerStreamPopulation, arriving: str) -> str:
    """Add the neurons and their outputs; return what they send."""
    name, size, neurons = population.name, population.size, population.neurons
    rest = np.zeros(size, np.int64)

    def keep(state: str, value: str) -> None:
        graph.output(f"{state}{NEXT}", value, np.int64, (size,), "")

    charge = arriving
    if (neurons.current_decay != DECAY_ONE).any():
        state = graph.state(f"{name}.current", neurons.initial_current.astype(np.int64), "behind the step before")
        kept = graph.constant(f"{name}.current_kept", DECAY_ONE - neurons.current_decay.astype(np.int64))
        charge = graph.run("Add", decayed(graph, state, kept), arriving)
    charge = saturated(graph, charge)
    if (neurons.current_decay != DECAY_ONE).any():
        keep(f"{name}.current", charge)

    stored = graph.state(f"{name}.membrane", neurons.initial.astype(np.int64), "behind the step before")
    kept = graph.constant(f"{name}.kept", DECAY_ONE - neurons.decay.astype(np.int64))
    membrane = graph.total([decayed(graph, stored, kept), charge, graph.constant(f"{name}.bias", neurons.bias)])
    if neurons.reset == "soft":
        before = graph.state(f"{name}.spike", rest, "of the step before")
        loss = graph.run("Mul", graph.constant(f"{name}.subtract", neurons.subtract), before)
        membrane = graph.run("Sub", membrane, loss)

    if neurons.output == "membrane":
        sent = lasting = saturated(graph, membrane)
        clipped = differs(graph, membrane, sent)
    else:
        threshold = graph.constant(f"{name}.threshold", neurons.threshold)
        result = fired(graph, membrane, Firing(threshold=threshold, below=None, hard=neurons.reset == "hard"))
        sent, lasting, clipped = result.spike, result.membrane, result.clipped
    keep(stored, lasting)
    if neurons.reset == "soft":
        keep(f"{name}.spike", sent)
    what = "spikes, 0 or 1" if neurons.output == "spikes" else "the membrane"
    graph.output(f"{name}.sent", sent, np.int64, (size,), what)
    saturations = graph.run("ReduceSum", clipped, keepdims=0)
    graph.output(f"{name}.saturations", saturations, np.int64, (), "how many membranes were clipped")
    return sent
