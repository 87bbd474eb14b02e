"""A sequence whose events are counted while it runs, without a recording of everything that happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import Activity, Reading, Session, joined, reading_of
from bispik.backends.counts import EventCounter, EventCounts
from bispik.backends.counts.chunk import CountedChunk
from bispik.backends.registry import DEFAULTS, RunOptions, open_session
from bispik.compiler.mapping import MappedProgram
from bispik.models.errors import BispikError

Ids = Sequence[int] | npt.NDArray[np.int64]

TOKENS_AT_ONCE = 256
"""Tokens whose numbers become events together: entering them costs the same for one token as for many."""

ENTRIES_AT_ONCE = 1 << 20
"""Slices times tokens that are entered together at most: the tables have some 30 numbers for each, 250 MB."""


RECORDED_AT_ONCE = 32
"""Tokens of a backend that records everything that are counted together."""


def tokens_at_once(counter: EventCounter) -> int:
    """Return how many tokens are best entered together."""
    return max(1, min(TOKENS_AT_ONCE, ENTRIES_AT_ONCE // max(1, len(counter.parts))))


class CountedSession(Protocol):
    """One sequence being run and counted."""

    @property
    def execution_mode(self) -> str:
        """What runs, in words."""
        ...

    def read(self, token_ids: Ids) -> Reading:
        """Run the next tokens and return what the host reads."""
        ...

    def counts(self) -> EventCounts:
        """Return the events of all tokens so far.

        Raises:
            ValueError: before the first token.
        """
        ...

    def close(self) -> None:
        """Release processes and memory; harmless if repeated."""
        ...


def open_counted(backend: str, mapped: MappedProgram, options: RunOptions = DEFAULTS) -> CountedSession:
    """Start a sequence on a backend; `sim` counts while it runs, the others from what they record.

    Raises:
        BispikError: as `open_session`.
    """
    session = open_session(backend, mapped.program, options=options)
    if backend == "sim":
        return _SimCounted(mapped, session)
    return _RecordedCounted(mapped, session)


class _RecordedCounted:
    def __init__(self, mapped: MappedProgram, session: Session) -> None:
        self.mapped, self.session = mapped, session
        self.counter = EventCounter(mapped)
        self.parts: list[EventCounts] = []
        self.held: list[Activity] = []

    @property
    def execution_mode(self) -> str:
        return self.session.execution_mode

    def read(self, token_ids: Ids) -> Reading:
        activity = self.session.feed(token_ids)
        self.held.append(activity)
        if sum(len(held.token_ids) for held in self.held) >= RECORDED_AT_ONCE:
            self._enter()
        return reading_of(self.mapped.program, activity)

    def counts(self) -> EventCounts:
        self._enter()
        return total_of(self.parts)

    def _enter(self) -> None:
        if self.held:
            self.parts.append(self.counter.count(joined(self.held)))
            self.held = []

    def close(self) -> None:
        self.session.close()


class _SimCounted:
    def __init__(self, mapped: MappedProgram, session: Session) -> None:
        from bispik.backends.sim.session import NativeDemands, SimSession

        assert isinstance(session, SimSession)
        self.session = session
        self.counter = EventCounter(mapped)
        self.wanted = NativeDemands(session.native, self.counter.demands)
        self.at_once = tokens_at_once(self.counter)
        self.parts: list[EventCounts] = []
        self.waiting: list[CountedChunk] = []
        self.counted = 0

    @property
    def execution_mode(self) -> str:
        return self.session.execution_mode

    def read(self, token_ids: Ids) -> Reading:
        self._check()
        reading, chunk = self.session.read_counted(token_ids, self.wanted)
        self.waiting.append(chunk)
        self.counted += len(chunk.positions)
        if sum(len(waiting.positions) for waiting in self.waiting) >= self.at_once:
            self._enter()
        return reading

    def counts(self) -> EventCounts:
        self._check()
        self._enter()
        return total_of(self.parts)

    def close(self) -> None:
        self.session.close()

    def _check(self) -> None:
        if self.counted != self.session.position:
            raise BispikError(
                f"a run was interrupted: {self.session.position - self.counted} tokens were run and not counted; "
                "start the sequence again"
            )

    def _enter(self) -> None:
        if self.waiting:
            self.parts.append(self.counter.count_chunk(CountedChunk.joined(self.waiting)))
            self.waiting = []


def total_of(parts: list[EventCounts]) -> EventCounts:
    """Return the counts of consecutive parts of a run, or of several runs, as one.

    Raises:
        ValueError: if there is none.
    """
    if not parts:
        raise ValueError("nothing has been run")
    total, *others = parts
    for part in others:
        total = total + part
    return total
