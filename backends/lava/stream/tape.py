"""What the processes of a stream program write down, by fabric step; the host takes the skew out.

A run is cut into segments of as many fabric steps as there are rows, so that a sequence may have any length. See
`bispik.backends.lava.tape` for the kind of memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.tape import IntArray, shared_array

Rows = dict[str, npt.NDArray[Any]]

BYTES = 1 << 26
"""Of all rows together, unless a single step takes more."""

STEPS_MAX = 1024
"""Rows of a segment at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """Where the fabric is; shared by all processes. Fabric steps count from 0: Lava's time step 1."""

    numbers: IntArray
    """(5,): the run's first fabric step, its first logical step, its number of logical steps; the first fabric step of
    the present segment; how many steps the fabric has begun."""

    def begin(self, fabric_step: int, first_step: int, steps: int) -> None:
        """Start a run: logical steps from ``first_step`` on enter the network from ``fabric_step`` on."""
        self.numbers[:4] = fabric_step, first_step, steps, fabric_step

    def logical(self, fabric_step: int, skew: int) -> int | None:
        """Return the logical step of a node that lies so far behind the input; None outside of the run."""
        first_fabric, first, steps = (int(number) for number in self.numbers[:3])
        step = fabric_step - first_fabric - skew
        return first + step if 0 <= step < steps else None

    def row(self, fabric_step: int) -> int:
        """Return the row of a step of the present segment."""
        return fabric_step - int(self.numbers[3])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamNodeTape:
    """The rows of one node."""

    timeline: Timeline
    rows: Rows
    """Recorded quantities by name, (steps of a segment, ...)."""

    def write(self, fabric_step: int, **quantities: npt.ArrayLike) -> None:
        """Write down a step."""
        row = self.timeline.row(fabric_step)
        for name, values in quantities.items():
            if name in self.rows:
                self.rows[name][row] = values


class StreamTape:
    """The tapes of all nodes."""

    def __init__(self, quantities: Mapping[str, Mapping[str, tuple[int, npt.DTypeLike]]]) -> None:
        """Allocate the memory.

        Args:
            quantities: by node and name, what is recorded: how many numbers a step, and their type.
        """
        per_step = sum(size * np.dtype(kind).itemsize for node in quantities.values() for size, kind in node.values())
        self.steps = max(1, min(STEPS_MAX, BYTES // max(1, per_step)))
        """Of a segment, at most."""
        self.timeline = Timeline(shared_array((5,), np.int64))
        self.nodes = {
            name: StreamNodeTape(
                timeline=self.timeline,
                rows={key: shared_array((self.steps, size), kind) for key, (size, kind) in node.items()},
            )
            for name, node in quantities.items()
        }

    @property
    def progress(self) -> int:
        """Number of steps that the fabric has begun since it started."""
        return int(self.timeline.numbers[4])

    def begin_segment(self, fabric_step: int) -> None:
        """Let the next step use the first row."""
        self.timeline.numbers[3] = fabric_step
