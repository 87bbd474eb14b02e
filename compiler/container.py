"""The container of our files: one JSON header and raw arrays, checksummed, read without a copy.

Any safetensors reader can open one: 8 bytes with the header's length, the header (names, types, shapes and places of
the arrays, and one text entry of metadata), the arrays. On top of that a container of ours

- has one form only: arrays stand in the order of their names, each at a multiple of 64 bytes from the container's
  start (``padding/N``, of zeros, fills the gaps), and so does the container's end, for another may follow;
- carries a SHA-256 over the header (with 64 zeros in the digest's own place) and over the SHA-256 of every 16 MB piece
  behind it, so that pieces are hashed in parallel.

Arrays are read-only views of the mapped file: they take memory as they are used, and the system can take it back. A
file must not be rewritten in place while it is mapped; `bispik.models.files.written_whole` never does.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector register."""

PIECE = 16 << 20
"""Bytes that are hashed together. Part of the format."""

HEADER_MAX = 100 << 20
"""Bytes of a header; as in safetensors."""

DIMENSION_MAX = 1 << 40

ENTRY = "bispik"
"""The one entry of the metadata: JSON with texts, among them ``sha256``."""

PADDING = "padding/"
READ = 1 << 20
HASHING_THREADS = 4
UNKNOWN_DIGEST = "0" * 64

TYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
NAMES: Mapping[np.dtype[Any], str] = {dtype: name for name, dtype in TYPES.items()}

Array = npt.NDArray[Any]
Table = dict[str, dict[str, Any]]


class ContainerError(ValueError):
    """A file that is no container of ours, or a damaged one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What stands before the arrays; of a file that may be anything, so far only known to be JSON."""

    start: int
    """Place of the container in its file, bytes."""
    raw: bytes
    """Without the length."""
    table: Mapping[str, Any]
    """By array: ``dtype``, ``shape``, ``data_offsets``."""
    texts: Mapping[str, str]
    """Our entry of the metadata; empty if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contents:
    """Arrays of a container that was found to be whole."""

    arrays: Mapping[str, Array]
    stop: int
    """Where the container ends in its file, bytes."""


def write_container(file: BinaryIO, texts: Mapping[str, str], arrays: Mapping[str, Array]) -> str:
    """Append a container at the file's position, a multiple of 64 bytes, and return its SHA-256.

    At most one array is copied at a time, if it is not contiguous. The same content gives the same bytes.
    """
    start = file.tell()
    table, _ = _layout({name: (array.dtype, array.shape) for name, array in arrays.items()})
    draft = _encoded(table, {**texts, "sha256": UNKNOWN_DIGEST})
    file.write(draft)
    pieces = _PieceHasher()
    for name, entry in table.items():
        begin, end = entry["data_offsets"]
        if name.startswith(PADDING):
            content = memoryview(bytes(end - begin))
        else:
            content = np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data
        file.write(content)
        pieces.update(content)
    digest = _digest(draft, pieces.finish())
    stop = file.tell()
    file.seek(start)
    file.write(_encoded(table, {**texts, "sha256": digest}))
    file.seek(stop)
    return digest


def read_header(file: BinaryIO, start: int = 0) -> Header:
    """Read what stands before the arrays; nothing in it is checked but that it is a header.

    Raises:
        ContainerError: if there is no header of JSON at that place.
        OSError: if the file cannot be read.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(os.pread(file.fileno(), 8, start), "little")
    if start + 8 > size or not 2 <= length <= min(HEADER_MAX, size - start - 8):
        raise ContainerError(f"no header at byte {start:,} of {size:,}, or one that is cut off")
    raw = _pread(file, length, start + 8)
    try:
        table = json.loads(raw)
        if not isinstance(table, dict):
            raise ContainerError("its header is no table")
        metadata = table.pop("__metadata__", {})
        texts = json.loads(metadata.get(ENTRY, "{}")) if isinstance(metadata, dict) else {}
    except (ValueError, TypeError, RecursionError) as error:
        raise ContainerError(f"its header is not JSON: {error}") from error
    plain = isinstance(texts, dict) and all(isinstance(value, str) for value in texts.values())
    return Header(start=start, raw=raw, table=table, texts=texts if plain else {})


