"""One sequence on the fast simulator.

Only keys and values pass from token to token, so each node runs all steps of all fed tokens before the next node.
Arithmetic is done in floating point wherever that is exact: products of spikes and weights in float32 while sums stay
below 2^24, membranes in float64, whose 53 bits hold every product of a 24-bit membrane with a 12-bit decay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import Activity, checked_tokens, require_recordable
from bispik.backends.sim.neurons import run_neurons
from bispik.compiler.bounds import output_ranges
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNorm,
    IntegerPopulation,
    IntegerReadout,
    QuantizedProgram,
)

Array = npt.NDArray[np.float64] | npt.NDArray[np.float32]

FLOAT32_EXACT = 1 << 24
"""Integers up to here, and sums that stay below it, are exact in float32."""


class SimSession:
    """Runs the next tokens of one sequence; see the module's docstring."""

    execution_mode = "sim: vectorised NumPy, bit-exact with the reference"

    def __init__(self, program: QuantizedProgram, probes: Sequence[str] = ()) -> None:
        require_recordable(program)
        self.program = program
        self.probes = frozenset(probes)
        self.position = 0
        self.matrices = _matrices(program)
        shape = (program.steps_per_token, program.window)
        attentions = program.of_kind(IntegerAttention)
        self.keys = {a.name: np.zeros((*shape, a.size), np.float32) for a in attentions}
        self.values = {a.name: np.zeros((*shape, a.size), np.float32) for a in attentions}

    def feed(self, token_ids: Sequence[int] | npt.NDArray[np.int64]) -> Activity:
        """Run the next tokens of the sequence."""
        ids = checked_tokens(self.program, token_ids, self.position)
        run = _Run(self, ids)
        for node in self.program.nodes:
            run.visit(node)
        self.position += len(ids)
        return run.activity()

    def close(self) -> None:
        """Nothing to release."""


class _Run:
    """One call of ``feed``: outputs are (T, n, size) for n tokens of T steps."""

    def __init__(self, session: SimSession, ids: npt.NDArray[np.int64]) -> None:
        self.session, self.ids = session, ids
        self.outputs: dict[str, Array] = {}
        self.score_spikes: dict[str, npt.NDArray[np.int8]] = {}
        self.membranes: dict[str, npt.NDArray[np.int32]] = {}
        self.saturations: dict[str, int] = {}
        self.accumulators = np.zeros((len(ids), session.program.readout.size), np.int64)

    def visit(self, node: object) -> None:
        match node:
            case IntegerInjection():
                first = self.session.position
                table = node.token_table[self.ids].astype(np.float64)
                table += node.position_table[first : first + len(self.ids)]
                self.outputs[node.name] = np.array(node.step_gain, np.float64).reshape(-1, 1, 1) * table
            case IntegerPopulation():
                self._population(node)
            case IntegerJoin():
                shifted = zip(node.inputs, node.exponents, strict=True)
                self.outputs[node.name] = np.sum([self.outputs[name] * float(1 << e) for name, e in shifted], axis=0)
            case IntegerNorm():
                self.outputs[node.name] = normalised_rows(node, self.outputs[node.source])
            case IntegerAttention():
                self._attention(node)
            case IntegerReadout():
                counts = self.outputs[node.source].sum(axis=0)
                matrix = self.session.matrices[node.name, 0]
                self.accumulators = _product(counts, matrix).astype(np.int64)
            case _:
                raise TypeError(node)

    def _population(self, node: IntegerPopulation) -> None:
        current: Array | float = 0.0
        for index, projection in enumerate(node.inputs):
            arriving = self.outputs[projection.source]
            matrix = self.session.matrices.get((node.name, index))
            if matrix is not None:
                arriving = _product(arriving, matrix)
            elif projection.weight is not None:
                arriving = arriving * projection.weight.astype(np.float64)
            current = current + arriving.astype(np.float64) * float(1 << projection.exponent)
        run = run_neurons(node.neurons, np.asarray(current), keep_membranes=node.name in self.session.probes)
        self.outputs[node.name] = run.spikes
        self.saturations[node.name] = run.saturations
        if run.membranes is not None:
            self.membranes[node.name] = run.membranes.astype(np.int32).swapaxes(0, 1)

    def _attention(self, node: IntegerAttention) -> None:
        session, first, count = self.session, self.session.position, len(self.ids)
        session.keys[node.name][:, first : first + count] = self.outputs[node.key]
        session.values[node.name][:, first : first + count] = self.outputs[node.value]
        stored = slice(0, first + count)
        query = _heads(node, self.outputs[node.query]).swapaxes(1, 2)
        keys = _heads(node, session.keys[node.name][:, stored]).swapaxes(1, 2)
        values = _heads(node, session.values[node.name][:, stored]).swapaxes(1, 2)
        score = (query @ keys.swapaxes(2, 3)).astype(np.float64) * float(1 << node.exponent)
        run = run_neurons(node.neurons, score, trailing_axes=2, counted=_causal(first, count))
        spikes = np.where(_causal(first, count), run.spikes, np.float32(0))
        steps = len(spikes)
        self.outputs[node.name] = (spikes @ values).swapaxes(1, 2).reshape(steps, count, node.size)
        self.score_spikes[node.name] = spikes.astype(np.int8).transpose(2, 0, 1, 3)
        self.saturations[node.name] = run.saturations

    def activity(self) -> Activity:
        kept: Mapping[str, Array] = {
            name: output for name, output in self.outputs.items() if name != self.session.program.injection.name
        }
        return Activity(
            first_position=self.session.position - len(self.ids),
            token_ids=self.ids,
            outputs={name: output.swapaxes(0, 1).astype(np.int16) for name, output in kept.items()},
            score_spikes=self.score_spikes,
            accumulators=self.accumulators,
            membranes=self.membranes,
            saturations=self.saturations,
        )


