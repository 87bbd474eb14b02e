"""One sequence on the fast simulator: the C++ engine in `backends/sim/kernels`, and arrays to hold what it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import Activity, Reading, checked_tokens, require_recordable
from bispik.backends.counts.chunk import CountedChunk, Demands
from bispik.backends.sim import _kernels
from bispik.backends.sim.kernel_path import mode_on, with_threads
from bispik.backends.sim.network import NativeNetwork, native_network
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerPopulation,
    IntegerReadout,
    QuantizedProgram,
)

Ids = Sequence[int] | npt.NDArray[np.int64]


class SimSession:
    """Runs the next tokens of one sequence."""

    def __init__(self, program: QuantizedProgram, probes: Sequence[str] = (), *, threads: int = 1) -> None:
        require_recordable(program)
        self.program = program
        self.probes = frozenset(probes)
        self.native = native_network(program)
        self.engine = engine_of(self.native, threads)
        self.sequence = _kernels.Sequence(self.native.network)
        self.execution_mode = mode_of(self.engine)

    @property
    def position(self) -> int:
        """Tokens that have been run; behind an interruption, those of the blocks that were finished."""
        return self.sequence.position

    def feed(self, token_ids: Ids) -> Activity:
        """Run the next tokens of the sequence."""
        program, first = self.program, self.position
        ids = checked_tokens(program, token_ids, first)
        tokens, steps, stored = len(ids), program.steps_per_token, first + len(ids)
        silent = (IntegerInjection, IntegerReadout)
        sent = [node for node in program.nodes if not isinstance(node, silent)]
        outputs = {node.name: np.empty((tokens, steps, node.size), np.int16) for node in sent}
        scores = {
            a.name: np.empty((tokens, steps, a.heads, stored), np.int8) for a in program.of_kind(IntegerAttention)
        }
        membranes = {
            population.name: np.empty((tokens, steps, population.size), np.int32)
            for population in program.of_kind(IntegerPopulation)
            if population.name in self.probes
        }
        reading, saturations = self._run(ids, outputs=outputs, scores=scores, membranes=membranes)
        return Activity(
            first_position=first,
            token_ids=ids,
            outputs=outputs,
            score_spikes=scores,
            accumulators=reading.accumulators,
            membranes=membranes,
            saturations=saturations,
        )

    def record(
        self, token_ids: Ids, names: Sequence[str]
    ) -> tuple[Reading, dict[str, npt.NDArray[np.int16]], dict[str, npt.NDArray[np.int32]]]:
        """Run the next tokens and return what the host reads, and outputs and membranes of some populations.

        Both are (tokens, steps, size); membranes are those behind the decision to spike, as in an `Activity`.
        """
        program = self.program
        ids = checked_tokens(program, token_ids, self.position)
        shapes = {name: (len(ids), program.steps_per_token, program.node(name).size) for name in names}
        outputs = {name: np.empty(shape, np.int16) for name, shape in shapes.items()}
        membranes = {name: np.empty(shape, np.int32) for name, shape in shapes.items()}
        reading, _ = self._run(ids, outputs=outputs, membranes=membranes)
        return reading, outputs, membranes

    def read(self, token_ids: Ids) -> Reading:
        """Run the next tokens and return what the host reads; nothing else is recorded."""
        return self._run(checked_tokens(self.program, token_ids, self.position))[0]

    def read_counted(self, token_ids: Ids, counted: NativeDemands) -> tuple[Reading, CountedChunk]:
        """Run the next tokens and return what the host reads, and the numbers that were asked for."""
        ids = checked_tokens(self.program, token_ids, self.position)
        positions = self.position + np.arange(len(ids), dtype=np.int64)
        counts = np.empty((len(ids), counted.size, self.program.steps_per_token), np.int32)
        reading, saturations = self._run(ids, counting=counted.counting, counts=counts)
        return reading, CountedChunk(positions, counts, saturations)

    def close(self) -> None:
        """Nothing to release that the end of the object does not."""

    def _run(
        self,
        ids: npt.NDArray[np.int64],
        *,
        outputs: Mapping[str, npt.NDArray[np.int16]] | None = None,
        scores: Mapping[str, npt.NDArray[np.int8]] | None = None,
        membranes: Mapping[str, npt.NDArray[np.int32]] | None = None,
        counting: _kernels.Counting | None = None,
        counts: npt.NDArray[np.int32] | None = None,
    ) -> tuple[Reading, dict[str, int]]:
        program, index = self.program, self.native.index
        accumulators = np.empty((len(ids), program.readout.size), np.int64)
        sums = np.empty((len(ids), program.node(program.readout.source).size), np.int32)
        clipped = np.zeros(len(program.nodes), np.int64)

        def numbered(arrays: Mapping[str, npt.NDArray[Any]] | None) -> list[tuple[int, npt.NDArray[Any]]]:
            return [(index[name], array) for name, array in (arrays or {}).items()]

        self.engine.run(
            [(self.sequence, ids)],
            given=[],
            outputs=numbered(outputs),
            scores=numbered(scores),
            membranes=numbered(membranes),
            accumulators=accumulators,
            readout_sums=sums,
            clipped=clipped,
            counting=counting,
            counts=counts,
        )
        saturations = saturations_of(program, self.native, clipped)
        return Reading(accumulators=accumulators, sums=sums.astype(np.int64)), saturations


def engine_of(native: NativeNetwork, threads: int) -> _kernels.Engine:
    """Return an engine for a network.

    Raises:
        BispikError: for kernels that are not here, or more threads than there can be.
    """
    return with_threads(lambda path: _kernels.Engine(native.network, path=path, threads=threads), threads)


def mode_of(engine: _kernels.Engine) -> str:
    """Return in words what runs."""
    return mode_on(engine.path)


def saturations_of(program: QuantizedProgram, native: NativeNetwork, clipped: npt.NDArray[np.int64]) -> dict[str, int]:
    """Return by population and attention how many membrane updates the engine clipped, of its numbers by node."""
    spiking = (IntegerPopulation, IntegerAttention)
    return {node.name: int(clipped[native.index[node.name]]) for node in program.nodes if isinstance(node, spiking)}


class NativeDemands:
    """What counting asks for, in the engine's numbers of nodes."""

    def __init__(self, native: NativeNetwork, demands: Demands) -> None:
        index = native.index
        self.size = demands.size
        self.counting = _kernels.Counting(
            [([index[name] for name in names], start, stop) for names, start, stop in demands.sent],
            [(index[name], head, first, last) for name, head, first, last in demands.scored],
            [(index[name], start, stop, first, last) for name, start, stop, first, last in demands.mixed],
        )
