"""The backends by name. Nothing is imported before it is asked for, and none stands in for another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from bispik.backends.activity import Session
from bispik.compiler.program import QuantizedProgram
from bispik.models.errors import BispikError

THREADED = frozenset({"sim"})
"""Backends that share a sequence's work among threads of one process."""


class Opener(Protocol):
    """Starts a sequence on one backend."""

    def __call__(self, program: QuantizedProgram, probes: Sequence[str], threads: int) -> Session:
        """See `open_session`."""
        ...


def _reference(program: QuantizedProgram, probes: Sequence[str], threads: int) -> Session:
    del threads
    from bispik.backends.reference import ReferenceSession

    return ReferenceSession(program, probes)


def _sim(program: QuantizedProgram, probes: Sequence[str], threads: int) -> Session:
    from bispik.backends.sim import SimSession

    return SimSession(program, probes, threads=threads)


def _lava(program: QuantizedProgram, probes: Sequence[str], threads: int) -> Session:
    del threads
    from bispik.backends.lava.session import LavaSession

    return LavaSession(program, probes)


def _loihi2(program: QuantizedProgram, probes: Sequence[str], threads: int) -> Session:
    del threads
    from bispik.backends.lava.hardware import Loihi2Session

    return Loihi2Session(program, probes)


BACKENDS: Mapping[str, Opener] = {"sim": _sim, "lava": _lava, "reference": _reference, "loihi2": _loihi2}


def open_session(backend: str, program: QuantizedProgram, probes: Sequence[str] = (), *, threads: int = 1) -> Session:
    """Start a sequence on a backend; ``probes`` are the populations whose membranes are recorded.

    Raises:
        BispikError: if there is no such backend, it is not available here or cannot run the program, or it has no
            threads and is asked for several.
    """
    check_backend(backend, threads)
    return BACKENDS[backend](program, probes, threads)


def check_backend(backend: str, threads: int) -> None:
    """Refuse a backend that there is not, and threads that it has not.

    Raises:
        BispikError: saying which there are.
    """
    if backend not in BACKENDS:
        raise BispikError(f"backend {backend!r}: unknown; choose one of {', '.join(BACKENDS)}")
    if threads < 1:
        raise BispikError(f"--threads {threads}: give 1 or more")
    if threads > 1 and backend not in THREADED:
        raise BispikError(f"--threads {threads}: the {backend} backend has no threads; use --backend sim")
