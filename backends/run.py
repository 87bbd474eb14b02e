"""One sequence on one backend: prompt, continuation, exact counts; in chunks, so that memory does not grow with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from bispik.backends.counted import CHUNK_TOKENS, SeeActivity, open_counted
from bispik.backends.counts import EventCounts, IntArray
from bispik.backends.generate import generate
from bispik.backends.host import Sampler
from bispik.backends.registry import RunOptions
from bispik.compiler.mapping import MappedProgram

PROMPT_TOKENS = 256
"""Tokens of a prompt that are run at once where nothing is recorded."""

SeeTokens = Callable[[Sequence[int]], None]


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

    chunk = PROMPT_TOKENS if see_activity is None else CHUNK_TOKENS
    with closing(open_counted(backend, mapped, options, probes=probes, see_activity=see_activity)) as session:
        sampler = request.sampling.sampler(request.stream)
        for new in generate(session.read, mapped.program, request.prompt, request.max_new_tokens, sampler, chunk):
            tokens.extend(new)
            see_tokens(tokens)
        counts, mode = session.counts(), session.execution_mode
    return SequenceRun(
        backend=backend,
        execution_mode=mode,
        prompt_tokens=len(request.prompt),
        token_ids=np.array(tokens, np.int64),
        counts=counts,
        seconds=time.perf_counter() - started,
    )
