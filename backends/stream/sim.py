"""The fast simulator for stream programs: the C++ engine in `backends/sim/kernels`, and arrays for what it did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bispik.backends.sim import _kernels
from bispik.backends.sim.kernel_path import mode_on, with_threads
from bispik.backends.stream.activity import StreamActivity, checked_input, checked_probes
from bispik.backends.stream.native import native_stream
from bispik.compiler.stream.program import StreamProgram


class SimStreamSession:
    """One sequence: the bits of the reference, with any kernels and any number of threads."""

    def __init__(self, program: StreamProgram, probes: Sequence[str] = (), *, threads: int = 1) -> None:
        """Start a sequence.

        Raises:
            BispikError: for a population that is not there, kernels that are not here, or too many threads.
        """
        self.program, self.probes = program, checked_probes(program, probes)
        self.native = native_stream(program)
        network = self.native.network
        self.engine = with_threads(lambda path: _kernels.StreamEngine(network, path=path, threads=threads), threads)
        self.execution_mode = mode_on(self.engine.path)

    @property
    def position(self) -> int:
        """Steps that have been run; behind an interruption, those of the blocks that were finished."""
        return self.engine.position

    def feed(self, values: npt.NDArray[np.int32]) -> StreamActivity:
        """Run the next time steps."""
        values, first = checked_input(self.program, values), self.position
        populations = self.program.populations
        sent = {p.name: np.empty((len(values), p.size), np.int32) for p in populations}
        membranes = {p.name: np.empty_like(sent[p.name]) for p in populations if p.name in self.probes}
        clipped = np.zeros(len(populations), np.int64)
        self.engine.run(
            values,
            sent=list(sent.values()),
            membranes=[membranes.get(population.name) for population in populations],
            clipped=clipped,
        )
        saturations = {p.name: int(count) for p, count in zip(populations, clipped, strict=True)}
        return StreamActivity(first_step=first, input=values, sent=sent, membranes=membranes, saturations=saturations)

    def close(self) -> None:
        """Nothing to release that the end of the object does not."""
