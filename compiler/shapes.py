"""The shape of a network: what a mapping has to know of it, and no weight.

It comes from a quantised program, or from a graph that is yet to be quantised (a dry run).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from bispik.compiler.graph import (
    Attention,
    Injection,
    Join,
    Node,
    Norm,
    Population,
    Projection,
    Readout,
    Spikes,
    SpikingGraph,
)
from bispik.compiler.mapping import FanInPart, InputRange, SliceKind
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNode,
    IntegerNorm,
    IntegerPopulation,
    IntegerProjection,
    IntegerReadout,
    NeuronProgram,
    QuantizedProgram,
)
from bispik.compiler.stream.layout import LaidWiring

STORED_BITS: Mapping[Spikes, int] = {"binary": 1, "ternary": 2}
"""Bits of a stored key or value: whether there was a spike, and its sign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputShape:
    """Synapses from one source to the rows of a node."""

    source: str
    fan_in: int
    """Source outputs that one row reads: all of them, or 1: row r reads output r."""
    one_to_one: bool
    bits: int
    """Stored per synapse; 0 for a synapse of weight 1."""
    host: bool
    """The host writes this current into the neurons themselves: nothing is stored and no axon leads there."""
    first: int = 0
    """The first of the outputs that all rows read, where that is not one-to-one."""
    index: int | None = None
    """Of the input in the program, where it is not its place among the inputs here."""
    laid: LaidWiring | None = None
    """Which outputs each row reads, where that is neither all of them nor its own; ``fan_in`` is then unused."""
    wait_bits: int = 0
    """Per source output that a slice reads: bits of what the source sent and that still waits to arrive."""

    def sources(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of source outputs that rows [start, stop) read: from the first of them to the last."""
        if self.laid is not None:
            return self.laid.reach(start, stop).hull
        return (start, stop) if self.one_to_one else (self.first, self.first + self.fan_in)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeShape:
    """A node that lies on neurocores: ``size`` rows (outputs), each with the same inputs."""

    name: str
    kind: SliceKind
    size: int
    inputs: tuple[InputShape, ...]
    program: NeuronProgram
    """What the neurons of a population run; each of the other kinds has a program of its own."""
    own_current: bool = False
    """Neurons keep a current beside their membrane, which `target.State` does not say of their program."""
    own_decays: bool = False
    """Each neuron keeps decays of its own."""
    head_dim: int = 1
    """Attention: channels of one head, which stay together. 1 for the other kinds."""
    stored_bits: int = 2
    """Attention: bits of a key and a value together, per channel, time step and token; see STORED_BITS."""
    readers: int = 0
    """Inputs of other nodes on neurocores that read this node."""

    @property
    def together(self) -> int:
        """Rows that must lie on one neurocore: those of a head, all of a norm, else 1."""
        return self.size if self.kind == "norm" else self.head_dim

    @property
    def uniform(self) -> bool:
        """Whether rows take the same wherever they lie in the node."""
        return all(entry.laid is None for entry in self.inputs)

    def input_ranges(self, start: int, stop: int) -> tuple[InputRange, ...]:
        """Return what reaches rows [start, stop)."""
        ranges = (
            (place if entry.index is None else entry.index, entry, *entry.sources(start, stop))
            for place, entry in enumerate(self.inputs)
        )
        return tuple(
            InputRange(index=index, source=entry.source, start=first, stop=last) for index, entry, first, last in ranges
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkShape:
    """The nodes that lie on neurocores, in the order in which a time step visits them."""

    nodes: tuple[NodeShape, ...]
    steps_per_token: int
    window: int
    """Tokens that keys and values have room for."""
    parts: tuple[FanInPart, ...] = ()
    """What stands in front of nodes whose rows read more than fits into one neurocore; see `fan_in`."""


def program_shape(program: QuantizedProgram) -> NetworkShape:
    """Return the shape of a quantised program."""
    on_chip = (node for node in program.nodes if not (isinstance(node, IntegerReadout) and not node.on_chip))
    nodes = _node_shapes(tuple(on_chip), bits=program.bits, program=program.neuron_program, node_bits={})
    return network_shape(nodes, steps_per_token=program.steps_per_token, window=program.window)


def graph_shape(
    graph: SpikingGraph,
    *,
    bits: int,
    window: int,
    neuron_program: NeuronProgram = "bispik",
    head_on_chip: bool = True,
    node_bits: Mapping[str, int] | None = None,
) -> NetworkShape:
    """Return the shape that a graph will have once it is quantised to ``bits`` per weight, or to ``node_bits``."""
    on_chip = (node for node in graph.nodes if head_on_chip or not isinstance(node, Readout))
    nodes = _node_shapes(tuple(on_chip), bits=bits, program=neuron_program, node_bits=node_bits or {})
    return network_shape(nodes, steps_per_token=graph.steps_per_token, window=window)


def network_shape(nodes: Iterable[NodeShape], *, steps_per_token: int, window: int) -> NetworkShape:
    """Return a network of the nodes, with the readers of each counted."""
    nodes = tuple(nodes)
    readers = Counter(entry.source for node in nodes for entry in node.inputs)
    counted = tuple(replace(node, readers=readers[node.name]) for node in nodes)
    return NetworkShape(nodes=counted, steps_per_token=steps_per_token, window=window)


def _node_shapes(
    nodes: tuple[Node, ...] | tuple[IntegerNode, ...],
    bits: int,
    program: NeuronProgram,
    node_bits: Mapping[str, int],
) -> Iterable[NodeShape]:
    """Integers know their bits themselves; ``bits`` and ``node_bits`` are for graphs."""
    sizes = {node.name: node.size for node in nodes}
    host = {node.name for node in nodes if isinstance(node, Injection | IntegerInjection)}
    spikes: dict[str, Spikes] = {
        node.name: node.neurons.spikes for node in nodes if isinstance(node, Population | IntegerPopulation)
    }
    for node in nodes:
        if isinstance(node, Injection | IntegerInjection):
            continue
        if isinstance(node, Population | IntegerPopulation):
            width = node_bits.get(node.name, bits)
            inputs = tuple(_projection_shape(entry, sizes, host, width) for entry in node.inputs)
            runs = node.neurons.program if isinstance(node, IntegerPopulation) else program
            yield NodeShape(name=node.name, kind="population", size=node.size, inputs=inputs, program=runs)
        elif isinstance(node, Readout | IntegerReadout):
            stored = node.bits if isinstance(node, IntegerReadout) else node_bits.get(node.name, bits)
            inputs = (_dense(node.source, sizes, stored),)
            yield NodeShape(name=node.name, kind="readout", size=node.size, inputs=inputs, program=program)
        elif isinstance(node, Join | IntegerJoin):
            inputs = tuple(_one_to_one(source, host) for source in node.sources)
            yield NodeShape(name=node.name, kind="join", size=node.size, inputs=inputs, program=program)
        elif isinstance(node, Norm | IntegerNorm):
            inputs = (_one_to_one(node.source, host),)
            yield NodeShape(name=node.name, kind="norm", size=node.size, inputs=inputs, program=program)
        else:
            yield _attention_shape(node, host, program, spikes)


def _attention_shape(
    node: Attention | IntegerAttention, host: set[str], program: NeuronProgram, spikes: Mapping[str, Spikes]
) -> NodeShape:
    return NodeShape(
        name=node.name,
        kind="attention",
        size=node.size,
        inputs=tuple(_one_to_one(source, host) for source in node.sources),
        program=program,
        head_dim=node.head_dim,
        stored_bits=STORED_BITS[spikes[node.key]] + STORED_BITS[spikes[node.value]],
    )


def _projection_shape(
    entry: Projection | IntegerProjection, sizes: dict[str, int], host: set[str], bits: int
) -> InputShape:
    stored = entry.bits if isinstance(entry, IntegerProjection) else bits
    if entry.weight is None:
        return _one_to_one(entry.source, host)
    if entry.weight.ndim == 1:
        return _one_to_one(entry.source, host, stored)
    return _dense(entry.source, sizes, stored)


def _dense(source: str, sizes: dict[str, int], bits: int) -> InputShape:
    return InputShape(source=source, fan_in=sizes[source], one_to_one=False, bits=bits, host=False)


def _one_to_one(source: str, host: set[str], bits: int = 0) -> InputShape:
    return InputShape(source=source, fan_in=1, one_to_one=True, bits=bits, host=source in host)
