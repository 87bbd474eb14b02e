"""A window of tokens as spiking neurons and weights alone: no token, no attention, no soft reset, no spike of -1.

The tokens of the window stand side by side, each with neurons of its own, and all run for the steps of one token:
within a step token i sees the keys and values of token i - r, r positions back, as the network does. What is left:

- a product of two spikes is a neuron without memory that two spikes together make fire (a gate);
- a sum is many spikes at one neuron;
- a soft reset is the neuron's own spike, taken from its input one step later (`bispik.compiler.nir_unrolled`);
- a neuron that spikes -1 is two neurons, one for each sign, that take each other's spikes back.

All of it is exact in real numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.compiler.deferred import Matrix
from bispik.compiler.graph import Attention, Fire, Injection, Join, Neurons, Norm, Population, Readout, SpikingGraph
from bispik.compiler.nir_sizes import check_sizes
from bispik.models.errors import BispikError

Profile: TypeAlias = Literal["unrolled", "soft_lowered"]
"""``unrolled`` takes networks whose resets are hard; ``soft_lowered`` makes synapses of soft ones."""

Vector: TypeAlias = npt.NDArray[np.float64]

INPUT = "input"
"""Name of what the host sends: real currents."""

BOTH = 1.5
"""Threshold of a gate: two spikes pass it, one does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a bundle's neurons keep from step to step, and when they fire; see `bispik.compiler.graph.Neurons`."""

    decay: float
    reset: Literal["hard", "soft"]
    fire: Fire


