"""Files that are either complete or absent."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bispik.models.errors import BispikError


def available_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def written_whole(path: Path) -> Generator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds, else remove it.

    Raises:
        BispikError: if the folder or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise BispikError(f"{path}: cannot be written: {error.strerror or error}") from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())  # or a power cut could leave the new name with nothing behind it
        # Temporary files are private; give it the permissions that an ordinary new file would have.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise BispikError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def is_folder(path: Path) -> bool:
    """Tell whether there is such a folder; what has an impossible name is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def require_file(path: Path) -> None:
    """Check that there is such a file.

    Raises:
        BispikError: if there is none, or the name is impossible.
    """
    try:
        found = path.is_file()
    except OSError as error:
        raise BispikError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not found:
        raise BispikError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")


def read_text(path: Path, what: str) -> str:
    """Return a UTF-8 file's text.

    Raises:
        BispikError: if there is no such file or it is not UTF-8; ``what`` names it in the message.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BispikError(f"{path}: cannot read the {what}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BispikError(f"{path}: the {what} is not UTF-8 text: byte {error.start} is invalid") from error


@contextmanager
def folder_written_whole(folder: Path) -> Generator[Path]:
    """Yield a temporary folder; its files move into ``folder`` if the block succeeds, else they are removed.

    Raises:
        BispikError: if the folder cannot be written.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".partial-"))
    except OSError as error:
        raise BispikError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        yield temporary
        files = sorted(temporary.iterdir())
        if taken := [file.name for file in files if (folder / file.name).is_dir()]:
            raise BispikError(f"{folder / taken[0]}: is a folder; nothing was written")
        for file in files:
            file.replace(folder / file.name)
    except OSError as error:
        raise BispikError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
