"""The schema ``bispik-nir`` 3.0: which node of a spiking graph stands where in a NIR file, and how they are wired.

Every population is a LIF node, behind an Affine if its synapses are dense and behind a Scale if each neuron has one
weighted synapse; a join is a Scale by one; NIR's rule that edges which meet are summed does the rest. NIR has no
LayerNorm: one inside a block is a Scale by one too, and its metadata say what it is (since 3.0). Names are such that
alphabetical order, in which files are read, is the order of execution from one sub-graph to the next, and every
sub-graph has exactly one ``input`` and one ``output``.

What a NIR node cannot say stands in its metadata under the key ``bispik``: soft reset, spikes at exactly the
threshold, ternary spikes (since 2.0), the time step. `nir_lower` says what each node and its metadata hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeAlias

from bispik.compiler.graph import Attention, Injection, Join, Node, Norm, Population, Readout, SpikingGraph
from bispik.models.errors import BispikError

SCHEMA = "bispik-nir"
SCHEMA_VERSION = "3.0"
"""A reader takes any minor version of its own major version: a minor version adds metadata that may be ignored."""

PROFILE = "compact"
"""One attention tap: all weights and the whole structure, and exact for a sequence's first token as it stands if its
spikes are binary. NIR's LIF and the tap's gates know no spike of -1: for ternary networks the metadata say what holds.

What other tools import is written beside it, without this schema: see `bispik.compiler.nir_unrolled`.
"""

METADATA_KEY = "bispik"
TIED_TO_HEAD = "tied:n999_head/lm_head"
"""Stands for the token table where it is the head's weight matrix."""

MAX_BLOCKS = 998  # n001_block to n998_block
CHANGED = "the file was changed after its export: export the checkpoint again"


@dataclass(frozen=True, slots=True)
class Wire:
    """What a node takes from another one."""

    source: str
    affine: str = ""
    """NIR path of the Affine that holds a matrix of weights; else empty."""
    scale: str = ""
    """NIR path of the Scale that holds one weight per neuron; else empty."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one node of the spiking graph in the NIR file."""

    kind: type[Node]
    name: str
    path: str
    """A population's LIF, a join's or a norm's Scale, the sub-graph around an attention or a readout."""
    wires: tuple[Wire, ...]


Present: TypeAlias = Callable[[str, str], bool]
"""Whether a network has the node, or the part of it, with this name in the graph and this path in the NIR file."""


def slots(present: Present) -> tuple[Slot, ...]:
    """Return the places of all nodes of a network, in the order of execution."""
    network = [Slot(Injection, "input", "input", ())]
    if present("stream", "n000_stream"):
        network.append(Slot(Join, "stream", "n000_stream", (Wire("input"),)))
    else:
        network.append(Slot(Population, "embed", "n000_embed_lif", (Wire("input"),)))
    for number in range(MAX_BLOCKS):
        name, path = f"block_{number:02d}", f"n{number + 1:03d}_block"
        if not present(name, path):
            break
        network += _block(name, path, network[-1].name, present)
    network.append(Slot(Readout, "head", "n999_head", (Wire(network[-1].name),)))
    return tuple(network)


def _block(block: str, to: str, residual: str, present: Present) -> list[Slot]:
    added: list[Slot] = []

    def add(kind: type[Node], name: str, path: str, *wires: Wire) -> str:
        added.append(Slot(kind, f"{block}/{name}", f"{to}/{path}", wires))
        return added[-1].name

    def dense(name: str, path: str, affine: str, source: str) -> str:
        return add(Population, name, path, Wire(source, f"{to}/{affine}"))

    def optional(kind: type[Node], name: str, path: str, source: str, scale: str = "") -> str:
        has = present(f"{block}/{name}", f"{to}/{path}")
        return add(kind, name, path, Wire(source, scale=scale)) if has else source

    def entry_of(part: str, path: str, source: str) -> str:
        norm = optional(Norm, f"{part}/norm", f"{path}/norm", source)
        scale = f"{to}/{path}/in_scale" if norm != source else ""
        return optional(Population, f"{part}/input", f"{path}/in_lif", norm, scale)

    entry = entry_of("attn", "n0_attn", residual)
    query = dense("attn/query", "n0_attn/q_lif", "n0_attn/q_proj", entry)
    key = dense("attn/key", "n0_attn/k_lif", "n0_attn/k_proj", entry)
    value = dense("attn/value", "n0_attn/v_lif", "n0_attn/v_proj", entry)
    attention = add(Attention, "attn/attention", "n0_attn", Wire(query), Wire(key), Wire(value))
    mixed = optional(Population, "attn/mixed", "n0_attn/mixed_lif", attention)
    output = dense("attn/output", "n0_attn/out_lif", "n0_attn/out_proj", mixed)
    residual = add(Join, "attn/sum", "n1_res", Wire(residual), Wire(output))
    entry = entry_of("ffn", "n2_ffn", residual)
    fc1 = dense("ffn/fc1", "n2_ffn/fc1_lif", "n2_ffn/fc1", entry)
    if present(f"{block}/sum", f"{to}/n3_sum_lif"):
        add(Population, "sum", "n3_sum_lif", Wire(residual), Wire(fc1, f"{to}/n2_ffn/fc2"))
        return added
    fc2 = dense("ffn/fc2", "n2_ffn/fc2_lif", "n2_ffn/fc2", fc1)
    residual = add(Join, "ffn/sum", "n3_res", Wire(residual), Wire(fc2))
    optional(Population, "output", "n4_out_lif", residual)
    return added


def slots_of(graph: SpikingGraph) -> tuple[Slot, ...]:
    """Return the places of a graph's nodes.

    Raises:
        BispikError: if the graph is wired in another way than the schema.
    """
    names = {part for node in graph.nodes for part in _prefixes(node.name)}
    places = slots(lambda name, _: name in names)
    for node, slot in zip_longest(graph.nodes, places):
        found, expected = _of_node(node), _of_slot(slot)
        if found != expected:
            raise BispikError(
                f"NIR: {SCHEMA} {SCHEMA_VERSION} has {expected} where the network has {found}; "
                "this model cannot be written as NIR"
            )
    return places


def _prefixes(name: str) -> Iterator[str]:
    """Yield ``a``, ``a/b`` and ``a/b/c`` for ``a/b/c``."""
    parts = name.split("/")
    return ("/".join(parts[: depth + 1]) for depth in range(len(parts)))


def _of_node(node: Node | None) -> str:
    if node is None:
        return "nothing"
    if isinstance(node, Population):
        forms = ["" if p.weight is None else ("", "scaled", "dense")[p.weight.ndim] for p in node.inputs]
    else:
        forms = [""] * len(node.sources)
    return _describe(type(node), node.name, list(zip(node.sources, forms, strict=True)))


def _of_slot(slot: Slot | None) -> str:
    if slot is None:
        return "nothing"
    return _describe(
        slot.kind,
        slot.name,
        [(wire.source, "dense" if wire.affine else "scaled" if wire.scale else "") for wire in slot.wires],
    )


def _describe(kind: type[Node], name: str, inputs: list[tuple[str, str]]) -> str:
    sources = [f"{source} ({form})" if form else source for source, form in inputs]
    return f"{kind.__name__} {name}" + (f" with inputs {', '.join(sources)}" if sources else "")
