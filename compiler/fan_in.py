"""Cut what a row reads over several neurocores, where it does not fit into one: parts add up, and send their sums on.

A *part* (`bispik.compiler.mapping.FanInPart`) stores the synapses from some outputs of a source to all rows of a node.
Like rows of any matrix its own lie on as many neurocores as they fill. What they add up to goes to the neurons as one
number a row and step, through a synapse of weight 1. Nodes that fit are not cut: parts cost messages and a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil

import numpy as np

from bispik.compiler.capacity import Amounts, Capacity, fits, share
from bispik.compiler.mapping import FanInPart
from bispik.compiler.shapes import InputShape, NetworkShape, NodeShape
from bispik.compiler.stream.layout import LaidWiring
from bispik.compiler.stream.wiring import Convolution, Sparse, restricted
from bispik.compiler.target import Target
from bispik.models.errors import BispikError

MOST_PARTS = 256
"""Of one input: a row that reads more than 256 neurocores hold is refused."""

MORE_PARTS = 8
"""Inputs are cut into fewer parts than so many above those that they must be cut into."""


FEW_ENOUGH = 1.08
"""Neurocores, over those of the number of parts that takes the fewest."""


def split_fan_in(network: NetworkShape, target: Target) -> NetworkShape:
    """Return a network in which every row fits into a neurocore, as far as parts can bring that about.

    Of a node that must be cut, all matrices become parts: sums then arrive at one time. Fewer parts have longer axon
    tables, more parts more sums to relay: they are as few as take at most `FEW_ENOUGH` times the fewest neurocores.

    What has no parts stays as it is, and is refused by the partition if it does not fit: convolutions, norms, heads,
    and all nodes of a target whose spikes carry no number.
    """
    parts = tuple(part for node in network.nodes for part in _choose(node, network, target))
    return with_parts(network, parts)


def with_parts(network: NetworkShape, parts: Sequence[FanInPart]) -> NetworkShape:
    """Return the network with parts in front of the nodes that they belong to.

    Raises:
        BispikError: if another node has the name of a part.
    """
    names = {node.name for node in network.nodes} | {entry.source for node in network.nodes for entry in node.inputs}
    if taken := sorted(names & {part.name for part in parts}):
        raise BispikError(f"{taken[0]}: a part of what another node reads is called so; give this node another name")
    nodes: list[NodeShape] = []
    for node in network.nodes:
        own = [part for part in parts if part.node == node.name]
        nodes += [_part(node, part) for part in own]
        nodes.append(_relayed(node, own) if own else node)
    return replace(network, nodes=tuple(nodes), parts=tuple(parts))


def can_relay(target: Target) -> bool:
    """Say whether a target's spikes carry numbers and its neurocores have a program for a sum that is sent on."""
    return target.storage.spike_payload_bits.value > 0 and target.state.join.value > 0


def _choose(node: NodeShape, network: NetworkShape, target: Target) -> Sequence[FanInPart]:
    if not _can_be_cut(node) or not can_relay(target) or _rows_fit(node, network, target):
        return ()
    found: list[tuple[float, Sequence[FanInPart]]] = []
    least = 0
    largest = max(_outputs_read(entry) for entry in node.inputs)
    for pieces in range(1, min(MOST_PARTS, largest) + 1):
        if least and pieces >= least + MORE_PARTS:
            break
        parts = tuple(_parts(node, ceil(largest / pieces)))
        shapes = (*(_part(node, part) for part in parts), _relayed(node, parts))
        if all(_rows_fit(shape, network, target) for shape in shapes):
            least = least or pieces
            found.append((sum(_neurocores(shape, network, target) for shape in shapes), parts))
    fewest = min((neurocores for neurocores, _ in found), default=0.0)
    return next((parts for neurocores, parts in found if neurocores <= FEW_ENOUGH * fewest), ())


def _can_be_cut(node: NodeShape) -> bool:
    """Say whether a node has a matrix, and no convolution: a kernel is shared by rows that read different outputs."""
    kernels = any(entry.laid is not None and isinstance(entry.laid.wiring, Convolution) for entry in node.inputs)
    return node.kind in ("population", "readout") and not kernels and any(_is_matrix(entry) for entry in node.inputs)


def _is_matrix(entry: InputShape) -> bool:
    return not entry.one_to_one


def _outputs_read(entry: InputShape) -> int:
    if entry.laid is not None:
        return entry.laid.wiring.inputs
    return entry.fan_in


def _parts(node: NodeShape, most: int) -> Iterator[FanInPart]:
    """Yield parts of at most so many outputs, those of an input as large as each other."""
    number = 0
    for index, entry in enumerate(node.inputs):
        if not _is_matrix(entry):
            continue
        outputs = _outputs_read(entry)
        pieces = ceil(outputs / most)
        for piece in range(pieces):
            yield FanInPart(
                name=f"{node.name}/part_{number}",
                node=node.name,
                index=index,
                source=entry.source,
                start=outputs * piece // pieces,
                stop=outputs * (piece + 1) // pieces,
            )
            number += 1


def _part(node: NodeShape, part: FanInPart) -> NodeShape:
    entry = node.inputs[part.index]
    if entry.laid is not None and isinstance(entry.laid.wiring, Sparse):
        wiring = restricted(entry.laid.wiring, part.start, part.stop)
        own = replace(entry, laid=LaidWiring(wiring=wiring, layout=entry.laid.layout), index=part.index)
    else:
        own = replace(entry, first=part.start, fan_in=part.stop - part.start, index=part.index)
    return NodeShape(name=part.name, kind="partial", size=node.size, inputs=(own,), program=node.program, readers=1)


def _relayed(node: NodeShape, parts: Sequence[FanInPart]) -> NodeShape:
    inputs: list[InputShape] = []
    for index, entry in enumerate(node.inputs):
        own = [part.name for part in parts if part.index == index]
        inputs += [
            InputShape(source=name, fan_in=1, one_to_one=True, bits=0, host=False, index=index) for name in own
        ] or [replace(entry, index=index)]
    return replace(node, inputs=tuple(inputs))


def _rows_fit(node: NodeShape, network: NetworkShape, target: Target) -> bool:
    """Say whether the row that reads most fits into a neurocore."""
    capacity = Capacity(replace(network, nodes=(node,)), target)
    return fits(capacity.use(node, 1, 1, _longest_row(node)), capacity.limits)


def _longest_row(node: NodeShape) -> int:
    lengths = np.zeros(node.size, np.int64)
    for entry in node.inputs:
        if entry.laid is not None and isinstance(entry.laid.wiring, Sparse):
            lengths += np.diff(entry.laid.wiring.starts)[entry.laid.layout.neuron]
    return int(lengths.argmax())


def _neurocores(node: NodeShape, network: NetworkShape, target: Target) -> float:
    """Return how many neurocores a node fills alone; of one-to-one rows, which go into gaps, what they take of one."""
    capacity = Capacity(replace(network, nodes=(node,)), target)
    use: Amounts = capacity.use(node, node.size)
    taken = max(share(use, capacity.limits))
    if node.uniform and any(_is_matrix(entry) for entry in node.inputs):
        return max(taken, ceil(node.size / capacity.whole(node)))
    return taken
