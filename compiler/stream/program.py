"""The stream program: a stream network in integers, exactly as every backend runs it.

In every time step, for each population in order (u', v' and s' are those of the step before; at a sequence's start
u' = ``initial_current``, v' = ``initial`` and s' = 0):

    I = sum over projections of (weight applied to sent(source)[t - delay]) << exponent;  0 before the first step
    u = saturate(decay(u', current_decay) + I)
    v = saturate(decay(v', decay) + u + bias - (subtract * s' if soft))
    s = 1 if v > threshold, else 0;                         hard: v is stored as 0 where the neuron spikes
    sent = s, or v where the neurons send their membrane (they do not spike and have no reset)

with ``decay`` and ``saturate`` of `bispik.compiler.fixed_point`. With a current_decay of 4096 a current has no memory.
These are the numbers of Lava's ``LIF`` in ``fixed_pt`` with du = current_decay - 1, dv = decay and
vth << 6 = threshold. The compiler proves that u never saturates: where Lava's current would wrap, there is no program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.program import NeuronProgram
from bispik.compiler.stream.network import Discretisation, Output, StreamReset
from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Sparse

STREAM_SEMANTICS_VERSION = 1
"""Changes whenever the equations above change: a program runs only on the semantics it was made for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerStreamNeurons:
    """Constants of n neurons, in membrane units; all arrays are (n,)."""

    program: NeuronProgram
    """``stock``: Lava's own LIF (hard reset; one decay, one current_decay and one threshold a population)."""
    reset: StreamReset
    output: Output
    current_decay: npt.NDArray[np.int32]
    """1 to 4096: lost 4096ths of the current per step."""
    decay: npt.NDArray[np.int32]
    """0 to 4096: lost 4096ths of the membrane per step; Lava's own neurons lose 4095 at most."""
    threshold: npt.NDArray[np.int32]
    """Spike if v > threshold, strictly. ``U >= theta`` is stored as ceil(theta * scale) - 1, which is exact."""
    subtract: npt.NDArray[np.int32]
    bias: npt.NDArray[np.int32]
    initial: npt.NDArray[np.int32]
    """Of the membrane, at the start of a sequence."""
    initial_current: npt.NDArray[np.int32]
    """Of the current. A constant into a current that has a memory is a bias of the membrane and a start below 0."""

    @property
    def size(self) -> int:
        """Number of neurons."""
        return len(self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerStreamInput:
    """What the host sends: whole numbers in [low, high]; spikes are 0 and 1."""

    name: str
    shape: tuple[int, ...]
    size: int
    low: int
    high: int
    unit: float
    """Whole numbers per 1.0 of the network's input: 1 for spikes and counts."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerStreamProjection:
    """Synapses: I[t] += (weight applied to sent(source)[t - delay]) << exponent."""

    source: str
    wiring: Dense | OneToOne | Convolution | Sparse
    weight: npt.NDArray[np.int8]
    """Of the wiring's ``weight_shape``."""
    exponent: int
    bits: int
    """Bits per stored weight."""
    delay: int
    """Steps, 0 or more; at least 1 from a population that does not come before."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerStreamPopulation:
    """Neurons and the projections whose currents they sum."""

    name: str
    shape: tuple[int, ...]
    inputs: tuple[IntegerStreamProjection, ...]
    neurons: IntegerStreamNeurons

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.neurons.size


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPopulationReport:
    """How far one population in integers is from the float network, both running freely on the same input."""

    name: str
    spike_agreement: float | None
    """Share of (neuron, time step) places where both spike alike or both do not; None for membranes."""
    spikes_in_common: float | None
    """Of all spikes of the two, the share that both have; 1 if none has any, None for membranes."""
    membrane_error: float
    """Root mean square of v / scale - U: in thresholds of neurons that spike, else over the root mean square of U."""
    saturations: int
    """Membrane updates that were clipped at 24 bits."""
    firing_rate_float: float
    firing_rate_integer: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamVerification:
    """The program in integers against the float network, on the user's input or on a random one."""

    steps: int
    input: str
    """What ran, in words."""
    spike_agreement: float
    """Over all spiking populations, each neuron and time step counted once."""
    spikes_in_common: float
    """Over all spiking populations, each spike counted once."""
    populations: tuple[StreamPopulationReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamProgram:
    """The network in integers; ``populations`` stand in the order in which a step visits them."""

    input: IntegerStreamInput
    populations: tuple[IntegerStreamPopulation, ...]
    output: str
    """The population that the host reads."""
    dt: float
    """Seconds per time step of the tool that made the network; a chip's own step time comes from its energy account."""
    discretisation: Discretisation
    origin: str
    """Which convention gave the network its meaning, in words; for reports."""
    bits: int
    neuron_program: NeuronProgram
    membrane_scale: Mapping[str, npt.NDArray[np.float64]]
    """Per population: membrane units per unit of the float network's membrane, (n,)."""
    verification: StreamVerification | None = None
    """None until the program has been held against the float network."""
    semantics_version: int = STREAM_SEMANTICS_VERSION

    def population(self, name: str) -> IntegerStreamPopulation:
        """Return the population of that name."""
        return next(population for population in self.populations if population.name == name)
