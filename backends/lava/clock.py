"""Time on the clocked fabric, where every synaptic hop takes one step.

Lava counts its steps from 1. The injection's logical step 0 is Lava's step 1; a node of skew k is at logical step
``time_step - 1 - k``, and each T logical steps make a token, or an idle window in which no token passes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Clock:
    """Where a node is in its tokens."""

    steps_per_token: int
    skew: int

    def step(self, time_step: int) -> int:
        """Return the logical step of a Lava step; negative before the first one reaches the node."""
        return time_step - 1 - self.skew

    def phase(self, time_step: int) -> int:
        """Return the step within the token, 0 to T - 1."""
        return self.step(time_step) % self.steps_per_token

    @property
    def reset_offset(self) -> int:
        """Lava's ``LIFReset`` clears its neurons where time_step % T equals this: at phase 0."""
        return (self.skew + 1) % self.steps_per_token


class DelayLine:
    """Holds messages until they are due: one hop after they were sent, or more where they wait for slower inputs."""

    def __init__(self, hops: int, size: int) -> None:
        silence: npt.NDArray[np.int32] = np.zeros(size, np.int32)
        self._held = deque([silence] * hops, maxlen=hops)

    def put(self, sent: npt.NDArray[np.int32]) -> None:
        """Take what was sent in the step before."""
        self._held.append(sent)

    def due(self) -> npt.NDArray[np.int32]:
        """Return what was sent ``hops`` steps ago; before the first step nothing was."""
        return self._held[0]
