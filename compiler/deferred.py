"""Matrices that take no memory until they are looked at, and none after."""

from __future__ import annotations

import errno
import math
import mmap
import os
import stat
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deferred:
    """A matrix of real numbers that is computed, or mapped from a file, each time that it is asked for."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[], FloatArray]
    """Returns the same numbers each time, of that shape and type."""

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes while it is looked at."""
        return math.prod(self.shape) * int(self.dtype.itemsize)

    def __len__(self) -> int:
        """Length of the first axis."""
        return self.shape[0]


Matrix: TypeAlias = FloatArray | Deferred


def numbers(matrix: Matrix) -> FloatArray:
    """Return a matrix's numbers; whoever drops them frees their memory."""
    return matrix.make() if isinstance(matrix, Deferred) else matrix


class MappedFile:
    """A file that stays open for reading as long as someone may map a part of it."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            OSError: if it cannot be read, or is a folder or a device.
        """
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        weakref.finalize(self, os.close, self._descriptor)
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not an ordinary file")
        self.size = found.st_size

    def matrix(self, dtype: np.dtype[Any], shape: tuple[int, ...], place: int) -> Deferred:
        """Return the matrix that begins at byte ``place``, which is mapped while it is looked at."""
        return Deferred(shape=shape, dtype=dtype, make=lambda: mapped_array(self._descriptor, dtype, shape, place))


def mapped_array(descriptor: int, dtype: npt.DTypeLike, shape: tuple[int, ...], place: int) -> npt.NDArray[Any]:
    """Map a part of an open file; read-only. Its memory is free again when the array is dropped.

    Args:
        descriptor: of a file that does not become shorter while the array is used.
        dtype: of the array.
        shape: of the array; not empty.
        place: byte of the file at which it begins.
    """
    page = place - place % mmap.ALLOCATIONGRANULARITY
    count = math.prod(shape)
    length = count * np.dtype(dtype).itemsize + place - page
    mapped = mmap.mmap(descriptor, length, access=mmap.ACCESS_READ, offset=page)
    return np.frombuffer(mapped, dtype, count, place - page).reshape(shape)
