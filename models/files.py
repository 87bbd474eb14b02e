"""Files that are either complete or absent."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bispik.models.errors import BispikError, first_line

try:
    import fcntl
except ImportError:  # no such locks: what a killed process leaves, stays
    fcntl = None  # type: ignore[assignment]


def available_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def written_whole(path: Path) -> Generator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds, else remove it.

    The temporary file is locked (flock) meanwhile: libhdf5 is to be told not to lock it, too (``locking=False``).

    Raises:
        BispikError: if the folder or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent, f".{path.name}.????????{path.suffix}")
        temporary, lock = locked(lambda: _new_file(path))
    except OSError as error:
        raise BispikError(f"{path}: cannot be written: {error.strerror or first_line(error)}") from error
    try:
        yield temporary
        _to_disk(temporary)
        # Temporary files are private; give it the permissions that an ordinary new file would have.
        temporary.chmod(0o666 & ~_mask())
        temporary.replace(path)
    except OSError as error:
        raise BispikError(f"{path}: cannot be written: {error.strerror or first_line(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)
        os.close(lock)


def _new_file(path: Path) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    return Path(name)


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _to_disk(path: Path) -> None:
    """Wait until a file or folder is on the disk, or a power cut could leave a new name with nothing behind it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def locked(make: Callable[[], Path]) -> tuple[Path, int]:
    """Make a temporary file or folder; it counts as in use until the returned descriptor is closed.

    Raises:
        OSError: if it cannot be made.
    """
    while True:
        path = make()
        lock = os.open(path, os.O_RDONLY)
        if fcntl is not None:
            with suppress(OSError):  # of a file system without locks, where nobody can take it for abandoned either
                fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():  # nobody took it for an abandoned one before it was locked
            return path, lock
        os.close(lock)


def lock_folder(folder: Path) -> int:
    """Mark a folder as in use until the returned descriptor is closed.

    Raises:
        BlockingIOError: if another process uses it.
        OSError: if it cannot be opened.
    """
    lock = os.open(folder, os.O_RDONLY)
    if fcntl is not None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise
        except OSError:  # a file system without locks
            pass
    return lock


def remove_abandoned(folder: Path, pattern: str) -> None:
    """Remove temporary files and folders whose process was killed: those that nobody holds."""
    if fcntl is None:
        return
    for path in folder.glob(pattern):
        with suppress(OSError):
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(lock)


def same_file(path: Path, other: Path) -> None:
    """Let a finished file appear under a second name, too; as a copy where the two cannot share their bytes.

    Raises:
        BispikError: if it cannot be written.
    """
    try:
        other.hardlink_to(path)
    except OSError:
        with written_whole(other) as temporary:
            shutil.copyfile(path, temporary)


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
        raise BispikError(f"{path}: cannot be read: {error.strerror or first_line(error)}") from error
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
        raise BispikError(f"{path}: cannot read the {what}: {error.strerror or first_line(error)}") from error
    except UnicodeDecodeError as error:
        raise BispikError(f"{path}: the {what} is not UTF-8 text: byte {error.start} is invalid") from error


@contextmanager
def folder_written_whole(folder: Path, others: Sequence[str] = ()) -> Generator[Path]:
    """Yield a temporary folder; its files appear in ``folder`` if the block succeeds, else they are removed.

    A new folder appears with all its files at once. In one that is there already, files are renamed one behind the
    other when all are whole and on the disk; if that fails, those from before come back.

    Args:
        folder: where the files are to be; it may hold other files.
        others: names of files of an earlier time that are no longer true once the new ones are there: they go.

    Raises:
        BispikError: if the folder cannot be written.
    """
    is_new = not folder.exists()
    beside = folder.parent if is_new else folder
    prefix = f".{folder.name}.partial-" if is_new else ".partial-"
    try:
        beside.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder.parent, f".{folder.name}.partial-*")
        remove_abandoned(folder, ".partial-*")
        temporary, lock = locked(lambda: Path(tempfile.mkdtemp(dir=beside, prefix=prefix)))
    except OSError as error:
        raise BispikError(f"{folder}: cannot be written: {error.strerror or first_line(error)}") from error
    try:
        yield temporary
        for file in temporary.iterdir():
            _to_disk(file)
        _to_disk(temporary)
        if folder.exists():
            _move_into(folder, temporary, others)
        else:
            temporary.chmod(0o777 & ~_mask())
            temporary.rename(folder)
        _to_disk(folder)
    except OSError as error:
        raise BispikError(f"{folder}: cannot be written: {error.strerror or first_line(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


def _move_into(folder: Path, temporary: Path, others: Sequence[str]) -> None:
    """Put new files, and folders of files, in the place of old ones; all of them, or none if one cannot be."""
    new = sorted(file.name for file in temporary.iterdir())
    old = [name for name in {*new, *others} if (folder / name).exists()]
    for name in sorted(set(old).intersection(new)):
        if (folder / name).is_dir() and not (temporary / name).is_dir():
            raise BispikError(f"{folder / name}: is a folder; nothing was written")
    before = temporary / "before"
    before.mkdir()
    try:
        for name in old:
            _keep(folder / name, before / name)
        for name in new:
            (temporary / name).replace(folder / name)
        for name in {*others}.difference(new):
            (folder / name).unlink(missing_ok=True)
    except BaseException:
        for name in new:
            if not (temporary / name).exists():
                _remove(folder / name)
        for name in old:
            if (before / name).exists():
                (before / name).replace(folder / name)
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _keep(path: Path, kept: Path) -> None:
    """Give a file a second name, so that the first one is never missing; a first one only, where there are no links."""
    try:
        kept.hardlink_to(path)
    except OSError:
        path.rename(kept)
