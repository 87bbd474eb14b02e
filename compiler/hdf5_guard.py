"""HDF5 files that nobody vouches for are walked through by a process of its own first.

libhdf5 is not made for damaged files: it can run for ever, and end the process that it runs in. Whoever reads one from
outside calls `require_readable` before; the process that it starts does all that our readers ask libhdf5 for, and more.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue] - its types leave it out

from bispik.models.errors import BispikError

SECONDS, BYTES_PER_SECOND = 20.0, 20e6
"""Time that the walk may take: so long, and as long as its bytes take at that pace."""

MEMORY, MEMORY_PER_BYTE = 64 << 20, 64
"""Bytes that it may take beyond an empty process: so many, and so many for each of the file's."""

FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)
"""What h5py raises for a damaged file."""

TOO_LARGE = 3
"""Exit code of a walk that ran out of memory."""

START = "import sys; sys.path[:] = sys.argv[2:]; import bispik.compiler.hdf5_guard as guard; guard.walk(sys.argv[1])"
"""The folders to import from are those of this process, and not the current one, where strangers' files may lie."""


def require_readable(path: Path, seconds: float = SECONDS) -> None:
    """Check that libhdf5 comes to the end of a file: takes a third of a second.

    Raises:
        BispikError: if it hangs, crashes, or takes more memory than a file of that size may.
    """
    size = path.stat().st_size
    command = [sys.executable, "-c", START, str(path.absolute()), *sys.path]
    limit = seconds + size / BYTES_PER_SECOND
    try:
        quiet = subprocess.DEVNULL
        ended = subprocess.run(command, check=False, timeout=limit, stdin=quiet, stdout=quiet, stderr=quiet).returncode
    except subprocess.TimeoutExpired as error:
        raise BispikError(
            f"{path}: damaged HDF5: reading it came to no end in {limit:.0f} s; copy or export the file again"
        ) from error
    if ended == TOO_LARGE:
        most = MEMORY + MEMORY_PER_BYTE * size
        raise BispikError(
            f"{path}: damaged HDF5: it asks for more than {most:,} bytes of memory, which a file of {size:,} bytes may "
            "not; copy or export the file again"
        )
    if ended < 0:
        name = signal.Signals(-ended).name
        raise BispikError(f"{path}: damaged HDF5: reading it ends in {name}; copy or export the file again")
    if ended:
        raise AssertionError(f"the walk through an HDF5 file ended with {ended}")


def walk(path: str) -> None:
    """Look at all that a file holds; what is wrong in it is for its reader to say, as long as this process lives."""
    size = Path(path).stat().st_size
    _limit(size)
    try:
        with contextlib.suppress(*FAULTS), h5py.File(path, "r") as file:
            _walk(file, MEMORY_PER_BYTE * size)
    except MemoryError:
        sys.exit(TOO_LARGE)


def _limit(size: int) -> None:
    try:
        import resource
    except ImportError:  # the time is limited all the same
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statm = Path("/proc/self/statm")
    if statm.exists():
        taken = int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        most = taken + MEMORY + MEMORY_PER_BYTE * size
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _walk(file: Any, budget: int) -> None:
    with contextlib.suppress(*FAULTS):
        file.visititems(lambda _name, _item: None)
    seen: set[Any] = set()
    waiting = [file]
    while waiting:
        group = waiting.pop()
        names: list[Any] = []
        with contextlib.suppress(*FAULTS):
            names = list(group)
        for name in names:
            with contextlib.suppress(*FAULTS):
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    continue
                item = group[name]
                place = h5o.get_info(item.id).addr
                if isinstance(item, h5py.Group) and place not in seen:
                    waiting.append(item)
                if isinstance(item, h5py.Dataset) and place not in seen:
                    _look(item, budget)
                seen.add(place)


def _look(dataset: Any, budget: int) -> None:
    """Read a dataset; the numbers of a large one that lie in one piece are mapped by our reader, past libhdf5."""
    is_text = h5py.check_string_dtype(dataset.dtype) is not None
    in_one_piece = dataset.id.get_offset() is not None
    if dataset.is_virtual or dataset.external or dataset.nbytes > budget:
        return
    if is_text:
        dataset.asstr()[()]
    elif not in_one_piece or dataset.nbytes <= MEMORY:
        dataset[()]
