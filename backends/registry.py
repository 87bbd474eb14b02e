"""The backends by name. Nothing is imported before it is asked for, and none stands in for another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bispik.backends.activity import Session
from bispik.compiler.program import QuantizedProgram
from bispik.models.errors import BispikError

Opener = Callable[[QuantizedProgram, Sequence[str]], Session]


def _reference(program: QuantizedProgram, probes: Sequence[str]) -> Session:
    from bispik.backends.reference import ReferenceSession

    return ReferenceSession(program, probes)


def _sim(program: QuantizedProgram, probes: Sequence[str]) -> Session:
    from bispik.backends.sim import SimSession

    return SimSession(program, probes)


def _lava(program: QuantizedProgram, probes: Sequence[str]) -> Session:
    from bispik.backends.lava.session import LavaSession

    return LavaSession(program, probes)


def _loihi2(program: QuantizedProgram, probes: Sequence[str]) -> Session:
    from bispik.backends.lava.hardware import Loihi2Session

    return Loihi2Session(program, probes)


BACKENDS: Mapping[str, Opener] = {"sim": _sim, "lava": _lava, "reference": _reference, "loihi2": _loihi2}


def open_session(backend: str, program: QuantizedProgram, probes: Sequence[str] = ()) -> Session:
    """Start a sequence on a backend; ``probes`` are the populations whose membranes are recorded.

    Raises:
        BispikError: if there is no such backend, or it is not available here or cannot run the program.
    """
    if backend not in BACKENDS:
        raise BispikError(f"backend {backend!r}: unknown; choose one of {', '.join(BACKENDS)}")
    return BACKENDS[backend](program, probes)
