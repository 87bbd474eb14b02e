"""Where a program's arrays wait, from the time that they are made until they are written: in a file, not in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from bispik.compiler.deferred import mapped_array
from bispik.models.errors import BispikError

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector register."""


class ArrayStore:
    """Arrays in a file without a name; it is gone with the last of them, or when the process ends."""

    def __init__(self, folder: Path) -> None:
        """Make the file in a folder.

        Raises:
            BispikError: if that cannot be.
        """
        self.folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed on exit
        except OSError as error:
            raise BispikError(f"{folder}: cannot be written: {error.strerror or error}") from error

    def keep(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Write an array and return it as a mapped one, read-only.

        Matrices of int8, which are weights, lie transposed in the file, as in ``program.bspk``; see `artifact`.

        Raises:
            BispikError: if there is no room.
        """
        if not array.size:
            return array
        is_weight = array.ndim == 2 and array.dtype == np.int8
        stored = np.ascontiguousarray(array.T if is_weight else array)
        try:
            place = self._file.seek(-(-self._file.seek(0, 2) // ALIGNMENT) * ALIGNMENT)
            content = stored.reshape(-1).view(np.uint8).data
            while len(content):
                content = content[self._file.write(content) :]
        except OSError as error:
            raise BispikError(f"{self.folder}: cannot be written: {error.strerror or error}") from error
        mapped = mapped_array(self._file.fileno(), stored.dtype, stored.shape, place)
        return mapped.T if is_weight else mapped

    def __enter__(self) -> ArrayStore:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._file.close()
