"""The reference backend for stream programs: the equations of `bispik.compiler.stream.program`, one step at a time.

Slow and obvious on purpose. It is the definition that every other backend is held against, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from bispik.backends.stream.activity import StreamActivity, checked_input, checked_probes
from bispik.compiler.fixed_point import IntArray, decayed, saturated
from bispik.compiler.stream.program import IntegerStreamNeurons, IntegerStreamPopulation, StreamProgram


class StreamNeuronState:
    """Current, membrane and last spikes of a population's neurons."""

    def __init__(self, constants: IntegerStreamNeurons) -> None:
        self.constants = constants
        self.current_decay, self.decay = constants.current_decay.astype(np.int64), constants.decay.astype(np.int64)
        self.current = constants.initial_current.astype(np.int64)
        self.membrane = constants.initial.astype(np.int64)
        self.spike = np.zeros(constants.size, np.int64)

    def step(self, arriving: IntArray) -> int:
        """Advance one time step; return how many membranes saturated."""
        constants = self.constants
        self.current = saturated(decayed(self.current, self.current_decay) + arriving)
        membrane = decayed(self.membrane, self.decay) + self.current + constants.bias
        if constants.reset == "soft":
            membrane = membrane - constants.subtract * self.spike
        clipped = saturated(membrane)
        if constants.output == "spikes":
            self.spike = (clipped > constants.threshold).astype(np.int64)
        self.membrane = np.where(self.spike != 0, 0, clipped) if constants.reset == "hard" else clipped
        return int(np.count_nonzero(clipped != membrane))

    @property
    def sent(self) -> IntArray:
        """What the population sends in this step."""
        return self.spike if self.constants.output == "spikes" else self.membrane


class ReferenceStreamSession:
    """One sequence, step by step."""

    execution_mode = "reference: NumPy definition of the integer semantics"

    def __init__(self, program: StreamProgram, probes: Sequence[str] = ()) -> None:
        self.program, self.probes = program, checked_probes(program, probes)
        self.position = 0
        self.states = {population.name: StreamNeuronState(population.neurons) for population in program.populations}
        self.longest = max(projection.delay for population in program.populations for projection in population.inputs)
        sizes = {program.input.name: program.input.size} | {p.name: p.size for p in program.populations}
        self.past = {name: np.zeros((self.longest, size), np.int64) for name, size in sizes.items()}
        """By node: what it sent in the steps before, as many as the longest delay; the last row is the newest."""

    def feed(self, values: npt.NDArray[np.int32]) -> StreamActivity:
        """Run the next time steps."""
        values = checked_input(self.program, values)
        populations = self.program.populations
        sent = {
            name: np.concatenate([past, np.zeros_like(past, shape=(len(values), past.shape[1]))])
            for name, past in self.past.items()
        }
        sent[self.program.input.name][self.longest :] = values
        membranes = {name: np.empty((len(values), self.states[name].constants.size), np.int32) for name in self.probes}
        saturations = {population.name: 0 for population in populations}
        for step in range(len(values)):
            for population in populations:
                name, state = population.name, self.states[population.name]
                saturations[name] += state.step(_current(population, sent, self.longest + step))
                sent[name][self.longest + step] = state.sent
                if name in membranes:
                    membranes[name][step] = state.membrane
        self.past = {name: rows[len(values) :] for name, rows in sent.items()}
        first, self.position = self.position, self.position + len(values)
        return StreamActivity(
            first_step=first,
            input=values,
            sent={p.name: sent[p.name][self.longest :].astype(np.int32) for p in populations},
            membranes=membranes,
            saturations=saturations,
        )

    def close(self) -> None:
        """Nothing to release."""


def _current(population: IntegerStreamPopulation, sent: Mapping[str, IntArray], row: int) -> IntArray:
    """Sum what arrives at a step; its row among what was sent is given."""
    total = np.zeros(population.size, np.int64)
    for projection in population.inputs:
        arriving = sent[projection.source][row - projection.delay]
        total += projection.wiring.apply(projection.weight.astype(np.int64), arriving[None])[0] << projection.exponent
    return total