def map_arrays(file: BinaryIO, header: Header) -> Contents:
    """Check a container against its header and checksum, and map its arrays; they are read-only.

    Raises:
        ContainerError: if the header is not exactly what `write_container` writes, the file is cut off, or its bytes
            are not those that were written.
        OSError: if the file cannot be read.
    """
    table, length = _checked_layout(header.table)
    written = _encoded(table, header.texts)
    if written[8:] != header.raw:
        raise ContainerError("its header is not in our form: it was altered, or written by something else")
    data = header.start + len(written)
    stop, size = data + length, os.fstat(file.fileno()).st_size
    if stop > size:
        raise ContainerError(f"it is cut off: {size:,} bytes where {stop:,} are needed")
    draft = _encoded(table, {**header.texts, "sha256": UNKNOWN_DIGEST})
    if header.texts.get("sha256") != _digest(draft, _piece_digests(file, data, stop)):
        raise ContainerError("its checksum does not match: it was altered or damaged")
    page = header.start - header.start % mmap.ALLOCATIONGRANULARITY
    mapped = mmap.mmap(file.fileno(), stop - page, access=mmap.ACCESS_READ, offset=page)
    arrays = {
        name: np.frombuffer(
            mapped,
            TYPES[entry["dtype"]],
            count=math.prod(entry["shape"]),
            offset=data - page + entry["data_offsets"][0],
        ).reshape(entry["shape"])
        for name, entry in table.items()
        if not name.startswith(PADDING)
    }
    return Contents(arrays=arrays, stop=stop)


def _layout(shapes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> tuple[Table, int]:
    """Return the places of arrays and their length together; the padding behind an array is an array, too."""
    table: Table = {}
    place = 0
    for name in sorted(shapes):
        dtype, shape = shapes[name]
        end = place + math.prod(shape) * dtype.itemsize
        table[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [place, end]}
        place = end
        if gap := -end % ALIGNMENT:
            place = end + gap
            entry = {"dtype": "U8", "shape": [gap], "data_offsets": [end, place]}
            table[f"{PADDING}{len(table)}"] = entry
    return table, place


def _checked_layout(found: Mapping[str, Any]) -> tuple[Table, int]:
    """Return the layout that a header's arrays must have, and check that it says so."""
    shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
    for name, entry in found.items():
        if name.startswith(PADDING):
            continue
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ContainerError(f"{name!r} is described by something else than dtype, shape and data_offsets")
        shape = entry["shape"]
        plausible = isinstance(shape, list) and all(type(size) is int and 0 <= size < DIMENSION_MAX for size in shape)
        if not plausible or len(shape) > 8:
            raise ContainerError(f"{name!r} has an impossible shape")
        if not isinstance(entry["dtype"], str) or entry["dtype"] not in TYPES:
            raise ContainerError(f"{name!r} has an unknown type")
        shapes[name] = (TYPES[entry["dtype"]], tuple(shape))
    table, length = _layout(shapes)
    if table != found:
        wrong = sorted(name for name in {*table, *found} if table.get(name) != found.get(name))
        raise ContainerError(f"{wrong[0]!r} lies elsewhere than it must: arrays overlap, have gaps or another size")
    return table, length


def _encoded(table: Mapping[str, Any], texts: Mapping[str, str]) -> bytes:
    """Return length and header, together a multiple of 64 bytes."""
    header = {**table, "__metadata__": {ENTRY: json.dumps(texts, sort_keys=True)}}
    raw = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    raw += b" " * (-(8 + len(raw)) % ALIGNMENT)
    return len(raw).to_bytes(8, "little") + raw


def _digest(draft: bytes, pieces: list[bytes]) -> str:
    digest = hashlib.sha256(draft)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


class _PieceHasher:
    """SHA-256 of each piece of a stream of bytes."""

    def __init__(self) -> None:
        self._done: list[bytes] = []
        self._open, self._held = hashlib.sha256(), 0

    def update(self, content: memoryview) -> None:
        while len(content):
            part = content[: PIECE - self._held]
            self._open.update(part)
            self._held += len(part)
            content = content[len(part) :]
            if self._held == PIECE:
                self._done.append(self._open.digest())
                self._open, self._held = hashlib.sha256(), 0

    def finish(self) -> list[bytes]:
        return [*self._done, self._open.digest()] if self._held else self._done


def _piece_digests(file: BinaryIO, start: int, stop: int) -> list[bytes]:
    """Hash a part of a file, several pieces at once; by reads, which leave no page of it in our memory."""

    def one(place: int) -> bytes:
        digest = hashlib.sha256()
        buffer = bytearray(READ)
        end = min(place + PIECE, stop)
        while place < end:
            view = memoryview(buffer)[: min(READ, end - place)]
            got = os.preadv(file.fileno(), [view], place)
            if got == 0:
                raise ContainerError("it became shorter while it was read")
            digest.update(view[:got])
            place += got
        return digest.digest()

    places = range(start, stop, PIECE)
    if len(places) < 2:
        return [one(place) for place in places]
    with ThreadPoolExecutor(min(HASHING_THREADS, os.cpu_count() or 1)) as threads:
        return list(threads.map(one, places))


def _pread(file: BinaryIO, length: int, place: int) -> bytes:
    parts: list[bytes] = []
    while length:
        part = os.pread(file.fileno(), length, place)
        if not part:
            raise ContainerError("it became shorter while it was read")
        parts.append(part)
        length, place = length - len(part), place + len(part)
    return b"".join(parts)
