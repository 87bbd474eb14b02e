"""The quantised program: the network in integers, exactly as every backend runs it.

Population, at every time step (v' and s' are those of the step before; both start at 0 for every token):

    I = sum over inputs of (weight @ output(source)) << exponent
    soft: v = saturate(decay(v') + I + bias - subtract * s')
    hard: v = saturate(decay(v') + I + bias), and v is stored as 0 where the neuron spikes
    binary:  s = 1 if v > threshold, else 0
    ternary: s = 1 if v > threshold, -1 if v < -threshold, else 0

with ``decay`` and ``saturate`` of `fixed_point`. Join: output = sum over inputs of output(source) << exponent. Norm:
output = `fixed_point.normalised`(output(source)). Attention, per head and stored token j
(the current token is stored before it asks): I = (q . k_j) << exponent, a_j = s of the neuron above with the head's
constants, output = sum over j of a_j * v_j. Readout: accumulators += weight @ output(source); they start at 0 for
every token and are read by the host behind its last step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.compiler.graph import NodeT, Reset, Spikes

SEMANTICS_VERSION = 2
"""Changes whenever the equations above change: a program runs only on the semantics it was made for."""

NeuronProgram: TypeAlias = Literal["stock", "bispik"]
"""``stock``: Lava's LIFReset (hard reset, one threshold a population); ``bispik``: ours, needs microcode on a chip."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerNeurons:
    """Constants of a population's neurons, in membrane units."""

    program: NeuronProgram
    reset: Reset
    spikes: Spikes = "binary"
    decay: int
    """0 to 4095: lost 4096ths of the membrane per step."""
    threshold: npt.NDArray[np.int32]
    """(n,): spike if v > threshold, strictly. ``U >= theta`` is stored as ceil(theta * scale) - 1, which is exact.
    Not negative if ternary, so that a membrane is beyond one of the two thresholds at most."""
    subtract: npt.NDArray[np.int32]
    """(n,): taken from the membrane one step after a spike, added after a spike of -1; 0 for a hard reset."""
    bias: npt.NDArray[np.int32]
    """(n,): added in every step."""

    @property
    def size(self) -> int:
        """Number of neurons."""
        return len(self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerInjection:
    """Host input: current ((token_table[id] + position_table[position]) * step_gain[t]), injected one-to-one."""

    name: str
    token_table: npt.NDArray[np.int16]
    position_table: npt.NDArray[np.int16]
    step_gain: tuple[int, ...]

    @property
    def size(self) -> int:
        """Channels."""
        return int(self.token_table.shape[1])

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes whose output this one takes."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerProjection:
    """Synapses: current += (weight @ output(source)) << exponent."""

    source: str
    weight: npt.NDArray[np.int8] | None
    """(neurons, source size); (neurons,) for one-to-one synapses; None for one-to-one synapses of weight 1."""
    exponent: int
    bits: int
    """Bits per stored weight; 0 where weight is None."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerPopulation:
    """Neurons and the projections whose currents they sum. Output: spikes, 0 or 1, or -1, 0 or 1."""

    name: str
    inputs: tuple[IntegerProjection, ...]
    neurons: IntegerNeurons

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.neurons.size

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes whose output this one takes."""
        return tuple(projection.source for projection in self.inputs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerJoin:
    """Sum over inputs of output(source) << exponent. Output: graded, of magnitude at most ``maximum``.

    Negative only behind ternary spikes or a real current. A join of the injection alone is the residual stream of a
    network whose blocks take the embedding's current itself; spikes that join such a stream later are shifted into
    its unit.
    """

    name: str
    inputs: tuple[str, ...]
    exponents: tuple[int, ...]
    """One per input, 0 or more."""
    size: int
    maximum: int

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes whose output this one takes."""
        return self.inputs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerNorm:
    """LayerNorm without gain and bias, in fixed point; its gain and bias are folded into what it projects to.

    With n = size, x the source's outputs, and everything in whole numbers:

        deviation = n * x - sum x                                   n * (x - mean x)
        root = ceil(sqrt((n * sum x^2 - (sum x)^2 + epsilon) << 2 * root_bits))
        output = round(deviation * 2^(fraction_bits + root_bits) / root), halves away from zero; 0 if root is 0

    Output: graded, signed, of unit 2^-fraction_bits. |output| <= 2^fraction_bits * sqrt(n - 1), rounded up, and
    the Euclidean length of all outputs is at most sqrt(n) * (2^fraction_bits + 1/2), because the root is rounded up.
    """

    name: str
    source: str
    size: int
    fraction_bits: int
    root_bits: int
    epsilon: int
    """The float norm's epsilon, times (n * unit of the source)^2, rounded."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes whose output this one takes."""
        return (self.source,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerAttention:
    """Spiking attention over stored keys and values. Output: graded, 0 to the window; signed if any spike is."""

    name: str
    query: str
    key: str
    value: str
    heads: int
    head_dim: int
    exponent: int
    neurons: IntegerNeurons
    """One entry per head."""

    @property
    def size(self) -> int:
        """Output channels."""
        return self.heads * self.head_dim

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes whose output this one takes."""
        return (self.query, self.key, self.value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerReadout:
    """Integer accumulators over the vocabulary, and what the host does with them.

    accumulator = sum over t of weight @ r[t]                                  on chip (or host: ``on_chip``)
    logits = accumulator * scale / sqrt(var(c / T) + epsilon) + bias,  c = sum over t of r[t]     on the host

    The final LayerNorm's gain and its mean subtraction are folded into ``weight``.
    """

    name: str
    source: str
    weight: npt.NDArray[np.int8]
    """(vocabulary, size)."""
    bits: int
    on_chip: bool
    scale: float
    epsilon: float
    bias: npt.NDArray[np.float32]
    """(vocabulary,): LayerNorm's bias seen through the head; all zero if it has none."""

    @property
    def size(self) -> int:
        """Vocabulary."""
        return int(self.weight.shape[0])

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes whose output this one takes."""
        return (self.source,)


IntegerNode: TypeAlias = (
    IntegerInjection | IntegerPopulation | IntegerJoin | IntegerNorm | IntegerAttention | IntegerReadout
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PopulationReport:
    """How far one population in integers is from the float network on the calibration text."""

    name: str
    spike_agreement: float
    """Share of (neuron, time step) places where both spike alike or both do not, both networks running freely."""
    membrane_error: float
    """Root mean square of (v / scale - U) / threshold, both networks running freely."""
    firing_rate_float: float
    firing_rate_integer: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLoss:
    """What one population's, or the readout's, integers cost while the rest of the network is in real numbers."""

    name: str
    bits: int
    """Of its matrix; 0 if it has none."""
    divergence: float
    """Of the next token's distribution from the float network's (Kullback-Leibler), bits per byte."""
    change: float
    """Of bits per byte on the text itself: what is lost in the end, but noise of so few tokens is part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The program in integers against the float network, on held-out text."""

    tokens: int
    bpb_float: float
    """Bits per byte of the float network."""
    bpb_integer: float
    spike_agreement: float
    """Over all populations, each neuron and time step counted once."""
    populations: tuple[PopulationReport, ...]
    sample: tuple[int, ...]
    """Token ids of the first window of that text, so that an account of energy can be made from the program alone."""
    losses: tuple[NodeLoss, ...] = ()
    """The largest divergence first; none if they were not measured."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantizedProgram:
    """The network in integers; ``nodes`` stand in the order in which a time step visits them."""

    nodes: tuple[IntegerNode, ...]
    steps_per_token: int
    window: int
    """Tokens that the keys and values have room for; a sequence ends there."""
    bits: int
    """Bits per weight of a matrix, at most; each projection knows its own."""
    neuron_program: NeuronProgram
    membrane_scale: Mapping[str, npt.NDArray[np.float64]]
    """Per population: membrane units per unit of the float network's membrane, (n,)."""
    hyperparameters: Mapping[str, int | float | str | bool]
    tokenizer: str
    rates: Mapping[str, float] = field(default_factory=dict[str, float])
    """By node: mean magnitude of an output per channel and time step on calibration text, in units of the float
    network; for a population its firing rate. Empty if unknown."""
    exponents: Mapping[str, int] = field(default_factory=dict[str, int])
    """By node whose outputs are no plain counts: its integers are in units of 2^-exponent of the float network's."""
    verification: Verification | None = None
    """None until the program has been held against the float network."""
    semantics_version: int = SEMANTICS_VERSION

    @property
    def bits_by_node(self) -> dict[str, int]:
        """Bits of the matrix of each population that has one, and of the readout."""
        populations = {
            node.name: max(entry.bits for entry in node.inputs if entry.weight is not None and entry.weight.ndim == 2)
            for node in self.of_kind(IntegerPopulation)
            if any(entry.weight is not None and entry.weight.ndim == 2 for entry in node.inputs)
        }
        return {**populations, self.readout.name: self.readout.bits}

    def node(self, name: str) -> IntegerNode:
        """Return the node of that name."""
        return next(node for node in self.nodes if node.name == name)

    def of_kind(self, kind: type[NodeT]) -> tuple[NodeT, ...]:
        """Return the nodes of one kind, in order."""
        return tuple(node for node in self.nodes if isinstance(node, kind))

    @property
    def injection(self) -> IntegerInjection:
        """The host's input."""
        return self.of_kind(IntegerInjection)[0]

    @property
    def readout(self) -> IntegerReadout:
        """The language-model head."""
        return self.of_kind(IntegerReadout)[0]
