"""HDF5 files that are complete or absent, also where the disk fills up while they are written.

libhdf5 keeps what it could not write and tries again when the file, and when the process, is closed: that ends in a
segmentation fault. So it writes through a file object that keeps the first error to itself, until libhdf5 is done.
"""

from __future__ import annotations

import io
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from bispik.models.files import written_whole

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _Sink(io.RawIOBase):
    """A file for libhdf5, whose writes never fail; what should have been written behind a fault is lost."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.fault: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(place, whence)

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        view[:] = bytes(len(view))  # what was lost reads as zeros
        self._file.readinto(view)
        return len(view)

    def write(self, content: Buffer) -> int:
        view = memoryview(content).cast("B")
        length = len(view)
        try:
            while len(view) and self.fault is None:
                view = view[self._file.write(view) :]
        except OSError as error:
            self.fault = error
        return length

    def truncate(self, size: int | None = None) -> int:
        try:
            self._file.truncate(size)
        except OSError as error:
            self.fault = self.fault or error
        return size or 0


@contextmanager
def hdf5_written(path: Path, **options: Any) -> Generator[h5py.File]:
    """Yield a new HDF5 file that appears under its name once the block has succeeded.

    Args:
        path: of the file.
        options: of `h5py.File`.

    Raises:
        BispikError: if it cannot be written.
    """
    with written_whole(path) as temporary, io.FileIO(temporary, "w+") as raw:
        sink = _Sink(raw)
        with h5py.File(sink, "w", **options) as file:
            yield file
        if sink.fault is not None:
            raise sink.fault
