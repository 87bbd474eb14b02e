"""The spiking graph: a network in real numbers, free of any framework and of any hardware.

Time: a token lasts ``steps_per_token`` steps. Within a step spikes travel the whole network in the order of
``SpikingGraph.nodes``. Neurons start at rest for every token; only keys and values reach later tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from bispik.compiler.deferred import FloatArray, Matrix

Reset: TypeAlias = Literal["soft", "hard"]
"""``soft`` subtracts the threshold one step after the spike, ``hard`` sets the membrane to 0."""

Fire: TypeAlias = Literal["ge", "gt"]
"""A neuron spikes if its membrane is ``ge`` (>=) or ``gt`` (>) its threshold."""

Spikes: TypeAlias = Literal["binary", "ternary"]
"""``binary`` neurons spike 1; ``ternary`` ones also spike -1, where their membrane is as far below 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neurons:
    """Leaky integrate-and-fire dynamics of a population of n neurons.

    soft:    v[t] = decay * v[t-1] + I[t] + bias - threshold * s[t-1]
    hard:    v[t] = decay * v[t-1] * (1 - |s[t-1]|) + I[t] + bias
    binary:  s[t] = 1 if v[t] >= threshold, else 0
    ternary: s[t] = 1 if v[t] >= threshold, -1 if -v[t] >= threshold, else 0
    with > in the place of >= where ``fire`` says so.
    """

    decay: float
    threshold: FloatArray
    """(n,), in units of the current; positive if ternary."""
    bias: FloatArray
    """(n,), a current that flows in every time step."""
    reset: Reset
    fire: Fire
    spikes: Spikes = "binary"

    @property
    def size(self) -> int:
        """Number of neurons."""
        return len(self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Injection:
    """The host's input: current (token_table[id] + position_table[position]) * step_gain[t] into one population."""

    name: str
    token_table: Matrix
    """(vocabulary, size)."""
    position_table: Matrix
    """(positions, size)."""
    step_gain: tuple[float, ...]
    """One factor per time step of a token."""

    @property
    def size(self) -> int:
        """Channels."""
        return int(self.token_table.shape[1])

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes whose output this one takes."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Projection:
    """Synapses from one node: current += weight @ output(source), or += output(source) where weight is None."""

    source: str
    weight: Matrix | None
    """(neurons, source size); (neurons,) for one-to-one synapses, None for such of weight 1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Population:
    """Neurons and the projections whose currents they sum. Output: spikes, 0 or 1, or -1, 0 or 1."""

    name: str
    inputs: tuple[Projection, ...]
    neurons: Neurons

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.neurons.size

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes whose output this one takes."""
        return tuple(projection.source for projection in self.inputs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Join:
    """The residual stream: the sum of its inputs. Output: graded, a small count of spikes per channel (signed).

    A join of the injection alone is the stream of a network whose first block takes the real current itself.
    """

    name: str
    inputs: tuple[str, ...]
    size: int

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes whose output this one takes."""
        return self.inputs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Norm:
    """LayerNorm inside a block: output = (x - mean x) / sqrt(var x + epsilon), x the source's outputs of one step.

    Its gain and bias are folded into the projections that read it. Output: real numbers, which a program sends as
    graded spikes in fixed point.
    """

    name: str
    source: str
    size: int
    epsilon: float

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes whose output this one takes."""
        return (self.source,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attention:
    """Softmax-free spiking attention over the tokens so far, per head h and time step t.

    score[j] = sum over d of q[d] * k_j[d];   a_j = neurons(score[j]);   output[d] = sum over j of a_j * v_j[d]

    The neurons of one head share threshold and bias; there is one per stored token j, at rest at first.
    Output: graded, counts from 0 to the number of tokens; with ternary spikes signed, as large at most.
    """

    name: str
    query: str
    key: str
    value: str
    heads: int
    head_dim: int
    neurons: Neurons
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
class Readout:
    """The language-model head behind the final LayerNorm.

    logits = (weight @ (gamma * (h - mean h) / sqrt(var h + epsilon) + beta)) * scale,  h = mean over t of the source
    """

    name: str
    source: str
    weight: Matrix
    """(vocabulary, size)."""
    gamma: FloatArray
    beta: FloatArray
    epsilon: float
    scale: float

    @property
    def size(self) -> int:
        """Vocabulary."""
        return int(self.weight.shape[0])

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes whose output this one takes."""
        return (self.source,)


Node: TypeAlias = Injection | Population | Join | Norm | Attention | Readout

NodeT = TypeVar("NodeT")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpikingGraph:
    """A spiking language model; ``nodes`` stand in the order in which a time step visits them."""

    nodes: tuple[Node, ...]
    steps_per_token: int
    max_positions: int
    dt: float
    """Seconds per time step in NIR's continuous time; a chip's real step time comes from the energy account."""
    hyperparameters: Mapping[str, int | float | str | bool]
    """The model's configuration, for reports; nothing computes with it."""
    tokenizer: str
    """Text of the ``tokenizer.json``; empty if unknown."""

    def node(self, name: str) -> Node:
        """Return the node of that name."""
        return next(node for node in self.nodes if node.name == name)

    def of_kind(self, kind: type[NodeT]) -> tuple[NodeT, ...]:
        """Return the nodes of one kind, in order."""
        return tuple(node for node in self.nodes if isinstance(node, kind))
