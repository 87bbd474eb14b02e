"""Several sequences side by side: each weight that is read serves all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bispik.backends.activity import Reading, checked_tokens, require_recordable
from bispik.backends.counts.chunk import CountedChunk
from bispik.backends.sim import _kernels
from bispik.backends.sim.network import native_network
from bispik.backends.sim.session import Ids, NativeDemands, engine_of, mode_of, saturations_of
from bispik.compiler.program import QuantizedProgram
from bispik.models.errors import BispikError


class SimBatch:
    """Sequences of one program that go on together; each gives the bits that it would give alone."""

    def __init__(self, program: QuantizedProgram, sequences: int, *, threads: int = 1) -> None:
        """Start the sequences.

        Raises:
            BispikError: for no sequences, or kernels that are not here.
        """
        require_recordable(program)
        if sequences < 1:
            raise BispikError(f"a batch of {sequences} sequences; give 1 or more")
        self.program = program
        self.native = native_network(program)
        self.engine = engine_of(self.native, threads)
        self.sequences = [_kernels.Sequence(self.native.network) for _ in range(sequences)]
        self.execution_mode = mode_of(self.engine)

    def read(self, token_ids: Sequence[Ids | None]) -> list[Reading | None]:
        """Run the next tokens of every sequence, and return what the host reads of each.

        Args:
            token_ids: by sequence; None for one that does not go on now.

        Raises:
            BispikError: if a sequence would outgrow the window or an id is not in the vocabulary; none has then run.
        """
        return [None if found is None else found[0] for found in self._run(token_ids, None)]

    def read_counted(
        self, token_ids: Sequence[Ids | None], counted: NativeDemands
    ) -> list[tuple[Reading, CountedChunk] | None]:
        """Run the next tokens as ``read``, and also return the numbers that were asked for.

        Saturations are counted for all sequences together; they are with the first of those that go on.
        """
        found = self._run(token_ids, counted)
        return [None if entry is None or entry[1] is None else (entry[0], entry[1]) for entry in found]

    def _run(
        self, token_ids: Sequence[Ids | None], counted: NativeDemands | None
    ) -> list[tuple[Reading, CountedChunk | None] | None]:
        program, steps = self.program, self.program.steps_per_token
        going = [
            (sequence, checked_tokens(program, ids, sequence.position))
            for sequence, ids in zip(self.sequences, token_ids, strict=True)
            if ids is not None
        ]
        positions = [sequence.position + np.arange(len(ids), dtype=np.int64) for sequence, ids in going]
        tokens = sum(len(ids) for _, ids in going)
        accumulators = np.empty((tokens, program.readout.size), np.int64)
        sums = np.empty((tokens, program.node(program.readout.source).size), np.int32)
        counts = np.empty((tokens, counted.size, steps), np.int32) if counted else None
        clipped = np.zeros(len(program.nodes), np.int64)
        if going:
            self.engine.run(
                going,
                given=[],
                outputs=[],
                scores=[],
                membranes=[],
                accumulators=accumulators,
                readout_sums=sums,
                clipped=clipped,
                counting=counted.counting if counted else None,
                counts=counts,
            )
        bounds = np.cumsum([0, *(len(ids) for _, ids in going)]).tolist()
        saturations = saturations_of(program, self.native, clipped)
        none = dict.fromkeys(saturations, 0)
        ran: list[tuple[Reading, CountedChunk | None]] = []
        for number, at in enumerate(positions):
            rows = slice(bounds[number], bounds[number + 1])
            reading = Reading(accumulators=accumulators[rows], sums=sums[rows].astype(np.int64))
            chunk = None
            if counted is not None and counts is not None:
                chunk = CountedChunk(at, counts[rows], none if number else saturations)
            ran.append((reading, chunk))
        in_order = iter(ran)
        return [None if ids is None else next(in_order) for ids in token_ids]
