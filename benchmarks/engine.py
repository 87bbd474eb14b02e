"""A network in the engine as something that takes turns."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from benchmarks.measure import Turn
from benchmarks.shapes import Masks, Stack
from bispik.backends.sim import _kernels

Spikes = list[tuple[int, Masks]]


class Runner:
    """Runs one sequence after the other with given spikes, and keeps what the head added up last."""

    def __init__(self, stack: Stack, path: str, *, threads: int = 1) -> None:
        self.stack = stack
        self.engine = _kernels.Engine(stack.network, path=path, threads=threads)
        self.sequence = _kernels.Sequence(stack.network)
        self.clipped = np.zeros(stack.nodes, np.int64)
        self.accumulators: npt.NDArray[np.int64] | None = None

    def run(self, spikes: Spikes) -> None:
        """Run the next tokens of the sequence: as many as there are spikes of."""
        tokens = spikes[0][1].shape[1]
        if self.stack.vocabulary:
            self.accumulators = np.empty((tokens, self.stack.vocabulary), np.int64)
        self.engine.run(
            [(self.sequence, np.zeros(tokens, np.int64))],
            given=spikes,
            outputs=[],
            scores=[],
            membranes=[],
            accumulators=self.accumulators,
            readout_sums=None,
            clipped=self.clipped,
            counting=None,
            counts=None,
        )

    def turn(self, feed: list[Spikes], before: Spikes | None = None) -> Turn:
        """Return a turn that runs a new sequence: ``before`` without being timed, then ``feed``, one by one."""

        def run() -> float:
            self.sequence = _kernels.Sequence(self.stack.network)
            if before is not None:
                self.run(before)
            started = time.perf_counter()
            for spikes in feed:
                self.run(spikes)
            return (time.perf_counter() - started) / len(feed)

        return run
