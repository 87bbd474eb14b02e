"""Traces of stream programs on disk: HDF5, written block by block, open to any tool.

Attributes ``format`` ("bispik-stream-trace"), ``version`` and ``backend``; datasets ``input``
(steps, input size), ``sent/NAME`` (steps, size) for every population and ``membranes/NAME`` for the probed ones, all
int32, in the logical time of the program. A ``/`` in a population's name is written as a full stop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from bispik.backends.stream.activity import StreamActivity
from bispik.compiler.hdf5_writing import hdf5_written
from bispik.compiler.stream.program import StreamProgram
from bispik.models.errors import BispikError

FORMAT, VERSION = "bispik-stream-trace", 1


@contextmanager
def writing_stream_trace(
    path: Path, program: StreamProgram, backend: str
) -> Generator[Callable[[StreamActivity], None]]:
    """Yield what appends an activity; the file appears once the block ends well.

    Raises:
        BispikError: if it cannot be written, or names of populations differ in nothing but / and full stop.
    """
    names = {population.name: population.name.replace("/", ".") for population in program.populations}
    if len(set(names.values())) < len(names):
        raise BispikError(f"{path}: two populations would have one name in it: {', '.join(names)}; rename one")
    with hdf5_written(path, track_order=True) as file:
        file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
        file.attrs["backend"] = backend

        def append(activity: StreamActivity) -> None:
            _append(file, "input", activity.input)
            for kind, arrays in (("sent", activity.sent), ("membranes", activity.membranes)):
                for name, rows in arrays.items():
                    _append(file, f"{kind}/{names[name]}", rows)

        yield append


def _append(file: h5py.File, name: str, rows: npt.NDArray[np.int32]) -> None:
    steps, size = rows.shape
    if name not in file:
        chunk = (max(1, min(steps, (1 << 20) // max(1, 4 * size))), size)
        file.create_dataset(name, (0, size), np.int32, maxshape=(None, size), chunks=chunk, compression="lzf")
    dataset = file[name]
    assert isinstance(dataset, h5py.Dataset)
    dataset.resize(len(dataset) + steps, axis=0)
    dataset[-steps:] = rows