def normalised_rows(node: IntegerNorm, output: Array) -> Array:
    """Return the norm of each row of (..., size) in 64 bits, which its proof says suffice."""
    values = output.astype(np.int64)
    total = values.sum(axis=-1, keepdims=True)
    squares = (values * values).sum(axis=-1, keepdims=True)
    spread = (node.size * squares - total * total + node.epsilon) << 2 * node.root_bits
    root = np.sqrt(spread.astype(np.float64)).astype(np.int64)  # off by one at most
    root -= (root * root >= spread) & (root > 0)
    root += root * root < spread
    root += root * root < spread
    deviation = node.size * values - total
    shift = node.fraction_bits + node.root_bits + 1
    rounded = ((np.abs(deviation) << shift) + root) // np.maximum(2 * root, 1)
    result: Array = (np.sign(deviation) * rounded * (root > 0)).astype(np.float64)
    return result


def _heads(node: IntegerAttention, output: Array) -> Array:
    """(T, tokens, size) to (T, tokens, heads, head_dim)."""
    return output.reshape(*output.shape[:2], node.heads, node.head_dim)


def _product(outputs: Array, matrix: Array) -> Array:
    """Return outputs @ matrix in the matrix's precision, in which it is exact."""
    product: Array = np.matmul(outputs, matrix, dtype=matrix.dtype)
    return product


def _causal(first: int, count: int) -> npt.NDArray[np.bool_]:
    """(queries, stored tokens): token first + i sees itself and the tokens before it."""
    return np.tril(np.ones((count, first + count), bool), first)


def _matrices(program: QuantizedProgram) -> dict[tuple[str, int], Array]:
    """Dense weights, inputs first, in the narrowest floating type that is exact for them; by node and input index."""
    ranges = output_ranges(program.nodes, program.window)
    matrices: dict[tuple[str, int], Array] = {}
    for population in program.of_kind(IntegerPopulation):
        for index, projection in enumerate(population.inputs):
            if projection.weight is not None and projection.weight.ndim == 2:
                matrices[population.name, index] = _exact(projection.weight, ranges[projection.source].magnitude)
    readout = program.readout
    matrices[readout.name, 0] = _exact(readout.weight, ranges[readout.source].magnitude * program.steps_per_token)
    return matrices


def _exact(weight: npt.NDArray[np.int8], maximum: int) -> Array:
    reached = int(np.abs(weight.astype(np.int64)).sum(axis=1).max(initial=0)) * maximum
    if reached < FLOAT32_EXACT:
        return np.ascontiguousarray(weight.T.astype(np.float32))
    return np.ascontiguousarray(weight.T.astype(np.float64))
