"""A NIR network before it is written: primitives, the graphs that hold them, and their folding into levels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.compiler.deferred import Deferred

Array: TypeAlias = npt.NDArray[Any]
Value: TypeAlias = str | int | float | Array | Deferred
Metadata: TypeAlias = Mapping[str, Value]
Edge: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leaf:
    """One NIR primitive, such as an Affine."""

    type: str
    fields: Mapping[str, Value]
    size: int
    """Output channels."""
    metadata: Metadata = field(default_factory=dict[str, Value])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tree:
    """One NIRGraph: nodes by name, and edges between them."""

    nodes: Mapping[str, Leaf | Tree]
    edges: tuple[Edge, ...]
    metadata: Metadata


def port(kind: str, size: int) -> Leaf:
    """Return a graph's Input or Output of ``size`` channels."""
    return Leaf(type=kind, fields={"shape": np.array([size])}, size=size)


def walk(tree: Tree, path: str = "") -> Iterator[tuple[str, Leaf | Tree]]:
    """Yield every node at every depth with its path; the path of the outermost graph is empty."""
    yield path, tree
    for name, node in tree.nodes.items():
        inner = f"{path}/{name}" if path else name
        if isinstance(node, Tree):
            yield from walk(node, inner)
        else:
            yield inner, node


def nest(leaves: Mapping[str, Leaf], edges: Iterable[Edge], metadata: Mapping[str, Metadata], level: str = "") -> Tree:
    """Fold leaves with paths such as ``block/attn/q_lif`` into one graph per level.

    An edge across the border of a graph passes the graph's port: a/x -> b/y becomes x -> output in a, a -> b around
    both, and input -> y in b. All edges into one graph must have the same source, and all out of it too.

    Args:
        leaves: primitives by path.
        edges: pairs of paths of leaves.
        metadata: of the graphs, by path.
        level: path of the graph to return, with a slash behind it; empty for the outermost.
    """

    def child(path: str) -> str:
        return path[len(level) :].split("/", maxsplit=1)[0]

    nodes: dict[str, Leaf | Tree] = {}
    wires: dict[Edge, None] = {}  # a dict, for a set that keeps its order
    touching = [edge for edge in edges if edge[0].startswith(level) or edge[1].startswith(level)]
    for source, target in touching:
        enters, exits = not source.startswith(level), not target.startswith(level)
        wire = ("input" if enters else child(source), "output" if exits else child(target))
        if wire[0] == wire[1]:
            continue
        wires[wire] = None
        if enters:
            nodes["input"] = port("Input", leaves[source].size)
        if exits:
            nodes["output"] = port("Output", leaves[source].size)
    for path, leaf in leaves.items():
        name = child(path)
        if path.startswith(level) and name not in nodes:
            is_leaf = path == level + name
            nodes[name] = leaf if is_leaf else nest(leaves, touching, metadata, f"{level}{name}/")
    return Tree(nodes=nodes, edges=tuple(wires), metadata=metadata.get(level.rstrip("/"), {}))
