"""Files of ours: plain arrays and values, checksummed and versioned; nothing in them can run code.

The container is safetensors: a JSON header and raw arrays. One entry of its metadata holds the format, the manifest
(everything but the arrays) and a SHA-256 over the manifest and all arrays. It is one because safetensors writes several
in any order, and the same program shall give the same bytes. ``program.bspk`` is a mapped program in such a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bispik.compiler.consistency import check_consistency, check_slices
from bispik.compiler.manifest import Arrays, decode, encode
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.program import SEMANTICS_VERSION
from bispik.models.errors import BispikError
from bispik.models.files import require_file, written_whole

Content = TypeVar("Content")


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What a file says that it is."""

    name: str
    version: str
    what: str
    """In words, for messages."""


HEADER = "bispik"
"""The entry of the container's metadata."""

PROGRAM = Format(name="bispik-program", version="3", what="compiled program")


def save_program(mapped: MappedProgram, path: Path) -> None:
    """Write a program; the same program gives the same bytes."""
    save(mapped, PROGRAM, path)


def load_program(path: Path) -> MappedProgram:
    """Read a program and check that it is whole, unaltered and consistent.

    Raises:
        BispikError: if the file is missing, no program, of another version, altered, or inconsistent.
    """
    mapped = load(MappedProgram, PROGRAM, path)
    check_mapped(mapped, str(path))
    return mapped


def check_mapped(mapped: MappedProgram, where: str) -> None:
    """Check that a program from a file is one that this version can run.

    Raises:
        BispikError: if it was made for other semantics or its parts do not fit together.
    """
    version = mapped.program.semantics_version
    if version != SEMANTICS_VERSION:
        raise BispikError(
            f"{where}: made for integer semantics {version}, this bispik runs {SEMANTICS_VERSION}; "
            "compile the checkpoint again"
        )
    check_consistency(mapped.program, where)
    check_slices(mapped, where)


def save(content: Any, form: Format, path: Path) -> None:
    """Write a frozen dataclass; the same content gives the same bytes."""
    arrays: Arrays = {}
    manifest = json.dumps(encode(content, arrays, ""), sort_keys=True, separators=(",", ":"))
    header = {"format": form.name, "version": form.version, "sha256": _digest(manifest, arrays), "manifest": manifest}
    with written_whole(path) as temporary:
        save_file(arrays, temporary, {HEADER: json.dumps(header, sort_keys=True)})


def load(kind: type[Content], form: Format, path: Path) -> Content:
    """Read what ``save`` wrote. The arrays are read-only.

    Raises:
        BispikError: if the file is missing, not of this format and version, altered, or does not hold a ``kind``.
    """
    require_file(path)
    try:
        with safe_open(path, framework="numpy") as file:
            header = _header(file.metadata())
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise BispikError(f"{path}: not a {form.what}: {error}") from error
    _check_header(header, arrays, form, path)
    for array in arrays.values():
        array.flags.writeable = False
    try:
        content: Content = decode(kind, json.loads(header["manifest"]), arrays, str(path))
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        # A checksum can be right and the content still not ours.
        raise BispikError(f"{path}: not a {form.what}: {type(error).__name__}: {error}") from error
    return content


def file_format(path: Path) -> str:
    """Return the name of the format that a file says it has; empty if it is none of ours."""
    try:
        with safe_open(path, framework="numpy") as file:
            return _header(file.metadata()).get("format", "")
    except (SafetensorError, OSError, ValueError, RecursionError):
        return ""


def _header(metadata: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return our entry of a container's metadata; empty if it has none."""
    header = json.loads((metadata or {}).get(HEADER, "{}"))
    plain = isinstance(header, dict) and all(isinstance(value, str) for value in header.values())
    return header if plain else {}


def _check_header(header: Mapping[str, str], arrays: Arrays, form: Format, path: Path) -> None:
    if header.get("format") != form.name:
        raise BispikError(f"{path}: not a {form.what}: it does not say that it is a '{form.name}'")
    if header.get("version") != form.version:
        raise BispikError(
            f"{path}: version {header.get('version')} of a {form.what}; this bispik reads version {form.version}: "
            "make it again"
        )
    if header.get("sha256") != _digest(header.get("manifest", ""), arrays):
        raise BispikError(f"{path}: checksum does not match: the file was altered or damaged; make it again")


def _digest(manifest: str, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256(manifest.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
