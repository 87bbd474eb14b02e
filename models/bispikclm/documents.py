"""Where texts come from: a text file, a file of JSON lines, or a data set on a hub."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from bispik.models.errors import BispikError, first_line
from bispik.models.files import read_text

HUB = "hub:"
"""What the name of a data set on the hub begins with in a run's file; no path does."""

_PIECE = 1 << 20
"""Characters of a text file that are held at once, where it has lines."""


@dataclass(frozen=True, slots=True)
class TextFile:
    """A UTF-8 file, which is one document."""

    path: Path

    separated = False
    """Whether an end-of-text token follows each text."""

    def __str__(self) -> str:
        return str(self.path)

    def version(self) -> str:
        """Return what changes whenever the texts do."""
        return _file_version(self.path)

    def texts(self) -> Iterator[str]:
        """Yield the document in pieces, each cut behind a line's end that has no other white space around it.

        Raises:
            BispikError: if the file cannot be read or is not UTF-8.
        """
        try:
            with self.path.open(encoding="utf-8") as file:
                rest = ""
                while block := file.read(_PIECE):
                    rest += block
                    cut = _last_cut(rest, len(rest) - len(block))
                    if cut:
                        yield rest[:cut]
                        rest = rest[cut:]
                if rest:
                    yield rest
        except (OSError, UnicodeDecodeError):
            read_text(self.path, "text")  # says what and where
            raise


def _last_cut(text: str, known: int) -> int:
    """Return where the last cut is, 0 without one; none is in the first ``known`` characters."""
    end = len(text) - 1
    while (end := text.rfind("\n", max(1, known - 1), end)) > 0:
        if not (text[end - 1].isspace() or text[end + 1].isspace()):
            return end + 1
    return 0


@dataclass(frozen=True, slots=True)
class JsonLines:
    """A UTF-8 file with a JSON object in each line; a document is what its ``field`` holds."""

    path: Path
    field: str

    separated = True

    def __str__(self) -> str:
        return str(self.path)

    def version(self) -> str:
        """Return what changes whenever the texts do."""
        return f"{_file_version(self.path)} {self.field}"

    def texts(self) -> Iterator[str]:
        """Yield the documents.

        Raises:
            BispikError: if the file cannot be read, or a line is no JSON object with a text in that field.
        """
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if not line.isspace():
                        yield self._text(line, f"{self.path}, line {number}")
        except OSError as error:
            raise BispikError(f"{self.path}: cannot read the text: {error.strerror or error}") from error

    def _text(self, line: bytes, where: str) -> str:
        try:
            value = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise BispikError(f"{where}: not UTF-8 text: byte {error.start} of the line is invalid") from error
        except (ValueError, RecursionError) as error:
            raise BispikError(f"{where}: not JSON: {first_line(error)}") from error
        if not isinstance(value, dict):
            raise BispikError(f"{where}: a {type(value).__name__}, not a JSON object")
        return _field(value, self.field, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubDataset:
    """A data set on the hub, streamed with the ``datasets`` library (the ``train`` extra)."""

    dataset: str
    """Owner and name."""
    field: str
    name: str | None = None
    """Which of its configurations."""
    split: str = "train"
    revision: str | None = None
    skip: int = 0
    """Documents left out at the beginning."""
    take: int | None = None
    """Documents after those; without, all."""

    separated = True

    def __str__(self) -> str:
        return f"{HUB}{self.dataset}"

    def version(self) -> str:
        """Return what changes whenever the texts do; the hub's may change where no ``revision`` is given."""
        return repr(self)

    def texts(self) -> Iterator[str]:
        """Yield the documents.

        Raises:
            BispikError: without the library, for a data set that cannot be had, or a row without a text in that field.
        """
        try:
            import datasets
        except ImportError as error:
            raise BispikError(f"{self} needs the datasets library: pip install 'bispik[train]'") from error
        rows = self._rows(datasets)
        for number in itertools.count(self.skip + 1):
            try:
                row = next(rows, None)
            except Exception as error:  # whatever the network, the hub or a file format has to say
                raise BispikError(f"{self}: row {number} cannot be had from the hub: {first_line(error)}") from error
            if row is None:
                return
            yield _field(row, self.field, f"{self}, row {number}")

    def _rows(self, library: Any) -> Iterator[Any]:
        try:
            rows = library.load_dataset(
                self.dataset, self.name, split=self.split, revision=self.revision, streaming=True
            )
            rows = rows.skip(self.skip) if self.skip else rows
            return iter(rows if self.take is None else rows.take(self.take))
        except Exception as error:  # unknown name, configuration or split, no network, a damaged data set
            raise BispikError(f"{self}: cannot be had from the hub: {first_line(error)}") from error


Source = TextFile | JsonLines | HubDataset


def source_of(place: str, field: str) -> Source:
    """Return what a run's file means by a text.

    Args:
        place: a ``.jsonl`` file, ``hub:OWNER/NAME`` with options behind ``?`` (``name``, ``split``, ``field``,
            ``revision``, ``skip``, ``take``, separated by ``&``), or else a text file.
        field: what holds the text of a JSON line or a row.

    Raises:
        BispikError: for a name or an option of a data set that cannot be.
    """
    if not place.startswith(HUB):
        path = Path(place)
        return JsonLines(path, field) if path.suffix == ".jsonl" else TextFile(path)
    dataset, _, query = place.removeprefix(HUB).partition("?")
    if not dataset or dataset.startswith((".", "/")):
        raise BispikError(f"{place}: no data set is named; the form is {HUB}OWNER/NAME?name=CONFIGURATION&split=train")
    options: dict[str, Any] = {"field": field}
    known = ("name", "split", "field", "revision", "skip", "take")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise BispikError(f"{place}: the options behind '?' are no NAME=VALUE joined by '&'") from error
    for name, value in pairs:
        if name not in known:
            raise BispikError(f"{place}: unknown option {name!r}; known are {', '.join(known)}")
        options[name] = _count(value, name, place) if name in ("skip", "take") else value
    return HubDataset(dataset=dataset, **options)


def _count(text: str, name: str, place: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise BispikError(f"{place}: {name} is {text!r}; expected a number of documents")
    return int(text)


def _field(row: Any, field: str, where: str) -> str:
    if field not in row:
        raise BispikError(f"{where}: no field {field!r}; it has {', '.join(map(repr, row)) or 'none'}"[:300])
    text = row[field]
    if not isinstance(text, str):
        raise BispikError(f"{where}: the field {field!r} is a {type(text).__name__}, not a text")
    return text


def _file_version(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:
        raise BispikError(f"{path}: cannot read the text: {error.strerror or error}") from error
    return f"{path.resolve()} {found.st_size} {found.st_mtime_ns}"