GATE = Memory(decay=0.0, reset="hard", fire="ge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A node's output as the spikes of bundles: sum over bundles of sign * spike, channel by channel."""

    bundles: tuple[str, ...]
    signs: tuple[float, ...]


Signal: TypeAlias = tuple[Line, ...]
"""Lines that are summed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Synapses:
    """current(token i) += sign * weight @ signal(token i - back); tokens before the window send nothing."""

    signal: Signal
    weight: Matrix | None
    """(neurons, channels of a bundle); (neurons,) for one-to-one synapses, None for such of weight 1."""
    sign: float = 1.0
    back: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """n neurons for each token of the window, with binary spikes."""

    name: str
    """Of the graph's node; behind it ``/minus`` if these spikes count as -1, or the part of an attention."""
    inputs: tuple[Synapses, ...]
    memory: Memory
    threshold: Vector
    """(n,), positive."""
    bias: Vector
    """(n,)."""
    partner: str = ""
    """The bundle of the other sign."""

    @property
    def size(self) -> int:
        """Neurons for each token."""
        return len(self.threshold)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the bundles, or the input, whose spikes these neurons take in the same step."""
        return tuple(dict.fromkeys(name for synapses in self.inputs for name in names(synapses.signal)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unrolled:
    """A window of tokens."""

    bundles: tuple[Bundle, ...]
    """None before those whose spikes it takes in the same step."""
    output: Signal
    """What the graph's readout takes: counts of spikes."""
    window: int
    width: int
    """Channels of the input, and of the output, for each token."""


def names(signal: Signal) -> tuple[str, ...]:
    """Return the bundles of a signal."""
    return tuple(name for line in signal for name in line.bundles)


def unroll(graph: SpikingGraph, window: int, profile: Profile) -> Unrolled:
    """Unroll a language model up to its readout, which stays with the host, as the embedding does.

    Args:
        graph: the network.
        window: tokens.
        profile: whether soft resets may be there.

    Raises:
        BispikError: if there is no such form of the network; names the first node that has none, and why.
    """
    check_sizes(graph)
    if not 1 <= window <= graph.max_positions:
        raise BispikError(f"a window of {window} tokens; the network has positions for 1 to {graph.max_positions}")
    builder = _Builder(graph, window, profile)
    output = builder.run()
    return Unrolled(
        bundles=tuple(builder.bundles), output=output, window=window, width=graph.of_kind(Injection)[0].size
    )


class _Builder:
    """The bundles so far, and what each node of the graph became."""

    def __init__(self, graph: SpikingGraph, window: int, profile: Profile) -> None:
        self.graph = graph
        self.window = window
        self.profile = profile
        self.bundles: list[Bundle] = []
        self.signals: dict[str, Signal] = {}

    def run(self) -> Signal:
        for node in self.graph.nodes:
            match node:
                case Injection():
                    self.signals[node.name] = (Line(bundles=(INPUT,), signs=(1.0,)),)
                case Population():
                    inputs = tuple(Synapses(signal=self.signals[p.source], weight=p.weight) for p in node.inputs)
                    self.signals[node.name] = (self.neurons(node.name, node.neurons, inputs),)
                case Join():
                    self.signals[node.name] = tuple(line for name in node.inputs for line in self.signals[name])
                case Norm():
                    raise BispikError(
                        f"{node.name} is a LayerNorm inside a block, for which NIR has no node: this network has no "
                        "form that other tools import; one trained with block_norm = 'none' has"
                    )
                case Attention():
                    self.signals[node.name] = (self.attention(node),)
                case Readout():
                    return self.signals[node.source]
        raise BispikError("the network has no readout")

    def neurons(self, name: str, neurons: Neurons, inputs: tuple[Synapses, ...]) -> Line:
        """Add a population's neurons, twice if they are ternary."""
        memory = self.memory(name, neurons)
        first = Bundle(
            name=name,
            inputs=inputs,
            memory=memory,
            threshold=_positive(name, neurons.threshold.astype(np.float64)),
            bias=neurons.bias.astype(np.float64),
        )
        if neurons.spikes == "binary":
            self.bundles.append(first)
            return Line(bundles=(name,), signs=(1.0,))
        if memory.reset == "hard" and memory.decay > 0:
            raise BispikError(
                f"{name} has ternary spikes and a hard reset: a spike of -1 would have to reset the membrane of the "
                "neuron that spikes +1, and NIR's neurons reset themselves alone; soft resets can be lowered"
            )
        second = f"{name}/minus"
        turned = tuple(replace(synapses, sign=-synapses.sign) for synapses in inputs)
        self.bundles += [
            replace(first, partner=second),
            replace(first, name=second, inputs=turned, bias=-first.bias, partner=name),
        ]
        return Line(bundles=(name, second), signs=(1.0, -1.0))

    def memory(self, name: str, neurons: Neurons) -> Memory:
        """Return what neurons keep; a token of one step has nothing to keep."""
        if self.graph.steps_per_token == 1:
            return replace(GATE, fire=neurons.fire)
        if neurons.reset == "soft" and self.profile == "unrolled":
            raise BispikError(
                f"{name} has a soft reset, and the neurons of NIR reset to a value: --emit nir-soft-lowered makes "
                "synapses of it"
            )
        return Memory(decay=neurons.decay, reset=neurons.reset, fire=neurons.fire)

    def attention(self, node: Attention) -> Line:
        """Add the gates and score neurons of an attention, one set for each number of tokens looked back."""
        (query,), (key,), (value,) = (self.signals[name] for name in node.sources)
        per_head = np.kron(np.eye(node.heads), np.ones((1, node.head_dim))).astype(np.float32)
        gates: list[Line] = []
        for back in range(self.window):
            place = f"{node.name}/back_{back:04d}"
            products = self.gates(f"{place}/qk", node.size, (query, None, 0), (key, None, back))
            summed = Synapses(signal=(products,), weight=per_head)
            score = self.neurons(f"{place}/score", node.neurons, (summed,))
            gates.append(self.gates(f"{place}/av", node.size, (score, per_head.T, 0), (value, None, back)))
        return Line(
            bundles=tuple(name for line in gates for name in line.bundles),
            signs=tuple(sign for line in gates for sign in line.signs),
        )

    def gates(
        self, name: str, size: int, one: tuple[Line, Matrix | None, int], other: tuple[Line, Matrix | None, int]
    ) -> Line:
        """Add the products of two lines' spikes, those of each sign by themselves."""
        made: list[str] = []
        signs: list[float] = []
        for first, first_sign in zip(one[0].bundles, one[0].signs, strict=True):
            for second, second_sign in zip(other[0].bundles, other[0].signs, strict=True):
                made.append(f"{name}_{len(made)}")
                signs.append(first_sign * second_sign)
                pair = ((first, *one[1:]), (second, *other[1:]))
                inputs = tuple(_spikes_of(source, weight, back) for source, weight, back in pair)
                threshold = np.full(size, BOTH)
                self.bundles.append(
                    Bundle(name=made[-1], inputs=inputs, memory=GATE, threshold=threshold, bias=np.zeros(size))
                )
        return Line(bundles=tuple(made), signs=tuple(signs))


def _spikes_of(source: str, weight: Matrix | None, back: int) -> Synapses:
    return Synapses(signal=(Line(bundles=(source,), signs=(1.0,)),), weight=weight, back=back)


def _positive(name: str, threshold: Vector) -> Vector:
    if count := np.count_nonzero(threshold <= 0):
        raise BispikError(
            f"{name}: {count} of {threshold.size} neurons have thresholds of 0 or below; snnTorch and SpikingJelly "
            "take one threshold for a layer, and weights can be scaled to a common one only from positive ones"
        )
    return threshold
