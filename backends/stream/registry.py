"""The backends for stream programs by name. Nothing is imported before it is asked for; none stands in for another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bispik.backends.registry import DEFAULTS, RunOptions
from bispik.backends.stream.activity import StreamSession
from bispik.compiler.stream.program import StreamProgram
from bispik.models.errors import BispikError

Opener = Callable[[StreamProgram, Sequence[str], RunOptions], StreamSession]


def _reference(program: StreamProgram, probes: Sequence[str], options: RunOptions) -> StreamSession:
    _has_no_threads("reference", options)
    from bispik.backends.stream.reference import ReferenceStreamSession

    return ReferenceStreamSession(program, probes)


def _sim(program: StreamProgram, probes: Sequence[str], options: RunOptions) -> StreamSession:
    from bispik.backends.stream.sim import SimStreamSession

    return SimStreamSession(program, probes, threads=options.threads or 1)


def _lava(program: StreamProgram, probes: Sequence[str], options: RunOptions) -> StreamSession:
    _has_no_threads("lava", options)
    from bispik.backends.lava.stream.session import LavaStreamSession

    return LavaStreamSession(program, probes)


def _onnx(program: StreamProgram, probes: Sequence[str], options: RunOptions) -> StreamSession:
    from bispik.backends.onnx.stream_session import OnnxStreamSession

    return OnnxStreamSession(program, probes, threads=options.threads or 1)


def _loihi2(program: StreamProgram, probes: Sequence[str], options: RunOptions) -> StreamSession:
    _has_no_threads("loihi2", options)
    from bispik.backends.lava.hardware import Loihi2StreamSession

    return Loihi2StreamSession(program, probes)


STREAM_BACKENDS: Mapping[str, Opener] = {
    "sim": _sim,
    "lava": _lava,
    "reference": _reference,
    "onnx": _onnx,
    "loihi2": _loihi2,
}

WHOLE_INPUT = frozenset({"lava", "loihi2"})
"""Backends whose clock runs on behind the input: they take all of it at once."""


def open_stream_session(
    backend: str, program: StreamProgram, probes: Sequence[str] = (), options: RunOptions = DEFAULTS
) -> StreamSession:
    """Start a sequence on a backend; ``probes`` are the populations whose membranes are recorded.

    Raises:
        BispikError: if there is no such backend or population, or the backend is not available here, cannot run the
            program or has no such option.
    """
    if backend not in STREAM_BACKENDS:
        raise BispikError(f"backend {backend!r}: choose one of {', '.join(STREAM_BACKENDS)}")
    check_threads(options)
    return STREAM_BACKENDS[backend](program, probes, options)


def check_threads(options: RunOptions) -> None:
    """Raise a BispikError unless the number of threads is one."""
    if options.threads is not None and options.threads < 1:
        raise BispikError(f"--threads {options.threads}: give at least 1")


def _has_no_threads(backend: str, options: RunOptions) -> None:
    if options.threads is not None:
        raise BispikError(f"--threads {options.threads}: backend {backend} has no threads of its own; leave it out")
