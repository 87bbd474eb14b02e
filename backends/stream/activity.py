"""What a backend returns for a stream program, and the interface that produces it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bispik.compiler.stream.program import StreamProgram
from bispik.models.errors import BispikError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamActivity:
    """Everything that happened in consecutive time steps, the fabric's skew removed. S: steps."""

    first_step: int
    input: npt.NDArray[np.int32]
    """(S, input size)."""
    sent: Mapping[str, npt.NDArray[np.int32]]
    """By population: spikes, 0 or 1, or the membrane where the population sends that; (S, size). Only a run that counts
    by itself leaves populations out."""
    membranes: Mapping[str, npt.NDArray[np.int32]]
    """By probed population: the stored membrane v behind each step, (S, size)."""
    saturations: Mapping[str, int]
    """By population: how many membrane updates were clipped."""


class StreamSession(Protocol):
    """One sequence being run: state is kept from call to call."""

    execution_mode: str
    """What ran, in words: for traces and reports."""

    def feed(self, values: npt.NDArray[np.int32]) -> StreamActivity:
        """Run the next time steps; ``values`` is the host's input, (S, input size).

        Raises:
            BispikError: if the input has another size or leaves the range that the program was made for.
        """
        ...

    def close(self) -> None:
        """Release processes and memory; harmless if repeated."""
        ...


class StreamBackend(Protocol):
    """Opens sessions."""

    def __call__(self, program: StreamProgram, probes: Sequence[str] = ()) -> StreamSession:
        """Start a sequence; ``probes`` are the populations whose membranes are recorded.

        Raises:
            BispikError: if the backend is not available here or cannot run the program; no other stands in for it.
        """
        ...


def checked_input(program: StreamProgram, values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the input as whole numbers if the program takes it.

    Raises:
        BispikError: for another size, no steps, or numbers outside of the program's range.
    """
    entry = program.input
    if values.ndim != 2 or values.shape[1] != entry.size or len(values) == 0:
        raise BispikError(
            f"{entry.name}: input of shape {values.shape}, expected (time steps, {entry.size}) with at least one step"
        )
    low, high = int(values.min()), int(values.max())
    if low < entry.low or high > entry.high:
        raise BispikError(
            f"{entry.name}: input from {low} to {high}; the program was compiled for {entry.low} to {entry.high}"
        )
    return np.ascontiguousarray(values, np.int32)


def checked_probes(program: StreamProgram, probes: Sequence[str]) -> frozenset[str]:
    """Return the probes as a set.

    Raises:
        BispikError: if the program has no such population.
    """
    unknown = set(probes) - {population.name for population in program.populations}
    if unknown:
        known = ", ".join(population.name for population in program.populations)
        raise BispikError(f"no population to probe is called {', '.join(sorted(unknown))}; there are {known}")
    return frozenset(probes)
