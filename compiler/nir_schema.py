"""The schema ``bispik-nir`` 2.0: which node of a spiking graph stands where in a NIR file, and how they are wired.

Every population is a LIF node, behind an Affine if its synapses are dense; a join is a Scale by one; NIR's rule that
edges which meet are summed does the rest. Names are such that alphabetical order, in which files are read, is the
order of execution from one sub-graph to the next, and every sub-graph has exactly one ``input`` and one ``output``.

What a NIR node cannot say stands in its metadata under the key ``bispik``: soft reset, spikes at exactly the
threshold, ternary spikes (since 2.0), the time step. `nir_lower` says what each node and its metadata hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeAlias

from bispik.compiler.graph import Attention, Injection, Join, Node, Population, Readout, SpikingGraph
from bispik.models.errors import BispikError

SCHEMA = "bispik-nir"
SCHEMA_VERSION = "2.0"
"""A reader takes any minor version of its own major version: a minor version adds metadata that may be ignored."""

PROFILE = "compact"
"""One attention tap: all weights and the whole structure, and exact for a sequence's first token as it stands if its
spikes are binary. NIR's LIF and the tap's gates know no spike of -1: for ternary networks the metadata say what holds.

Planned beside it: ``unrolled`` (one tap per token of the window) and ``soft_lowered`` (soft reset in plain NIR).
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
    """NIR path of the Affine that holds the weights; empty for one-to-one."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one node of the spiking graph in the NIR file."""

    kind: type[Node]
    name: str
    path: str
    """A population's LIF, a join's Scale, the sub-graph around an attention or a readout."""
    wires: tuple[Wire, ...]


Present: TypeAlias = Callable[[str, str], bool]
"""Whether a network has the node, or the part of it, with this name in the graph and this path in the NIR file."""


def slots(present: Present) -> tuple[Slot, ...]:
    """Return the places of all nodes of a network, in the order of execution."""
    network = [
        Slot(Injection, "input", "input", ()),
        Slot(Population, "embed", "n000_embed_lif", (Wire("input"),)),
    ]
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

    def optional(name: str, path: str, source: str) -> str:
        has = present(f"{block}/{name}", f"{to}/{path}")
        return add(Population, name, path, Wire(source)) if has else source

    entry = optional("attn/input", "n0_attn/in_lif", residual)
    query = dense("attn/query", "n0_attn/q_lif", "n0_attn/q_proj", entry)
    key = dense("attn/key", "n0_attn/k_lif", "n0_attn/k_proj", entry)
    value = dense("attn/value", "n0_attn/v_lif", "n0_attn/v_proj", entry)
    attention = add(Attention, "attn/attention", "n0_attn", Wire(query), Wire(key), Wire(value))
    mixed = optional("attn/mixed", "n0_attn/mixed_lif", attention)
    output = dense("attn/output", "n0_attn/out_lif", "n0_attn/out_proj", mixed)
    residual = add(Join, "attn/sum", "n1_res", Wire(residual), Wire(output))
    entry = optional("ffn/input", "n2_ffn/in_lif", residual)
    fc1 = dense("ffn/fc1", "n2_ffn/fc1_lif", "n2_ffn/fc1", entry)
    if present(f"{block}/sum", f"{to}/n3_sum_lif"):
        add(Population, "sum", "n3_sum_lif", Wire(residual), Wire(fc1, f"{to}/n2_ffn/fc2"))
        return added
    fc2 = dense("ffn/fc2", "n2_ffn/fc2_lif", "n2_ffn/fc2", fc1)
    residual = add(Join, "ffn/sum", "n3_res", Wire(residual), Wire(fc2))
    optional("output", "n4_out_lif", residual)
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
    dense = [p.weight is not None for p in node.inputs] if isinstance(node, Population) else [False] * len(node.sources)
    return _describe(type(node), node.name, list(zip(node.sources, dense, strict=True)))


def _of_slot(slot: Slot | None) -> str:
    if slot is None:
        return "nothing"
    return _describe(slot.kind, slot.name, [(wire.source, bool(wire.affine)) for wire in slot.wires])


def _describe(kind: type[Node], name: str, inputs: list[tuple[str, bool]]) -> str:
    sources = [f"{source} (dense)" if dense else source for source, dense in inputs]
    return f"{kind.__name__} {name}" + (f" with inputs {', '.join(sources)}" if sources else "")
