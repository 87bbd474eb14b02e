"""The reference backend: the equations of `bispik.compiler.program`, one token, one step, one node at a time.

Slow and obvious on purpose. It is the definition that every other backend is held against, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import Activity, ActivityRecorder, Reading, checked_tokens, reading_of
from bispik.compiler.fixed_point import IntArray, decayed, normalised, saturated
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNeurons,
    IntegerNorm,
    IntegerPopulation,
    IntegerReadout,
    QuantizedProgram,
)


class NeuronState:
    """Membranes and last spikes of neurons that share ``constants``; at rest when made."""

    def __init__(self, constants: IntegerNeurons, threshold: IntArray, subtract: IntArray, bias: IntArray) -> None:
        self.constants = constants
        self.threshold, self.subtract, self.bias = threshold, subtract, bias
        self.membrane = np.zeros(threshold.shape, np.int64)
        self.spike = np.zeros(threshold.shape, np.int64)

    def step(self, current: IntArray) -> tuple[IntArray, int]:
        """Advance one time step; return the spikes and how many membranes saturated."""
        membrane = decayed(self.membrane, self.constants.decay) + current + self.bias
        if self.constants.reset == "soft":
            membrane = membrane - self.subtract * self.spike
        clipped = saturated(membrane)
        self.spike = (clipped > self.threshold).astype(np.int64)
        if self.constants.spikes == "ternary":
            self.spike = self.spike - (clipped < -self.threshold)
        self.membrane = np.where(self.spike != 0, 0, clipped) if self.constants.reset == "hard" else clipped
        return self.spike, int(np.count_nonzero(clipped != membrane))


class ReferenceSession:
    """One sequence, token by token."""

    execution_mode = "reference: NumPy definition of the integer semantics"

    def __init__(self, program: QuantizedProgram, probes: Sequence[str] = ()) -> None:
        self.program = program
        self.recorder = ActivityRecorder(program, probes)
        self.position = 0
        shape = (program.steps_per_token, program.window)
        attentions = program.of_kind(IntegerAttention)
        self.keys = {a.name: np.zeros((*shape, a.heads, a.head_dim), np.int64) for a in attentions}
        self.values = {a.name: np.zeros((*shape, a.heads, a.head_dim), np.int64) for a in attentions}

    def feed(self, token_ids: Sequence[int] | npt.NDArray[np.int64]) -> Activity:
        """Run the next tokens of the sequence."""
        ids = checked_tokens(self.program, token_ids, self.position)
        self.recorder.start(self.position, ids)
        for token_id in ids:
            self._token(int(token_id))
            self.position += 1
        return self.recorder.finish()

    def read(self, token_ids: Sequence[int] | npt.NDArray[np.int64]) -> Reading:
        """Run the next tokens and return what the host reads."""
        return reading_of(self.program, self.feed(token_ids))

    def close(self) -> None:
        """Nothing to release."""

    def _token(self, token_id: int) -> None:
        states = {p.name: self._population_state(p) for p in self.program.of_kind(IntegerPopulation)}
        scores = {a.name: self._score_state(a) for a in self.program.of_kind(IntegerAttention)}
        accumulators = np.zeros(self.program.readout.size, np.int64)
        for step in range(self.program.steps_per_token):
            outputs: dict[str, IntArray] = {}
            for node in self.program.nodes:
                match node:
                    case IntegerInjection():
                        table = node.token_table[token_id].astype(np.int64) + node.position_table[self.position]
                        outputs[node.name] = table * node.step_gain[step]
                    case IntegerPopulation():
                        spikes, saturations = states[node.name].step(self._current(node, outputs))
                        outputs[node.name] = spikes
                        self.recorder.population(node.name, spikes, states[node.name].membrane, saturations)
                    case IntegerJoin():
                        shifted = zip(node.inputs, node.exponents, strict=True)
                        outputs[node.name] = np.sum([outputs[name] << exponent for name, exponent in shifted], axis=0)
                        self.recorder.graded(node.name, outputs[node.name])
                    case IntegerNorm():
                        outputs[node.name] = normalised(
                            outputs[node.source],
                            fraction_bits=node.fraction_bits,
                            root_bits=node.root_bits,
                            epsilon=node.epsilon,
                        )
                        self.recorder.graded(node.name, outputs[node.name])
                    case IntegerAttention():
                        outputs[node.name] = self._attend(node, scores[node.name], step, outputs)
                        self.recorder.graded(node.name, outputs[node.name])
                    case IntegerReadout():
                        accumulators += node.weight.astype(np.int64) @ outputs[node.source]
        self.recorder.token(accumulators)

    def _population_state(self, node: IntegerPopulation) -> NeuronState:
        constants = node.neurons
        threshold, subtract, bias = (
            a.astype(np.int64) for a in (constants.threshold, constants.subtract, constants.bias)
        )
        return NeuronState(constants, threshold, subtract, bias)

    def _score_state(self, node: IntegerAttention) -> NeuronState:
        """One neuron per head and stored token, the current one included: (heads, position + 1)."""
        per_head = (node.neurons.threshold, node.neurons.subtract, node.neurons.bias)
        threshold, subtract, bias = (np.tile(a.astype(np.int64)[:, None], self.position + 1) for a in per_head)
        return NeuronState(node.neurons, threshold, subtract, bias)

    def _current(self, node: IntegerPopulation, outputs: dict[str, IntArray]) -> IntArray:
        current = np.zeros(node.size, np.int64)
        for projection in node.inputs:
            arriving = outputs[projection.source]
            if projection.weight is None:
                accumulated = arriving
            elif projection.weight.ndim == 1:
                accumulated = projection.weight.astype(np.int64) * arriving
            else:
                accumulated = projection.weight.astype(np.int64) @ arriving
            current += accumulated << projection.exponent
        return current

    def _attend(self, node: IntegerAttention, state: NeuronState, step: int, outputs: dict[str, IntArray]) -> IntArray:
        query, key, value = (outputs[name].reshape(node.heads, node.head_dim) for name in node.sources)
        keys, values = self.keys[node.name][step], self.values[node.name][step]
        keys[self.position], values[self.position] = key, value
        stored = slice(0, self.position + 1)
        score = np.einsum("hd,jhd->hj", query, keys[stored])
        spikes, saturations = state.step(score << node.exponent)
        self.recorder.scores(node.name, spikes, saturations)
        mixed: IntArray = np.einsum("hj,jhd->hd", spikes, values[stored])
        return mixed.reshape(node.size)
