"""The backends by name. Nothing is imported before it is asked for, and none stands in for another."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bispik.backends.activity import Session
from bispik.compiler.program import IntegerPopulation, QuantizedProgram
from bispik.models.errors import BispikError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a backend uses the machine; nothing in it changes a result. A backend refuses what it has no use for."""

    threads: int | None = None
    """CPU threads of one sequence; None for what the backend takes by itself."""


DEFAULTS = RunOptions()

Opener = Callable[[QuantizedProgram, Sequence[str], RunOptions], Session]


def _reference(program: QuantizedProgram, probes: Sequence[str], options: RunOptions) -> Session:
    _has_no_threads("reference", options)
    from bispik.backends.reference import ReferenceSession

    return ReferenceSession(program, probes)


def _sim(program: QuantizedProgram, probes: Sequence[str], options: RunOptions) -> Session:
    from bispik.backends.sim import SimSession

    return SimSession(program, probes, threads=options.threads or 1)


def _lava(program: QuantizedProgram, probes: Sequence[str], options: RunOptions) -> Session:
    _has_no_threads("lava", options)
    if multiprocessing.current_process().daemon:
        raise BispikError(
            "backend lava starts processes of its own, which this worker may not; start the cluster's workers with "
            "DASK_DISTRIBUTED__WORKER__DAEMON=False"
        )
    from bispik.backends.lava.session import LavaSession

    return LavaSession(program, probes)


def _onnx(program: QuantizedProgram, probes: Sequence[str], options: RunOptions) -> Session:
    from bispik.backends.onnx.session import OnnxSession

    return OnnxSession(program, probes, threads=options.threads or 1)


def _loihi2(program: QuantizedProgram, probes: Sequence[str], options: RunOptions) -> Session:
    _has_no_threads("loihi2", options)
    from bispik.backends.lava.hardware import Loihi2Session

    return Loihi2Session(program, probes)


BACKENDS: Mapping[str, Opener] = {
    "sim": _sim,
    "lava": _lava,
    "reference": _reference,
    "onnx": _onnx,
    "loihi2": _loihi2,
}


def open_session(
    backend: str, program: QuantizedProgram, probes: Sequence[str] = (), options: RunOptions = DEFAULTS
) -> Session:
    """Start a sequence on a backend; ``probes`` are the populations whose membranes are recorded.

    Raises:
        BispikError: if there is no such backend or population, or the backend is not available here, cannot run the
            program or has no such option.
    """
    require_backend(backend)
    if options.threads is not None and options.threads < 1:
        raise BispikError(f"--threads {options.threads}: give at least 1")
    unknown = set(probes) - {population.name for population in program.of_kind(IntegerPopulation)}
    if unknown:
        raise BispikError(f"no population to probe is called {', '.join(sorted(unknown))}")
    return BACKENDS[backend](program, probes, options)


def require_backend(backend: str) -> None:
    """Refuse an unknown name.

    Raises:
        BispikError: with the names that there are.
    """
    if backend not in BACKENDS:
        raise BispikError(f"backend {backend!r}: unknown; choose one of {', '.join(BACKENDS)}")


def _has_no_threads(backend: str, options: RunOptions) -> None:
    if options.threads is not None:
        raise BispikError(f"--threads {options.threads}: backend {backend} has no threads of its own; leave it out")
