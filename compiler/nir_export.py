"""Spiking graph to a NIR file that plain ``nir.read`` reads; `nir_schema` and `nir_lower` say what is in it."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import nir
import numpy as np

from bispik.compiler.deferred import Deferred, Matrix, numbers
from bispik.compiler.graph import Injection, Node, Readout, SpikingGraph
from bispik.compiler.nir_lower import lower
from bispik.compiler.nir_schema import METADATA_KEY
from bispik.compiler.nir_tree import Array, Edge, Leaf, Metadata, Tree, Value, walk
from bispik.models.errors import BispikError
from bispik.models.files import written_whole

BLOCK_BYTES = 1 << 22
"""An array is written, and compared, in blocks of about this size, so that no second copy of it ever exists."""

ALIGNMENT = 64
"""Bytes: an array that is mapped from the file into memory starts at a multiple, as NumPy's own would."""

STRUCTURE_BYTES = 4096
"""More than HDF5 takes for the description of one item; see `_reserve`."""


def write_nir(graph: SpikingGraph, path: Path) -> int:
    """Write a graph as NIR, uncompressed; a token table that equals the head's weight is written once.

    Deferred matrices are made one at a time, when their turn comes. The file holds the same HDF5 items as ``nir.write``
    would make, written without NIR's copies of the weights.

    Args:
        graph: a network as `nir_schema` describes.
        path: appears complete or not at all; a file that is there is replaced.

    Returns:
        Number of NIR nodes in the file at every depth, the outermost graph not counted.

    Raises:
        BispikError: if the graph has no place in the schema, or the file cannot be written.
    """
    if "\0" in graph.tokenizer:
        raise BispikError(f"{path}: the tokenizer's text has a NUL character, which HDF5 cannot store; it is no JSON")
    return write_tree(lower(tied(graph)), path)


def write_tree(tree: Tree, path: Path) -> int:
    """Write a NIR network; see `write_nir`."""
    with written_whole(path) as temporary:
        _reserve(temporary, tree)
        with h5py.File(temporary, "w", locking=False, alignment_threshold=1, alignment_interval=ALIGNMENT) as file:
            _write_value(file, "version", nir.version)
            _write_tree(file.create_group("node"), tree)
    return sum(1 for place, _ in walk(tree) if place)


def tied(graph: SpikingGraph) -> SpikingGraph:
    """Return the graph with one array for the token table and the head, if they are the same bit by bit."""
    injection, readout = graph.of_kind(Injection), graph.of_kind(Readout)
    if not injection or not readout or not _same_bits(injection[0].token_table, readout[0].weight):
        return graph

    def shared(node: Node) -> Node:
        return dataclasses.replace(node, token_table=readout[0].weight) if isinstance(node, Injection) else node

    return dataclasses.replace(graph, nodes=tuple(shared(node) for node in graph.nodes))


def _same_bits(first: Matrix, second: Matrix) -> bool:
    if first is second or first.shape != second.shape or first.dtype != second.dtype:
        return first is second
    one, other = numbers(first), numbers(second)
    return all(one[rows].tobytes() == other[rows].tobytes() for rows in _blocks(one))


def _blocks(array: Array) -> list[slice]:
    """Return slices of the first axis, each of at most about BLOCK_BYTES."""
    rows = max(1, BLOCK_BYTES * len(array) // max(1, array.nbytes))
    return [slice(start, start + rows) for start in range(0, len(array), rows)]


def _reserve(path: Path, tree: Tree) -> None:
    """Find out now whether the file system has room: when a write fails, HDF5 can end the process.

    Raises:
        OSError: if it has not; where a file system cannot tell, HDF5 will.
    """
    needed = sum(_size(value) + STRUCTURE_BYTES for _, node in walk(tree) for value in _values(node))
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, needed)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(f"{error.strerror} for {needed:,} bytes") from error


def _values(node: Leaf | Tree) -> list[Value]:
    fields = node.fields.values() if isinstance(node, Leaf) else ()
    return [*fields, *node.metadata.values()]


def _size(value: Value) -> int:
    return value.nbytes if isinstance(value, np.ndarray | Deferred) else len(str(value).encode())


def _write_tree(group: h5py.Group, tree: Tree) -> None:
    _write_value(group, "type", "NIRGraph")
    _write_edges(group, tree.edges)
    _write_metadata(group, tree.metadata)
    nodes = group.create_group("nodes")
    for name, node in tree.nodes.items():
        inner = nodes.create_group(name)
        if isinstance(node, Tree):
            _write_tree(inner, node)
        else:
            _write_leaf(inner, node)


def _write_leaf(group: h5py.Group, leaf: Leaf) -> None:
    _write_value(group, "type", leaf.type)
    _write_values(group, leaf.fields)
    _write_metadata(group, leaf.metadata)


def _write_metadata(group: h5py.Group, metadata: Metadata) -> None:
    if metadata:
        _write_values(group.create_group(f"metadata/{METADATA_KEY}"), metadata)


def _write_edges(group: h5py.Group, edges: tuple[Edge, ...]) -> None:
    group.create_dataset("edges", data=np.array(edges, dtype=object), dtype=h5py.string_dtype())


def _write_values(group: h5py.Group, values: Mapping[str, Value]) -> None:
    for name, value in values.items():
        _write_value(group, name, value)


def _write_value(group: h5py.Group, name: str, value: Value) -> None:
    if isinstance(value, str):
        group.create_dataset(name, data=value, dtype=h5py.string_dtype())
    elif isinstance(value, np.ndarray | Deferred):
        dataset = group.create_dataset(name, shape=value.shape, dtype=value.dtype)
        array: Array = numbers(value)
        for rows in _blocks(array):
            dataset[rows] = array[rows]
    else:
        group.create_dataset(name, data=value)
