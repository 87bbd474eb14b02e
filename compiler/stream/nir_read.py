"""A NIR file of any tool to a stream network in real numbers, as the tool that wrote it would run it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from bispik.compiler.nir_file import open_nir
from bispik.compiler.nir_schema import METADATA_KEY
from bispik.compiler.stream.budget import Budget
from bispik.compiler.stream.conventions import Rules, decide
from bispik.compiler.stream.execution_order import execution_order
from bispik.compiler.stream.linear_map import LinearMap, one_to_one, scaled_rows
from bispik.compiler.stream.network import (
    Discretisation,
    FloatArray,
    StreamInput,
    StreamNetwork,
    StreamPopulation,
    StreamProjection,
    StreamReset,
)
from bispik.compiler.stream.nir_graph import ADVICE, NirGraph, NirNode, read_graph
from bispik.compiler.stream.nir_layers import LINEAR, RANKS, Shape, numbers, without_leading_ones
from bispik.compiler.stream.nir_neurons import SILENT, Lowered, lower, lower_sum, lower_threshold, with_constant
from bispik.compiler.stream.signals import Signal, Term, Wired, infer_shapes, signals, whole_delays


def is_bispik_nir(path: Path) -> bool:
    """Tell whether a NIR file holds a language model that ``bispik-compile`` wrote (`bispik.compiler.nir_import`).

    Raises:
        BispikError: if it is no HDF5 file, or damaged.
    """
    with open_nir(path, ADVICE) as file:
        return file.has("", f"metadata/{METADATA_KEY}/schema")


def read_nir_stream(
    path: Path,
    *,
    convention: str | None,
    dt: float | None,
    reset: StreamReset | None = None,
    discretisation: Discretisation | None = None,
) -> StreamNetwork:
    """Read a NIR file.

    Args:
        path: of the file.
        convention: the tool that wrote it, a key of `bispik.compiler.stream.conventions.CONVENTIONS`; None takes NIR's
            own equations, for which there must be a time step.
        dt: seconds per time step, where the file's metadata and the convention do not say it, or other than the
            convention has it.
        reset: what a spike does to the membrane, where the convention's files lose it, or other than usual.
        discretisation: other than the convention's.

    Returns:
        The network; its arrays are copies in float64.

    Raises:
        BispikError: for a file that is damaged, contradicts itself, claims more memory than it may, or holds what a
            stream network cannot say; and if its meaning stays open. Names the node and what to do.
    """
    with open_nir(path, ADVICE) as file:
        budget = Budget(str(path), file.stored)
        graph = read_graph(file, str(path), budget)
    rules = decide(
        str(path), convention=convention, dt=dt, file_dt=graph.dt, reset=reset, discretisation=discretisation
    )
    return _Builder(graph, rules, budget).network()


class _Builder:
    """The passes from the flat graph to the network."""

    def __init__(self, graph: NirGraph, rules: Rules, budget: Budget) -> None:
        self.rules = rules
        self.budget = budget
        self.graph, self.thresholds = _with_thresholds(graph)
        self.wired = infer_shapes(self.graph, _input_shape(self.graph), budget)
        self.late = {
            path: whole_delays(graph, path, numbers(node, "delay").ravel(), rules.dt)
            for path, node in self.graph.nodes.items()
            if node.kind == "Delay"
        }
        waits = [path for path, steps in self.late.items() if (steps >= 1).all()]
        order = execution_order(list(self.graph.nodes), self.wired.inputs, self.graph.input, waits)
        self.order = {path: place for place, path in enumerate(order)}

    def network(self) -> StreamNetwork:
        """Build the network."""
        gotten = signals(self.wired, self.order, self.late, self.budget)
        _check_silent_are_read(self.wired, gotten, self.thresholds)
        graph = self.graph
        neurons = [path for path in self.order if graph.nodes[path].kind not in (*LINEAR, "Input", "Output")]
        populations = [self.population(path, gotten[path], self.lowered(path)) for path in neurons]
        read = _plainly_read(gotten[graph.output], graph)
        if read is None:
            size = math.prod(self.wired.shapes[graph.output])
            populations.append(self.population(graph.output, gotten[graph.output], lower_sum(size)))
        shape = self.wired.shapes[graph.input]
        return StreamNetwork(
            input=StreamInput(name=graph.input, shape=shape, size=math.prod(shape)),
            populations=tuple(populations),
            output=read or graph.output,
            dt=self.rules.dt,
            discretisation=self.rules.discretisation,
            origin=self.rules.origin,
        )

    def lowered(self, path: str) -> Lowered:
        """Return the neurons of a node."""
        node, shape = self.graph.nodes[path], self.wired.shapes[path]
        if node.kind == "Threshold":
            return lower_threshold(self.graph, node, shape)
        return lower(self.graph, node, shape, self.rules, self.thresholds.get(path))

    def population(self, path: str, signal: Signal, lowered: Lowered) -> StreamPopulation:
        """Return a population with the synapses that a signal comes through."""
        neurons = lowered.neurons
        if signal.constant is not None:
            neurons = with_constant(neurons, lowered.gain * signal.constant)
        return StreamPopulation(
            name=path,
            shape=self.wired.shapes[path],
            inputs=tuple(self.projection(path, term, lowered.gain) for term in signal.terms),
            neurons=neurons,
        )

    def projection(self, path: str, term: Term, gain: FloatArray) -> StreamProjection:
        """Return the synapses of one term."""
        if self.rules.convention.spike_of_unit_area and self.graph.nodes[term.source].kind == "LIF":
            gain = gain / self.rules.dt
        found: LinearMap = term.map or one_to_one(np.ones(gain.size))
        if (gain != 1).any():
            found = scaled_rows(found, gain, self.budget, f"{path}: its weights, each neuron's own")
        return StreamProjection(source=term.source, wiring=found.wiring, weight=found.weight, delay=term.delay)


def _input_shape(graph: NirGraph) -> Shape:
    """Return what the Input says, less a batch dimension of 1 that a reader has no place for."""
    said = numbers(graph.nodes[graph.input], "shape").ravel()
    if (said < 1).any() or (said != np.floor(said)).any() or (said >= 2**31).any() or said.size > 8:
        raise graph.error(graph.input, f"shape is {said.tolist()[:9]}, expected up to 8 whole numbers of 1 or more")
    shape = tuple(int(n) for n in said)
    ranks = {RANKS.get(graph.nodes[target].kind) for source, target in graph.edges if source == graph.input}
    rank = next(iter(ranks)) if len(ranks) == 1 else None
    return shape if rank is None else without_leading_ones(shape, rank)


def _with_thresholds(graph: NirGraph) -> tuple[NirGraph, dict[str, NirNode]]:
    """Take each Threshold that alone reads an I, LI or CubaLI out of the graph, as that node's own.

    Returns:
        The graph, and the Threshold by the node that has it now.
    """
    readers: dict[str, list[str]] = {path: [] for path in graph.nodes}
    sources: dict[str, list[str]] = {path: [] for path in graph.nodes}
    for source, target in graph.edges:
        readers[source].append(target)
        sources[target].append(source)
    owner = {
        readers[path][0]: path
        for path, node in graph.nodes.items()
        if node.kind in SILENT
        and len(readers[path]) == 1
        and graph.nodes[readers[path][0]].kind == "Threshold"
        and sources[readers[path][0]] == [path]
    }
    edges = tuple((owner.get(source, source), target) for source, target in graph.edges if owner.get(target) != source)
    nodes = {path: node for path, node in graph.nodes.items() if path not in owner}
    return replace(graph, nodes=nodes, edges=edges), {path: graph.nodes[name] for name, path in owner.items()}


def _check_silent_are_read(wired: Wired, gotten: Mapping[str, Signal], thresholds: Mapping[str, NirNode]) -> None:
    """Check that membranes go to the host alone."""
    graph = wired.graph
    for reader, signal in gotten.items():
        for term in signal.terms:
            kind = graph.nodes[term.source].kind
            silent = kind in SILENT and term.source not in thresholds
            if silent and not (reader == graph.output and _plainly_read(signal, graph) == term.source):
                raise graph.error(
                    term.source,
                    f"the membrane of this {kind} goes to {reader}; neurons send spikes, and a membrane only to the "
                    "Output, alone and as it is: put a Threshold behind it, or make the two one CubaLIF",
                )


def _plainly_read(signal: Signal, graph: NirGraph) -> str | None:
    """Return the neurons that the Output reads if there is nothing between, else None."""
    if len(signal.terms) != 1 or signal.constant is not None:
        return None
    term = signal.terms[0]
    plain = term.map is None and term.delay == 0 and term.source != graph.input
    return term.source if plain else None
