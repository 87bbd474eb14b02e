"""Files of ours: plain arrays and values, checksummed and versioned; nothing in them can run code.

``program.bspk`` is a mapped program in one `bispik.compiler.container`. Its texts are the format, the version, the
manifest (everything but the arrays) and the checksum. Matrices of int8, which are weights, are stored transposed,
(inputs, neurons): whoever runs a program reads the synapses of one input at a time. In memory they are as ever.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from bispik.compiler.consistency import check_consistency, check_slices
from bispik.compiler.container import ContainerError, map_arrays, read_header, write_container
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What `read_part` found, of a file that may hold several parts one behind the other."""

    content: Any
    stop: int
    """Where it ends in its file, bytes."""
    digest: str
    """SHA-256, hexadecimal."""


PROGRAM = Format(name="bispik-program", version="4", what="compiled program")


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
    with written_whole(path) as temporary, temporary.open("wb") as file:
        write_part(file, content, form)


def load(kind: type[Content], form: Format, path: Path) -> Content:
    """Read what ``save`` wrote. The arrays are read-only, and mapped: they take memory once they are used.

    Raises:
        BispikError: if the file is missing, not of this format and version, altered, or does not hold a ``kind``.
    """
    require_file(path)
    with opened(path, form) as file:
        part = read_part(file, kind, form, path)
        content: Content = part.content
        trailing = file.seek(0, 2) - part.stop
    if trailing:
        raise BispikError(f"{path}: not a {form.what}: {trailing:,} bytes follow behind its end")
    return content


def opened(path: Path, form: Format) -> BinaryIO:
    """Open a file for reading.

    Raises:
        BispikError: if it is missing or cannot be read.
    """
    require_file(path)
    try:
        return path.open("rb")
    except OSError as error:
        raise BispikError(f"{path}: cannot read the {form.what}: {error.strerror or error}") from error


def write_part(file: BinaryIO, content: Any, form: Format) -> str:
    """Append a frozen dataclass to a file as one container; returns its checksum."""
    arrays: Arrays = {}
    manifest = json.dumps(encode(content, arrays, ""), sort_keys=True, separators=(",", ":"))
    return write_container(file, {"format": form.name, "version": form.version, "manifest": manifest}, arrays)


def read_part(file: BinaryIO, kind: Any, form: Format, path: Path, start: int = 0) -> Part:
    """Read what ``write_part`` wrote at a place of a file.

    Raises:
        BispikError: if it is not of this format and version, altered, or does not hold a ``kind``.
    """
    try:
        header = read_header(file, start)
        _check_format(header.texts, form, path)
        contents = map_arrays(file, header)
        content = decode(kind, json.loads(header.texts.get("manifest", "")), contents.arrays, str(path))
    except ContainerError as error:
        raise BispikError(f"{path}: not a {form.what}: {error}; make it again") from error
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        # A checksum can be right and the content still not ours.
        raise BispikError(f"{path}: not a {form.what}: {type(error).__name__}: {error}") from error
    return Part(content=content, stop=contents.stop, digest=header.texts["sha256"])


def file_format(path: Path) -> str:
    """Return the name of the format that a file says it has; empty if it is none of ours."""
    return _texts(path).get("format", "")


def file_digest(path: Path) -> str:
    """Return the checksum that a file of ours says it has, unchecked; empty if it is none of ours."""
    return _texts(path).get("sha256", "")


def _texts(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            return dict(read_header(file).texts)
    except (OSError, ValueError):
        return {}


def _check_format(texts: Mapping[str, str], form: Format, path: Path) -> None:
    if texts.get("format") != form.name:
        raise BispikError(f"{path}: not a {form.what}: it does not say that it is a '{form.name}'")
    if texts.get("version") != form.version:
        raise BispikError(
            f"{path}: version {texts.get('version')} of a {form.what}; this bispik reads version {form.version}: "
            "make it again"
        )
