"""One run of a stream program over a whole input, block by block."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.backends.registry import DEFAULTS, RunOptions
from bispik.backends.stream.activity import StreamActivity, StreamSession
from bispik.backends.stream.counts import StreamCounter, StreamCounts
from bispik.backends.stream.counts.plan import stream_plan
from bispik.backends.stream.counts.totals import stream_counts
from bispik.backends.stream.registry import WHOLE_INPUT, check_threads, open_stream_session
from bispik.compiler.stream.mapping import MappedStream
from bispik.compiler.stream.program import StreamProgram

if TYPE_CHECKING:
    from bispik.backends.stream.counts.native import NativeCounting

VALUES_AT_ONCE = 1 << 24
"""Numbers of activity, over all nodes, that are held at once: 64 MB."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CountedStreamRun:
    """A run and its events."""

    run: StreamRun
    counts: StreamCounts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamRun:
    """What the host has read behind a run. S: steps."""

    backend: str
    execution_mode: str
    output: npt.NDArray[np.int32]
    """(S, output size): spikes, or membranes in the program's units."""
    saturations: dict[str, int]
    seconds: float


def run_stream(
    program: StreamProgram,
    values: npt.NDArray[np.int32],
    backend: str,
    options: RunOptions = DEFAULTS,
    *,
    probes: Sequence[str] = (),
    see_activity: Callable[[StreamActivity], None] | None = None,
) -> StreamRun:
    """Run an input from a sequence's start.

    Args:
        program: what to run.
        values: the host's input, (S, input size).
        backend: its name in the registry.
        options: how the backend uses the machine.
        probes: populations whose membranes are recorded.
        see_activity: receives what happened, block by block.

    Raises:
        BispikError: as `open_stream_session` and the session's ``feed``.
    """
    started = time.perf_counter()
    session = open_stream_session(backend, program, probes, options)
    return _run(program, values, backend, session, session.feed, started, see_activity)


def _run(
    program: StreamProgram,
    values: npt.NDArray[np.int32],
    backend: str,
    session: StreamSession,
    feed: Callable[[npt.NDArray[np.int32]], StreamActivity],
    started: float,
    see_activity: Callable[[StreamActivity], None] | None,
) -> StreamRun:
    """Feed a session, which has just begun, block by block, and close it."""
    width = program.input.size + sum(population.size for population in program.populations)
    block = len(values) if backend in WHOLE_INPUT else max(1, VALUES_AT_ONCE // width)
    output: list[npt.NDArray[np.int32]] = []
    saturations = {population.name: 0 for population in program.populations}
    try:
        for first in range(0, len(values), block):
            activity = feed(values[first : first + block])
            output.append(activity.sent[program.output])
            for name, clipped in activity.saturations.items():
                saturations[name] += clipped
            if see_activity:
                see_activity(activity)
    finally:
        session.close()
    return StreamRun(
        backend=backend,
        execution_mode=session.execution_mode,
        output=np.concatenate(output),
        saturations=saturations,
        seconds=time.perf_counter() - started,
    )


def counted_stream(
    mapped: MappedStream,
    values: npt.NDArray[np.int32],
    backend: str,
    options: RunOptions = DEFAULTS,
    *,
    probes: Sequence[str] = (),
    see_activity: Callable[[StreamActivity], None] | None = None,
) -> CountedStreamRun:
    """Run an input from a sequence's start and count its events; see `run_stream`.

    The engine of ``sim`` counts while it runs, and records only what somebody sees; what other backends did is counted
    from what they recorded. So is a mapping that cuts what rows read: the engine does not see the sums of the parts.
    """
    started = time.perf_counter()
    opened = _counting_engine if backend == "sim" and not mapped.parts else _counted_record
    session, feed_counted = opened(mapped, backend, probes, options, see_activity is not None)
    counts: list[StreamCounts] = []

    def feed(block: npt.NDArray[np.int32]) -> StreamActivity:
        activity, counted = feed_counted(block)
        counts.append(counted)
        return activity

    run = _run(mapped.program, values, backend, session, feed, started, see_activity)
    return CountedStreamRun(run=run, counts=sum(counts[1:], start=counts[0]))


_CountedFeed: TypeAlias = Callable[[npt.NDArray[np.int32]], tuple[StreamActivity, StreamCounts]]


def _counting_engine(
    mapped: MappedStream, _backend: str, probes: Sequence[str], options: RunOptions, seen: bool
) -> tuple[StreamSession, _CountedFeed]:
    from bispik.backends.stream.sim import SimStreamSession

    check_threads(options)
    program, counting = mapped.program, _native_counting(mapped)
    session = SimStreamSession(program, probes, threads=options.threads or 1, counting=counting)
    recorded = {population.name for population in program.populations} if seen else {program.output}

    def feed(values: npt.NDArray[np.int32]) -> tuple[StreamActivity, StreamCounts]:
        activity, tally = session.feed_counted(values, recorded)
        return activity, stream_counts(counting.plan, tally)

    return session, feed


def _counted_record(
    mapped: MappedStream, backend: str, probes: Sequence[str], options: RunOptions, _seen: bool
) -> tuple[StreamSession, _CountedFeed]:
    session, counter = open_stream_session(backend, mapped.program, probes, options), _counter(mapped)

    def feed(values: npt.NDArray[np.int32]) -> tuple[StreamActivity, StreamCounts]:
        activity = session.feed(values)
        return activity, counter.count(activity)

    return session, feed


@lru_cache(maxsize=1)
def _native_counting(mapped: MappedStream) -> NativeCounting:
    """Return what the engine counts on a mapping; what it follows from takes longer than a short sequence."""
    from bispik.backends.stream.counts.native import NativeCounting

    return NativeCounting(stream_plan(mapped))


@lru_cache(maxsize=1)
def _counter(mapped: MappedStream) -> StreamCounter:
    """Return what counts a record; see `_native_counting`."""
    return StreamCounter(mapped)
