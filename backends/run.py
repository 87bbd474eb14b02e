"""One sequence on one backend: prompt, continuation, exact counts; in chunks, so that memory does not grow with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from bispik.backends.activity import Activity, joined
from bispik.backends.counts import EventCounter, EventCounts, IntArray
from bispik.backends.generate import generate
from bispik.backends.host import Sampler
from bispik.backends.registry import RunOptions, open_session
from bispik.compiler.mapping import MappedProgram

CHUNK_TOKENS = 32
"""Tokens whose activity is held, counted and written together."""

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
    see_activity: SeeActivity = lambda _activity: None,
) -> SequenceRun:
    """Run a prompt and continue it.

    Args:
        mapped: the program on its neurocores.
        request: what to run, and how to go on.
        backend: its name in the registry.
        options: how the backend uses the machine.
        probes: populations whose membranes are recorded.
        see_tokens: receives all tokens so far, whenever some were run.
        see_activity: receives what happened, up to CHUNK_TOKENS tokens at a time, each token once and in order.

    Raises:
        BispikError: if the backend is not available, or the prompt is empty or does not fit the window.
    """
    started = time.perf_counter()
    program, counter = mapped.program, EventCounter(mapped)
    sampler = request.sampling.sampler(request.stream)
    tokens: list[int] = []
    held: list[Activity] = []
    counted: list[EventCounts] = []

    def flush() -> None:
        if held:
            chunk = joined(held)
            held.clear()
            counted.append(counter.count(chunk))
            see_activity(chunk)

    with closing(open_session(backend, program, probes, options)) as session:
        for new, activity in generate(session, program, request.prompt, request.max_new_tokens, sampler, CHUNK_TOKENS):
            if sum(len(part.token_ids) for part in held) + len(new) > CHUNK_TOKENS:
                flush()
            tokens += new
            held.append(activity)
            see_tokens(tokens)
        flush()
        mode = session.execution_mode
    return SequenceRun(
        backend=backend,
        execution_mode=mode,
        prompt_tokens=len(request.prompt),
        token_ids=np.array(tokens, np.int64),
        counts=sum(counted[1:], start=counted[0]),
        seconds=time.perf_counter() - started,
    )
