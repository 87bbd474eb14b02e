"""The equations of `bispik.compiler.stream.program` as the Lava model computes them: in place, driven by events."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.arithmetic import IntArray, weighted_sum
from bispik.compiler.fixed_point import decayed, saturated
from bispik.compiler.stream.program import IntegerStreamNeurons, IntegerStreamProjection
from bispik.compiler.stream.wiring import Dense


class StreamDynamics:
    """One time step of a population's neurons."""

    def __init__(self, neurons: IntegerStreamNeurons) -> None:
        self.current_decay, self.decay, self.threshold, self.subtract, self.bias = (
            values.astype(np.int64)
            for values in (neurons.current_decay, neurons.decay, neurons.threshold, neurons.subtract, neurons.bias)
        )
        self.hard, self.soft, self.spikes = neurons.reset == "hard", neurons.reset == "soft", neurons.output == "spikes"

    def advance(
        self, u: npt.NDArray[np.int32], v: npt.NDArray[np.int32], s: npt.NDArray[np.int8], arriving: IntArray
    ) -> int:
        """Advance currents, membranes and spikes in place; return how many membranes saturated."""
        u[...] = saturated(decayed(u.astype(np.int64), self.current_decay) + arriving)
        membrane = decayed(v.astype(np.int64), self.decay) + u + self.bias
        if self.soft:
            membrane -= self.subtract * s
        clipped = saturated(membrane)
        if self.spikes:
            s[...] = clipped > self.threshold
        v[...] = np.where(s != 0, 0, clipped) if self.hard else clipped
        return int(np.count_nonzero(clipped != membrane))


class StreamSynapses:
    """The current of one projection; work is done only in steps in which its source sends something."""

    def __init__(self, projection: IntegerStreamProjection) -> None:
        self.wiring, self.exponent = projection.wiring, projection.exponent
        self.weight = projection.weight.astype(np.int64)
        # By input: the weights that a spike reaches lie side by side.
        dense = isinstance(projection.wiring, Dense)
        self.rows = np.ascontiguousarray(projection.weight.T) if dense else None

    def current(self, sent: npt.NDArray[np.int32]) -> IntArray:
        """Return (weight applied to sent) << exponent, (neurons,)."""
        if not sent.any():
            return np.zeros(self.wiring.outputs, np.int64)
        if self.rows is not None:
            return weighted_sum(self.rows, sent) << self.exponent
        current: IntArray = self.wiring.apply(self.weight, sent[None].astype(np.int64))[0] << self.exponent
        return current


class History:
    """What a source sent in its latest logical steps."""

    def __init__(self, delay: int, wait: int, size: int) -> None:
        """Prepare for a source.

        Args:
            delay: logical steps that the projection delays by.
            wait: fabric steps from a message's arrival to its use.
            size: of the source.
        """
        # Messages that wait, and, while the neurons rest between two runs, those that the next run will ask for.
        self._rows = np.zeros((max(delay, wait + 1), size), np.int32)
        self._delay = delay

    def put(self, step: int, sent: npt.NDArray[np.int32]) -> None:
        """Take what was sent at a logical step."""
        self._rows[step % len(self._rows)] = sent

    def due(self, step: int) -> npt.NDArray[np.int32]:
        """Return what a logical step uses: nothing before the first one."""
        wanted = step - self._delay
        return self._rows[wanted % len(self._rows)] if wanted >= 0 else np.zeros_like(self._rows[0])
