"""The stream network run in real numbers: what the integers are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bispik.compiler.stream.network import FloatArray, StreamNetwork, StreamNeurons, StreamPopulation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatStreamActivity:
    """One run from the first step of a sequence. S: steps."""

    sent: Mapping[str, FloatArray]
    """By population: spikes, or the membrane where the population sends that; (S, size)."""
    membranes: Mapping[str, FloatArray]
    """By population: the membrane at which each step decides to spike, before any reset; (S, size)."""


def run_stream_float(network: StreamNetwork, values: FloatArray) -> FloatStreamActivity:
    """Run a whole sequence, (S, input size), in double precision."""
    return FloatStream(network).feed(values)


class FloatStream:
    """One sequence in double precision, block by block."""

    def __init__(self, network: StreamNetwork) -> None:
        self.network = network
        self.longest = max(p.delay for population in network.populations for p in population.inputs)
        sizes = {network.input.name: network.input.size} | {p.name: p.size for p in network.populations}
        self.past = {name: np.zeros((self.longest, size)) for name, size in sizes.items()}
        """By node: what it sent in the steps before, as many as the longest delay."""
        self.states = {p.name: _State(p.neurons) for p in network.populations}

    def feed(self, values: FloatArray) -> FloatStreamActivity:
        """Run the next time steps; ``values`` is the host's input, (S, input size)."""
        populations, longest = self.network.populations, self.longest
        steps = len(values)
        sent = {name: np.concatenate([past, np.zeros((steps, past.shape[1]))]) for name, past in self.past.items()}
        sent[self.network.input.name][longest:] = values
        membranes = {p.name: np.empty((len(values), p.size)) for p in populations}
        for step in range(len(values)):
            for population in populations:
                name, state = population.name, self.states[population.name]
                membranes[name][step] = state.step(_current(population, sent, longest + step))
                sent[name][longest + step] = state.spike if population.neurons.output == "spikes" else state.membrane
        self.past = {name: rows[len(values) :] for name, rows in sent.items()}
        return FloatStreamActivity(sent={name: sent[name][longest:] for name in membranes}, membranes=membranes)


class _State:
    def __init__(self, neurons: StreamNeurons) -> None:
        self.neurons = neurons
        self.current = neurons.initial_current.copy()
        self.membrane = neurons.initial.copy()
        self.spike = np.zeros(neurons.size)

    def step(self, arriving: FloatArray) -> FloatArray:
        """Advance one time step; return the membrane before any reset."""
        neurons = self.neurons
        self.current = neurons.current_keep * self.current + arriving
        membrane = neurons.keep * self.membrane + self.current + neurons.bias
        if neurons.reset == "soft":
            membrane = membrane - neurons.subtract * self.spike
        if neurons.output == "spikes":
            over = membrane >= neurons.threshold if neurons.fire == "ge" else membrane > neurons.threshold
            self.spike = over.astype(np.float64)
        self.membrane = np.where(self.spike != 0, 0.0, membrane) if neurons.reset == "hard" else membrane
        return membrane


def _current(population: StreamPopulation, sent: Mapping[str, FloatArray], row: int) -> FloatArray:
    total = np.zeros(population.size)
    for projection in population.inputs:
        arriving = sent[projection.source][row - projection.delay]
        total += projection.wiring.apply(projection.weight, arriving[None])[0]
    return total
