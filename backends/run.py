"""One sequence on one backend: prompt, continuation, exact counts; in chunks, so that memory does not grow with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from bispik.backends.activity import Activity, Reading, Session, joined, reading_of
from bispik.backends.counted import open_counted, total_of
from bispik.backends.counts import EventCounter, EventCounts, IntArray
from bispik.backends.generate import generate
from bispik.backends.host import Sampler
from bispik.backends.registry import RunOptions, open_session
from bispik.compiler.mapping import MappedProgram

CHUNK_TOKENS = 32
"""Tokens whose activity is held, counted and written together."""

PROMPT_TOKENS = 256
"""Tokens of a prompt that are run at once where nothing is recorded."""

SeeTokens = Callable[[Sequence[int]], None]
SeeActivity = Callable[[Activity], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen; see `bispik.backends.host.Sampler`."""

    temperature: float = 0.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        self.sampler()  # says what is wrong before anything runs

    def sampler(self, stream: int = 0) -> Sampler:
        """Return a sampler with one of the seed's random streams."""
        return Sampler(self.temperature, self.top_k, self.seed, stream=stream)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A sequence to run."""

    prompt: tuple[int, ...]
    max_new_tokens: int = 0
    sampling: Sampling = Sampling()
    stream: int = 0
    """Which of the seed's independent random streams: the place of the sequence among those of one command."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SequenceRun:
    """What became of a sequence; without the program, so that it is small enough to be sent from process to process."""

    backend: str
    execution_mode: str
    prompt_tokens: int
    token_ids: IntArray
    """(n,): prompt and continuation."""
    counts: EventCounts
    seconds: float
    """Wall time."""


def run_sequence(
    mapped: MappedProgram,
    request: Request,
    backend: str,
    options: RunOptions,
    *,
    probes: Sequence[str] = (),
    see_tokens: SeeTokens = lambda _tokens: None,
    see_activity: SeeActivity | None = None,
) -> SequenceRun:
    """Run a prompt and continue it.

    Args:
        mapped: the program on its neurocores.
        request: what to run, and how to go on.
        backend: its name in the registry.
        options: how the backend uses the machine.
        probes: populations whose membranes are recorded; only with ``see_activity``.
        see_tokens: receives all tokens so far, whenever some were run.
        see_activity: receives what happened, up to CHUNK_TOKENS tokens at a time, each token once and in order. Without
            it nothing is recorded, and the backend may count events while it runs, which takes much less time.

    Raises:
        BispikError: if the backend is not available, or the prompt is empty or does not fit the window.
    """
    started = time.perf_counter()
    tokens: list[int] = []

    def run(read: Callable[[Sequence[int]], Reading], chunk: int) -> None:
        sampler = request.sampling.sampler(request.stream)
        for new in generate(read, mapped.program, request.prompt, request.max_new_tokens, sampler, chunk):
            tokens.extend(new)
            see_tokens(tokens)

    if see_activity is None:
        with closing(open_counted(backend, mapped, options)) as session:
            run(session.read, PROMPT_TOKENS)
            counts, mode = session.counts(), session.execution_mode
    else:
        with closing(open_session(backend, mapped.program, probes, options)) as recorded:
            recorder = _Recorder(mapped, recorded, see_activity)
            run(recorder.read, CHUNK_TOKENS)
            counts, mode = recorder.finish(), recorded.execution_mode
    return SequenceRun(
        backend=backend,
        execution_mode=mode,
        prompt_tokens=len(request.prompt),
        token_ids=np.array(tokens, np.int64),
        counts=counts,
        seconds=time.perf_counter() - started,
    )


class _Recorder:
    """Hands on what happens and counts it, CHUNK_TOKENS tokens at a time."""

    def __init__(self, mapped: MappedProgram, session: Session, see_activity: SeeActivity) -> None:
        self.program, self.session, self.see_activity = mapped.program, session, see_activity
        self.counter = EventCounter(mapped)
        self.held: list[Activity] = []
        self.counted: list[EventCounts] = []

    def read(self, token_ids: Sequence[int]) -> Reading:
        activity = self.session.feed(token_ids)
        if sum(len(part.token_ids) for part in self.held) + len(token_ids) > CHUNK_TOKENS:
            self._flush()
        self.held.append(activity)
        return reading_of(self.program, activity)

    def finish(self) -> EventCounts:
        self._flush()
        return total_of(self.counted)

    def _flush(self) -> None:
        if self.held:
            chunk = joined(self.held)
            self.held.clear()
            self.counted.append(self.counter.count(chunk))
            self.see_activity(chunk)
