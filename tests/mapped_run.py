"""A mapped language model run neurocore by neurocore, as its mapping says; slow and obvious.

A slice knows the constants and synapses of its own rows, and of other nodes what its input ranges let in. What two
slices send of the same output adds up at whoever reads it; what none sends is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bispik.backends.reference import NeuronState
from bispik.compiler.fixed_point import IntArray, normalised
from bispik.compiler.mapping import InputRange, MappedProgram, Slice
from bispik.compiler.program import (
    IntegerAttention,
    IntegerJoin,
    IntegerNorm,
    IntegerPopulation,
    IntegerReadout,
)


class MappedRun:
    """The outputs of every node of a sequence: ``outputs[node]`` is (n, T, size), ``accumulators`` (n, vocabulary)."""

    def __init__(self, mapped: MappedProgram, token_ids: Sequence[int] | npt.NDArray[np.int64]) -> None:
        self.mapped, self.program = mapped, mapped.program
        self.parts = {part.name for part in mapped.parts}
        self.by_node: dict[str, list[Slice]] = defaultdict(list)
        for part in (part for core in mapped.neurocores for part in core.slices):
            self.by_node[part.node].append(part)
        self.stored: dict[tuple[str, int, int, int], IntArray] = {}
        """By key or value population, step, token, and the first channel of the slice that keeps it."""
        tokens = [self._token(place, int(token)) for place, token in enumerate(token_ids)]
        self.outputs = {name: np.array([outputs[name] for outputs, _ in tokens]) for name in tokens[0][0]}
        self.accumulators = np.array([accumulators for _, accumulators in tokens])

    def _token(self, position: int, token: int) -> tuple[dict[str, list[IntArray]], IntArray]:
        program, injection = self.program, self.program.injection
        states: dict[tuple[str, int, int], NeuronState] = {}
        accumulators = np.zeros(program.readout.size, np.int64)
        history: dict[str, list[IntArray]] = defaultdict(list)
        for step in range(program.steps_per_token):
            current = injection.token_table[token].astype(np.int64) + injection.position_table[position]
            sent: dict[str, IntArray] = {injection.name: current * injection.step_gain[step]}
            for node in program.nodes[1:]:
                for relayed in (relayed for relayed in self.mapped.parts if relayed.node == node.name):
                    assert isinstance(node, IntegerPopulation | IntegerReadout)
                    weight = node.weight if isinstance(node, IntegerReadout) else node.inputs[relayed.index].weight
                    assert weight is not None
                    sent[relayed.name] = np.zeros(node.size, np.int64)
                    for part in self.by_node[relayed.name]:
                        rows = slice(part.start, part.stop)
                        sent[relayed.name][rows] += synapses(weight, rows, part.inputs[0], sent)
                if isinstance(node, IntegerReadout):
                    if node.on_chip:
                        for part in self.by_node[node.name]:
                            rows = slice(part.start, part.stop)
                            for entry in part.inputs:
                                relayed_sum = entry.source in self.parts
                                accumulators[rows] += (
                                    arriving(entry, sent) if relayed_sum else synapses(node.weight, rows, entry, sent)
                                )
                    else:
                        accumulators += node.weight.astype(np.int64) @ sent[node.source]
                    continue
                sent[node.name] = np.zeros(node.size, np.int64)
                for part in self.by_node[node.name]:
                    rows = slice(part.start, part.stop)
                    match node:
                        case IntegerPopulation():
                            key = (part.node, part.start, 0)
                            if key not in states:
                                states[key] = neuron_state(node, rows)
                            spikes, _ = states[key].step(self._current(node, part, sent))
                            sent[node.name][rows] += spikes
                        case IntegerJoin():
                            for entry, exponent in zip(part.inputs, node.exponents, strict=True):
                                sent[node.name][rows] += arriving(entry, sent) << exponent
                        case IntegerNorm():
                            sent[node.name][rows] += normalised(
                                arriving(part.inputs[0], sent),
                                fraction_bits=node.fraction_bits,
                                root_bits=node.root_bits,
                                epsilon=node.epsilon,
                            )
                        case _:
                            assert isinstance(node, IntegerAttention)
                            sent[node.name][rows] += self._attend(node, part, states, step, position, sent)
            for name, values in sent.items():
                if name != injection.name:
                    history[name].append(values)
        return dict(history), accumulators

    def _current(self, node: IntegerPopulation, part: Slice, sent: dict[str, IntArray]) -> IntArray:
        rows = slice(part.start, part.stop)
        current = np.zeros(part.stop - part.start, np.int64)
        for entry in part.inputs:
            projection = node.inputs[entry.index]
            if entry.source in self.parts:
                current += arriving(entry, sent) << projection.exponent
                continue
            assert entry.source == projection.source
            if projection.weight is not None and projection.weight.ndim == 2:
                current += synapses(projection.weight, rows, entry, sent) << projection.exponent
            else:
                own = 1 if projection.weight is None else projection.weight[rows].astype(np.int64)
                current += own * arriving(entry, sent) << projection.exponent
        return current

    def _attend(
        self,
        node: IntegerAttention,
        part: Slice,
        states: dict[tuple[str, int, int], NeuronState],
        step: int,
        position: int,
        sent: dict[str, IntArray],
    ) -> IntArray:
        """Heads [start, stop) / head_dim over the stored tokens of the slice that there are by now."""
        heads = slice(part.start // node.head_dim, part.stop // node.head_dim)
        query, key, value = (arriving(entry, sent).reshape(-1, node.head_dim) for entry in part.inputs)
        if part.first_token <= position < part.last_token:
            self.stored[node.key, step, position, part.start] = key
            self.stored[node.value, step, position, part.start] = value
        tokens = range(part.first_token, min(part.last_token, position + 1))
        if not tokens:
            return np.zeros(part.stop - part.start, np.int64)
        keys, values = (
            np.stack([self.stored[name, step, token, part.start] for token in tokens])
            for name in (node.key, node.value)
        )
        place = (part.node, part.start, part.first_token)
        if place not in states:
            per_head = (node.neurons.threshold, node.neurons.subtract, node.neurons.bias)
            constants = (np.tile(a[heads].astype(np.int64)[:, None], len(tokens)) for a in per_head)
            states[place] = NeuronState(node.neurons, *constants)
        spikes, _ = states[place].step(np.einsum("hd,jhd->hj", query, keys) << node.exponent)
        mixed: IntArray = np.einsum("hj,jhd->hd", spikes, values)
        return mixed.ravel()


def arriving(entry: InputRange, sent: dict[str, IntArray]) -> IntArray:
    """What reaches a slice through one of its inputs."""
    return sent[entry.source][entry.start : entry.stop]


def synapses(weight: npt.NDArray[np.int8], rows: slice, entry: InputRange, sent: dict[str, IntArray]) -> IntArray:
    """What the synapses that a slice stores of a matrix add up to."""
    stored: IntArray = weight[rows, entry.start : entry.stop].astype(np.int64)
    total: IntArray = stored @ arriving(entry, sent)
    return total


def neuron_state(node: IntegerPopulation, rows: slice) -> NeuronState:
    constants = node.neurons
    arrays = (constants.threshold, constants.subtract, constants.bias)
    return NeuronState(constants, *(array[rows].astype(np.int64) for array in arrays))
