"""Whether a NIR file says what `nir_lower` would write for the graph that was read from it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bispik.compiler.deferred import Deferred, numbers
from bispik.compiler.nir_file import NirFile
from bispik.compiler.nir_schema import CHANGED, METADATA_KEY
from bispik.compiler.nir_tree import Array, Leaf, Metadata, Tree, walk

UNCOMPARED = {"schema_version"}
"""A minor version may differ."""


def check_same(file: NirFile, tree: Tree) -> None:
    """Compare a file with the NIR network that its own metadata mean.

    Every node, edge, field and number must agree, so tau must be dt / (1 - beta), v_threshold theta (1 - beta), and so
    on. Metadata beyond what the schema names are ignored. Arrays that the graph holds came from the file and are not
    read for this.

    Raises:
        BispikError: for the first difference.
    """
    for path, node in walk(tree):
        if file.text(path, "type") != _type(node):
            raise file.error(path, f"a node of type {file.text(path, 'type')}, expected {_type(node)}; {CHANGED}")
        items = {"nodes", "edges"} if isinstance(node, Tree) else set(node.fields)
        _check_names(file, path, "item", set(file.names(path)) - {"metadata"}, {"type", *items})
        if isinstance(node, Tree):
            _check_graph(file, path, node)
        else:
            _check_fields(file, path, node)
        _check_metadata(file, path, node.metadata)


def _type(node: Leaf | Tree) -> str:
    return "NIRGraph" if isinstance(node, Tree) else node.type


def _check_graph(file: NirFile, path: str, tree: Tree) -> None:
    names = file.names(path, "nodes")
    for kind in ("Input", "Output"):
        ports = [name for name in names if file.text(f"{path}/{name}".lstrip("/"), "type") == kind]
        if len(ports) > 1:
            raise file.error(
                path, f"{len(ports)} nodes of type {kind} ({', '.join(sorted(ports))}); a graph must have exactly one"
            )
    _check_names(file, path, "node", names, tree.nodes)
    edges = file.edges(path, limit=2 * len(tree.edges))
    _check_names(file, path, "edge", (_arrow(edge) for edge in edges), (_arrow(edge) for edge in tree.edges))
    if len(edges) != len(tree.edges):
        raise file.error(path, f"{len(edges)} edges, expected {len(tree.edges)}: some stand there twice; {CHANGED}")


def _arrow(edge: tuple[str, str]) -> str:
    return f"{edge[0]} -> {edge[1]}"


def _check_names(file: NirFile, path: str, what: str, found: Iterable[str], expected: Iterable[str]) -> None:
    found, expected = set(found), set(expected)
    if missing := sorted(expected - found):
        raise file.error(path, f"{what} {', '.join(missing)} is missing; {CHANGED}")
    if unknown := sorted(found - expected):
        raise file.error(path, f"{what} {', '.join(unknown)} is not part of the network; {CHANGED}")


def _check_fields(file: NirFile, path: str, leaf: Leaf) -> None:
    for key, expected in leaf.fields.items():
        if key == "shape":
            _check_equal(file, path, key, file.shape(path), tuple(map(int, np.asarray(expected))))
        elif isinstance(expected, np.ndarray | Deferred):
            _check_array(file, path, key, expected)


def _check_metadata(file: NirFile, path: str, metadata: Metadata) -> None:
    for name, expected in metadata.items():
        key = f"metadata/{METADATA_KEY}/{name}"
        if isinstance(expected, np.ndarray | Deferred):
            _check_array(file, path, key, expected)
        elif name not in UNCOMPARED:
            read = {str: file.text, int: file.integer, float: file.real}[type(expected)]
            _check_equal(file, path, key, read(path, key), expected)


def _check_equal(file: NirFile, path: str, key: str, found: object, expected: object) -> None:
    if found != expected:
        raise file.error(path, f"{key} is {found}, but the rest of the file means {expected}; {CHANGED}")


def _check_array(file: NirFile, path: str, key: str, expected: Array | Deferred) -> None:
    found = file.array(path, key, expected.ndim)
    if found is expected:
        return
    _check_equal(file, path, f"the shape of {key}", found.shape, expected.shape)
    stored, wanted = numbers(found), numbers(expected)
    different = np.argwhere(stored != wanted)
    if len(different):
        at = tuple(int(i) for i in different[0])
        raise file.error(
            path,
            f"{key} is {stored[at].item()} at {list(at)}, but the rest of the file means {wanted[at].item()} "
            f"({len(different)} of {stored.size} differ); {CHANGED}",
        )
