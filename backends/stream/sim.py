"""The fast simulator for stream programs: the C++ engine in `backends/sim/kernels`, and arrays for what it did."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from bispik.backends.sim import _kernels
from bispik.backends.sim.kernel_path import mode_on, with_threads
from bispik.backends.stream.activity import StreamActivity, checked_input, checked_probes
from bispik.backends.stream.counts.native import NativeCounting
from bispik.backends.stream.counts.tally import StreamTally
from bispik.backends.stream.native import native_stream
from bispik.compiler.stream.program import StreamProgram


class SimStreamSession:
    """One sequence: the bits of the reference, with any kernels and any number of threads."""

    def __init__(
        self,
        program: StreamProgram,
        probes: Sequence[str] = (),
        *,
        threads: int = 1,
        counting: NativeCounting | None = None,
    ) -> None:
        """Start a sequence; with ``counting``, one whose events the engine counts while it runs.

        Raises:
            BispikError: for a population that is not there, kernels that are not here, or too many threads.
        """
        self.program, self.probes, self.counting = program, checked_probes(program, probes), counting
        self.native = native_stream(program)
        network, counted = self.native.network, counting.counting if counting else None
        self.engine = with_threads(
            lambda path: _kernels.StreamEngine(network, path=path, threads=threads, counting=counted), threads
        )
        self.execution_mode = mode_on(self.engine.path)

    @property
    def position(self) -> int:
        """Steps that have been run; behind an interruption, those of the blocks that were finished."""
        return self.engine.position

    def feed(self, values: npt.NDArray[np.int32]) -> StreamActivity:
        """Run the next time steps; see `StreamSession`."""
        if self.counting is not None:
            raise ValueError("this session counts: call feed_counted")
        return self._run(values, {population.name for population in self.program.populations}, None)

    def feed_counted(
        self, values: npt.NDArray[np.int32], recorded: Collection[str]
    ) -> tuple[StreamActivity, StreamTally]:
        """Run the next time steps of a session that counts, and return with the numbers what some populations sent.

        Raises:
            BispikError: as ``feed``.
        """
        if self.counting is None:
            raise ValueError("this session counts nothing: open one with counting")
        tally = self.counting.tally(len(values))
        activity = self._run(values, recorded, tally.arrays)
        return activity, tally.result(activity.first_step, activity.saturations)

    def _run(
        self, values: npt.NDArray[np.int32], recorded: Collection[str], tally: _kernels.StreamTally | None
    ) -> StreamActivity:
        values, first = checked_input(self.program, values), self.position
        populations = self.program.populations
        sent = {p.name: np.empty((len(values), p.size), np.int32) for p in populations if p.name in recorded}
        membranes = {p.name: np.empty((len(values), p.size), np.int32) for p in populations if p.name in self.probes}
        clipped = np.zeros(len(populations), np.int64)
        self.engine.run(
            values,
            sent=[sent.get(population.name) for population in populations],
            membranes=[membranes.get(population.name) for population in populations],
            clipped=clipped,
            tally=tally,
        )
        saturations = {p.name: int(count) for p, count in zip(populations, clipped, strict=True)}
        return StreamActivity(first_step=first, input=values, sent=sent, membranes=membranes, saturations=saturations)

    def close(self) -> None:
        """Nothing to release that the end of the object does not."""
