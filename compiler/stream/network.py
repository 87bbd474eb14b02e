"""The stream network: a network in real numbers that lives in time steps, without tokens.

Every step each population takes what its sources sent, in the order of ``StreamNetwork.populations``; a projection
with a delay of d steps takes what its source sent d steps before, and 0 before the first step. A loop has at least one
projection with a delay. State is kept from step to step and starts anew with every sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.compiler.graph import Fire
from bispik.compiler.stream.wiring import Wiring

FloatArray: TypeAlias = npt.NDArray[np.float64]

StreamReset: TypeAlias = Literal["hard", "soft", "none"]
"""What a spike does to the membrane: ``hard`` sets it to 0, ``soft`` subtracts in the next step, ``none`` nothing."""

Output: TypeAlias = Literal["spikes", "membrane"]
"""What neurons send: spikes, 0 or 1, or (only to the host) their membrane; such neurons do not spike."""

Discretisation: TypeAlias = Literal["euler", "exponential"]
"""How a time constant became a decay per step: 1 - dt / tau, or exp(-dt / tau)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamNeurons:
    """Leaky integrate-and-fire dynamics with a current of its own memory, for n neurons; all arrays are (n,).

    u[t] = current_keep * u[t-1] + I[t]                    the current; without memory where current_keep is 0
    v[t] = keep * v[t-1] + u[t] + bias - (subtract * s[t-1] if soft)
    s[t] = 1 if v[t] > threshold (or >=, as ``fire`` says), else 0;    hard: v[t] is stored as 0 where s[t] is 1

    u starts at ``initial_current`` and v at ``initial``. A constant b into the current is a bias of
    b / (1 - current_keep), from which the current is counted: it starts as far below. The membrane is counted from the
    reset value: neurons of other tools that reset to r have threshold - r, initial - r and a bias for the leak to r.
    """

    current_keep: FloatArray
    """0 to 1, 1 excluded."""
    keep: FloatArray
    """0 to 1."""
    bias: FloatArray
    threshold: FloatArray
    """Unused where ``output`` is the membrane."""
    subtract: FloatArray
    """0 unless the reset is soft."""
    initial: FloatArray
    initial_current: FloatArray
    """0 unless a constant enters the current."""
    reset: StreamReset
    fire: Fire
    output: Output

    @property
    def size(self) -> int:
        """Number of neurons."""
        return len(self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamInput:
    """What the host sends in every step."""

    name: str
    shape: tuple[int, ...]
    """As the user's arrays have it; channels are numbered in its order."""
    size: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamProjection:
    """Synapses: I[t] += weight applied to what the source sent at t - delay."""

    source: str
    wiring: Wiring
    weight: FloatArray
    """Of the wiring's ``weight_shape``."""
    delay: int
    """Steps, 0 or more; at least 1 from a population that does not come before."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamPopulation:
    """Neurons and the projections whose currents they sum."""

    name: str
    shape: tuple[int, ...]
    inputs: tuple[StreamProjection, ...]
    neurons: StreamNeurons

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.neurons.size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamNetwork:
    """A network; ``populations`` stand in the order in which a step visits them."""

    input: StreamInput
    populations: tuple[StreamPopulation, ...]
    output: str
    """The population that the host reads."""
    dt: float
    """Seconds per time step, of the tool's own time."""
    discretisation: Discretisation
    origin: str
    """Which convention gave it its meaning, in words; for reports."""
