"""Files of input for stream programs: NumPy arrays, tables and lists of events."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from tokenize import TokenError
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from bispik.compiler.stream.program import IntegerStreamInput
from bispik.models.errors import BispikError, first_line
from bispik.models.files import require_file

HDF5 = (".h5", ".hdf5")
"""How names of files of events end."""

VALUES_MAX = 1 << 28
"""Numbers of a whole input, time steps times channels; a longer recording is run in parts."""

VALUES_OF_FEW, VALUES_PER_EVENT = 1 << 24, 1 << 12
"""Numbers that a list of events may become: so many, and so many for each. One wrong time is not to fill the memory."""

EXPANSION, EXPANSION_OF_SMALL = 64, 1 << 24
"""Bytes that datasets of events may take: so many for each of the file's, and so many in any case."""

LAYOUTS = (
    "HDF5 with datasets events/t, events/x, events/y, events/p (t in microseconds) or spikes/times, spikes/units "
    "(times in seconds)"
)


def read_input(path: Path, entry: IntegerStreamInput, dt: float) -> npt.NDArray[Any]:
    """Return the values of a file; events are counted by time step and channel.

    ``.npy``: an array, see `encode`. ``.csv``: a row of numbers a time step; or, under the heading ``step,channel`` or
    ``step,channel,value``, a row an event. ``.h5``, ``.hdf5``: events of a camera, into a (2, height, width) or
    (1, height, width) input, or of a cochlea; an event at t falls into step floor(t / dt).

    Args:
        path: the file.
        entry: what the program takes.
        dt: seconds per time step.

    Raises:
        BispikError: for a missing, damaged or unknown file, or events outside of the input's channels.
    """
    require_file(path)
    kind = path.suffix.lower()
    if kind == ".npy":
        return _array(path)
    if kind == ".csv":
        return _table(path, entry)
    if kind in HDF5:
        return _events(path, entry, dt)
    raise BispikError(f"{path}: input is read from .npy, .csv, .h5 or .hdf5 files")


def _array(path: Path) -> npt.NDArray[Any]:
    try:
        values: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TokenError, RecursionError, OverflowError) as error:
        # The header is Python's notation of a dictionary, which NumPy takes to pieces with Python's own parser.
        raise BispikError(f"{path}: not a NumPy array: {first_line(error)}") from error
    if values.size > VALUES_MAX:
        raise BispikError(f"{path}: {values.size:,} numbers, more than {VALUES_MAX:,}; run it in parts")
    return values


def _table(path: Path, entry: IntegerStreamInput) -> npt.NDArray[Any]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BispikError(f"{path}: not a table: {error}") from error
    heading = [cell.strip() for cell in rows[0]] if rows else []
    listed = heading in (["step", "channel"], ["step", "channel", "value"])
    try:
        values = np.array([[float(cell) for cell in row] for row in rows[listed:]], np.float64)
    except ValueError as error:
        raise BispikError(f"{path}: rows differ in length, or hold something else than numbers: {error}") from error
    if not values.size:
        raise BispikError(f"{path}: holds no rows")
    if not listed:
        return values
    if values.shape[1] != len(heading):
        raise BispikError(f"{path}: rows of {values.shape[1]} numbers under the heading {','.join(heading)}")
    if (values[:, :2] != np.rint(values[:, :2])).any() or not np.isfinite(values).all():
        raise BispikError(f"{path}: steps and channels must be whole numbers")
    weights = values[:, 2] if len(heading) == 3 else np.ones(len(values))
    return _counted(path, entry, values[:, 0].astype(np.int64), values[:, 1].astype(np.int64), weights)


def _events(path: Path, entry: IntegerStreamInput, dt: float) -> npt.NDArray[Any]:
    try:
        with h5py.File(path) as file:
            if "events" in file:
                t, x, y, p = (_numbers(file, f"events/{name}") for name in "txyp")
                return _counted(path, entry, _steps(t * 1e-6, dt), _pixels(path, entry, x, y, p), None)
            times, units = _numbers(file, "spikes/times"), _numbers(file, "spikes/units")
            return _counted(path, entry, _steps(times, dt), units.astype(np.int64), None)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise BispikError(f"{path}: no events that can be read: {error}; expected {LAYOUTS}") from error


def _numbers(file: h5py.File, name: str) -> npt.NDArray[np.float64]:
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 1 or dataset.dtype.kind not in "biuf":
        raise ValueError(f"{name} is no list of numbers")
    if dataset.shape[0] > VALUES_MAX:
        raise ValueError(f"{name} holds {dataset.shape[0]:,} events, more than {VALUES_MAX:,}")
    chunk = math.prod(dataset.chunks or (0,))
    needed, most = 8 * max(dataset.shape[0], chunk), EXPANSION_OF_SMALL + EXPANSION * Path(file.filename).stat().st_size
    if needed > most or dataset.is_virtual or dataset.external:
        raise ValueError(f"{name} claims {needed:,} bytes, or other files; the file may hold {most:,} bytes itself")
    numbers = np.asarray(dataset[()], np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return numbers


def _steps(seconds: npt.NDArray[np.float64], dt: float) -> npt.NDArray[np.int64]:
    steps = seconds / dt
    nearest = np.rint(steps)  # a time on a step's boundary is rarely one in binary: 3e3 * 1e-6 / 1e-3 is below 3
    return np.where(np.abs(steps - nearest) <= 1e-6, nearest, np.floor(steps)).astype(np.int64)


def _pixels(
    path: Path,
    entry: IntegerStreamInput,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    p: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]:
    if len(entry.shape) != 3 or entry.shape[0] not in (1, 2):
        raise BispikError(f"{path}: events of a camera, but the network's input has shape {entry.shape}")
    polarities, height, width = entry.shape
    sign = (p > 0) if polarities == 2 else np.zeros(len(p), bool)
    outside = (x < 0) | (y < 0) | (x >= width) | (y >= height) | (x != np.rint(x)) | (y != np.rint(y))
    if outside.any():
        first = int(outside.argmax())
        raise BispikError(
            f"{path}: an event at x {x[first]:g}, y {y[first]:g}; the network's input has {width} x {height}"
        )
    return ((sign * height + y) * width + x).astype(np.int64)


def _counted(
    path: Path,
    entry: IntegerStreamInput,
    steps: npt.NDArray[np.int64],
    channels: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64] | None,
) -> npt.NDArray[Any]:
    if not len(steps) == len(channels) > 0:
        raise BispikError(f"{path}: {len(steps)} times and {len(channels)} channels of events")
    if steps.min() < 0 or channels.min() < 0 or channels.max() >= entry.size:
        raise BispikError(
            f"{path}: events of channels {channels.min()} to {channels.max()}, from step {steps.min()}; the network's "
            f"input has channels 0 to {entry.size - 1}, and time begins at 0"
        )
    length = int(steps.max()) + 1
    most = min(VALUES_MAX, VALUES_OF_FEW + VALUES_PER_EVENT * len(steps))
    if length * entry.size > most:
        raise BispikError(
            f"{path}: {length:,} time steps of {entry.size:,} channels are more than the {most:,} numbers that "
            f"{len(steps):,} events may become; run it in parts, or mend the last event's time"
        )
    counts = np.bincount(steps * entry.size + channels, weights=weights, minlength=length * entry.size)
    return counts.reshape(length, entry.size)
