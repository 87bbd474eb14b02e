"""Reading a NIR file that nobody vouches for: every look at it is checked, every fault becomes a `BispikError`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from bispik.compiler.deferred import Deferred, FloatArray, MappedFile, Matrix
from bispik.compiler.nir_schema import CHANGED
from bispik.compiler.nir_tree import Edge
from bispik.models.errors import BispikError

MAX_COMPRESSION = 32
"""Compressed arrays may take this many times the file's size in memory, all together."""

MAX_NAME = 1000
"""Characters in a node's name."""

EDGE_BYTES = 1 << 26
"""About how many bytes of names are read at a time: many edges may share one long name."""

HDF5_FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)
"""What h5py raises for a damaged file."""


class NirFile:
    """An open NIR file: nodes have paths (``n001_block/n1_res``), their items keys (``metadata/bispik/op``)."""

    def __init__(self, path: Path, file: h5py.File, source: MappedFile, advice: str) -> None:
        self._path = path
        self._advice = advice
        self._file = file
        self._source = source
        self._items: dict[str, Any] = {}
        self._arrays: dict[tuple[str, str], Matrix] = {}
        self._budget = MAX_COMPRESSION * self._source.size

    def error(self, path: str, fault: str) -> BispikError:
        """Return an error that names the file and the node."""
        return BispikError(f"{self._path}: {path}: {fault}" if path else f"{self._path}: {fault}")

    def has(self, path: str, key: str = "") -> bool:
        """Tell whether there is such a node, or such an item of it."""
        return self._find(path, key) is not None

    def names(self, path: str, key: str = "") -> list[str]:
        """Return the names of a node's items, or of what is in one of them."""
        with self._faults(path):
            found = list(self._group(path, key))
        if wrong := [name for name in found if not isinstance(name, str)]:  # h5py gives what is no UTF-8 as bytes
            raise self.error(path, f"the name {wrong[0]!r:.60} is not UTF-8; {self._advice}")
        return found

    def text(self, path: str, key: str) -> str:
        """Return a string."""
        dataset = self._dataset(path, key)
        with self._faults(path):
            if dataset.shape != () or h5py.check_string_dtype(dataset.dtype) is None:
                raise self.error(path, f"{key} is not a string; {self._advice}")
            return str(dataset.asstr()[()])

    def is_text(self, path: str, key: str) -> bool:
        """Tell whether an item is a string."""
        with self._faults(path):
            return h5py.check_string_dtype(self._dataset(path, key).dtype) is not None

    def integer(self, path: str, key: str) -> int:
        """Return an integer."""
        return int(self._scalar(path, key, "iu", "an integer"))

    def real(self, path: str, key: str) -> float:
        """Return a real number, which may be stored as an integer."""
        return float(self._scalar(path, key, "iuf", "a number"))

    def edges(self, path: str, limit: int) -> list[Edge]:
        """Return the edges of the graph at a path, at most ``limit``."""
        dataset = self._dataset(path, "edges")
        with self._faults(path):
            shape, is_text = dataset.shape, h5py.check_string_dtype(dataset.dtype) is not None
            if shape == (0,):  # nir writes an empty list without a type
                return []
            if len(shape) != 2 or shape[1] != 2 or not is_text:
                raise self.error(path, f"edges is not a list of pairs of names; {self._advice}")
            if len(dataset) > limit:
                raise self.error(path, f"{len(dataset)} edges, more than the {limit} that could be; {self._advice}")
            edges: list[Edge] = []
            block = max(1, EDGE_BYTES // max(1, self._source.size))
            for first in range(0, len(dataset), block):
                edges += [(str(source), str(target)) for source, target in dataset.asstr()[first : first + block]]
                longest = max(len(name) for edge in edges[first:] for name in edge)
                if longest > MAX_NAME:
                    raise self.error(path, f"edges has a name of {longest:,} characters, more than {MAX_NAME}")
            return edges

    def vector(self, path: str, key: str) -> FloatArray:
        """Return float32 or float64 numbers of one dimension, read-only; the same array each time."""
        found = self.array(path, key, 1)
        assert not isinstance(found, Deferred)
        return found

    def array(self, path: str, key: str, ndim: int) -> Matrix:
        """Return float32 or float64 numbers, read-only; the same object each time.

        Matrices that are stored uncompressed are mapped, not read: they take memory while they are looked at.
        """
        if (path, key) not in self._arrays:
            self._arrays[path, key] = self._load(path, key, ndim)
        return self._arrays[path, key]

    def numbers(self, path: str, key: str, limit: int) -> npt.NDArray[np.float64]:
        """Return integers or real numbers of any shape and precision, at most ``limit``, as a copy in float64."""
        dataset = self._dataset(path, key)
        with self._faults(path):
            if dataset.shape is None or dataset.dtype.kind not in "iuf":
                raise self.error(path, f"{key} has the type {dataset.dtype}, expected numbers; {self._advice}")
            if int(dataset.size or 0) > limit:
                raise self.error(path, f"{key} has {dataset.size:,} numbers, more than the {limit:,} that may be read")
            values = np.array(dataset[()], np.float64)
        if not np.isfinite(values).all():
            found = values[~np.isfinite(values)].flat[0]
            raise self.error(path, f"{key} is {found} in {np.sum(~np.isfinite(values))} of {values.size} places")
        return values

    @property
    def stored(self) -> int:
        """Bytes of the file."""
        return self._source.size

    def shape(self, path: str) -> tuple[int, ...]:
        """Return what an Input or Output says about its channels."""
        dataset = self._dataset(path, "shape")
        with self._faults(path):
            if dataset.dtype.kind not in "iu" or dataset.shape != (1,):
                raise self.error(path, f"shape is not a list of one integer; {self._advice}")
            return tuple(int(n) for n in dataset[()])

    def node_types(self) -> Counter[str]:
        """Count the types of all nodes; for messages about files that are none of ours."""
        types: Counter[str] = Counter()

        def count(name: str, item: object) -> None:
            parts = f"node/{name}".split("/")
            if parts[-1] == "type" and "metadata" not in parts and isinstance(item, h5py.Dataset):
                self._check_storage(item, name, "type")
                value = item[()]
                types[value.decode(errors="replace") if isinstance(value, bytes) else "?"] += 1

        with self._faults(""):
            self._group("").visititems(count)
        return types

    def _load(self, path: str, key: str, ndim: int) -> Matrix:
        dataset = self._dataset(path, key)
        with self._faults(path):
            dtype: np.dtype[Any] = dataset.dtype
            if not any(dtype == known for known in (np.float32, np.float64)):
                found = f"{key} has the type {dtype}, expected float32 or float64"
                raise self.error(path, f"{found}; {self._advice}")
            if dataset.ndim != ndim:
                raise self.error(path, f"{key} has {dataset.ndim} dimensions, expected {ndim}; {self._advice}")
            if ndim > 1 and dataset.size and dataset.id.get_offset() is not None:
                return self._source.matrix(dtype, dataset.shape, int(dataset.id.get_offset()))
            array: FloatArray = dataset[()]
        array.setflags(write=False)
        return array

    def _scalar(self, path: str, key: str, kinds: str, what: str) -> Any:
        dataset = self._dataset(path, key)
        with self._faults(path):
            if dataset.shape != () or dataset.dtype.kind not in kinds:
                raise self.error(path, f"{key} is not {what}; {self._advice}")
            return dataset[()]

    def _group(self, path: str, key: str = "") -> h5py.Group:
        item = self._find(path, key)
        if not isinstance(item, h5py.Group):
            raise self._missing(path, key)
        return item

    def _dataset(self, path: str, key: str) -> h5py.Dataset:
        """Return an item that does not claim more memory than it may."""
        item = self._find(path, key)
        if not isinstance(item, h5py.Dataset):
            raise self._missing(path, key)
        with self._faults(path):
            self._check_storage(item, path, key)
        return item

    def _missing(self, path: str, key: str) -> BispikError:
        return self.error(path, f"{key if self.has(path) else 'the node'} is missing; {self._advice}")

    def _check_storage(self, dataset: h5py.Dataset, path: str, key: str) -> None:
        """Check the declared size against the file's before memory is taken for it."""
        if dataset.is_virtual or dataset.external:
            raise self.error(path, f"{key} lies in another file, which is not followed")
        needed, stored = max(dataset.nbytes, _chunk_bytes(dataset)), self._source.size
        in_one_piece = dataset.id.get_offset() is not None
        if not in_one_piece:
            self._budget -= needed
        if needed > stored if in_one_piece else self._budget < 0:
            claim = f"{key} claims {needed:,} bytes, which a file of {stored:,} bytes cannot hold"
            raise self.error(path, f"{claim}; {self._advice}")

    def _find(self, path: str, key: str) -> h5py.Group | h5py.Dataset | None:
        places = [f"nodes/{name}" for name in path.split("/") if name]
        with self._faults(path):
            return self._item("/".join(["node", *places, *([key] if key else [])]), path)

    def _item(self, location: str, path: str) -> Any:
        """Return a group or dataset, or None; links that lead elsewhere, even out of the file, are not followed."""
        if location not in self._items:
            outer, _, name = location.rpartition("/")
            group = self._item(outer, path) if outer else self._file
            link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
            if link is not None and not isinstance(link, h5py.HardLink):
                raise self.error(path, f"{name} is a link to another place, which is not followed")
            self._items[location] = None if link is None else group[name]
        return self._items[location]

    @contextmanager
    def _faults(self, path: str) -> Generator[None, None, None]:
        try:
            yield
        except HDF5_FAULTS as error:
            raise self.error(path, f"damaged HDF5: {error}; copy or export the file again") from error


@contextmanager
def open_nir(path: Path, advice: str = CHANGED) -> Generator[NirFile, None, None]:
    """Open a NIR file for reading.

    Args:
        path: of the file.
        advice: what errors say about content that cannot be.

    Raises:
        BispikError: if it cannot be read, is no HDF5 file, or ends too early.
    """
    try:
        source = MappedFile(path)
        file = h5py.File(path, "r")
    except (OSError, ValueError) as error:
        raise BispikError(f"{path}: not a readable NIR file: {error}; copy or export it again") from error
    with file:
        yield NirFile(path, file, source, advice)


def _chunk_bytes(dataset: h5py.Dataset) -> int:
    return math.prod(dataset.chunks or (0,)) * int(dataset.dtype.itemsize)
