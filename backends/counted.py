"""A sequence whose events are counted while it runs, without a recording of everything that happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
"""Slices times tokens that are entered together at most: there are some 10 numbers of 8 bytes for each, 100 MB."""

CHUNK_TOKENS = 32
"""Tokens whose activity is held, counted and handed on together, where everything is recorded."""

SeeActivity = Callable[[Activity], None]


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


def open_counted(
    backend: str,
    mapped: MappedProgram,
    options: RunOptions = DEFAULTS,
    *,
    probes: Sequence[str] = (),
    see_activity: SeeActivity | None = None,
) -> CountedSession:
    """Start a sequence on a backend; `sim` counts while it runs, the others from what they record.

    A mapping that cuts what rows read is counted from what is recorded on `sim` too: the engine adds up whole rows, and
    does not see the sums of their parts.

    Args:
        backend: its name in the registry.
        mapped: the program on its neurocores.
        options: how the backend uses the machine.
        probes: populations whose membranes are recorded; only with ``see_activity``.
        see_activity: receives what happened, up to CHUNK_TOKENS tokens at a time, each token once and in order, if they
            are run so many at a time; everything is then recorded, on `sim` too.

    Raises:
        BispikError: as `open_session`.
    """
    session = open_session(backend, mapped.program, probes, options)
    if backend == "sim" and see_activity is None and not mapped.parts:
        return _SimCounted(mapped, session)
    return _RecordedCounted(mapped, session, see_activity)


class _RecordedCounted:
    def __init__(self, mapped: MappedProgram, session: Session, see_activity: SeeActivity | None) -> None:
        self.program, self.session, self.see_activity = mapped.program, session, see_activity
        self.counter = EventCounter(mapped)
        self.parts: list[EventCounts] = []
        self.held: list[Activity] = []

    @property
    def execution_mode(self) -> str:
        return self.session.execution_mode

    def read(self, token_ids: Ids) -> Reading:
        activity = self.session.feed(token_ids)
        if sum(len(held.token_ids) for held in self.held) + len(token_ids) > CHUNK_TOKENS:
            self._enter()
        self.held.append(activity)
        return reading_of(self.program, activity)

    def counts(self) -> EventCounts:
        self._enter()
        return EventCounts.joined(self.parts)

    def close(self) -> None:
        self.session.close()

    def _enter(self) -> None:
        if not self.held:
            return
        chunk = joined(self.held)
        self.held.clear()
        self.parts.append(self.counter.count(chunk))
        if self.see_activity:
            self.see_activity(chunk)


class ChunkCounter:
    """Turns the numbers of one sequence, counted while it ran, into events, many tokens at a time."""

    def __init__(self, counter: EventCounter) -> None:
        self.counter = counter
        self.at_once = max(1, min(TOKENS_AT_ONCE, ENTRIES_AT_ONCE // max(1, counter.slices)))
        self.tokens = 0
        self._waiting: list[CountedChunk] = []
        self._waiting_tokens = 0
        self._parts: list[EventCounts] = []

    def add(self, chunk: CountedChunk) -> None:
        """Take the sequence's next tokens."""
        self.tokens += len(chunk.positions)
        self._waiting_tokens += len(chunk.positions)
        self._waiting.append(chunk)
        if self._waiting_tokens >= self.at_once:
            self._enter()

    def counts(self) -> EventCounts:
        """Return the events of all tokens so far.

        Raises:
            ValueError: before the first token.
        """
        self._enter()
        return EventCounts.joined(self._parts)

    def _enter(self) -> None:
        if self._waiting:
            self._parts.append(self.counter.count_chunk(CountedChunk.joined(self._waiting)))
            self._waiting, self._waiting_tokens = [], 0


class _SimCounted:
    def __init__(self, mapped: MappedProgram, session: Session) -> None:
        from bispik.backends.sim.session import NativeDemands, SimSession

        assert isinstance(session, SimSession)
        self.session = session
        self.counted = ChunkCounter(EventCounter(mapped))
        self.wanted = NativeDemands(session.native, self.counted.counter.demands)

    @property
    def execution_mode(self) -> str:
        return self.session.execution_mode

    def read(self, token_ids: Ids) -> Reading:
        self._check()
        reading, chunk = self.session.read_counted(token_ids, self.wanted)
        self.counted.add(chunk)
        return reading

    def counts(self) -> EventCounts:
        self._check()
        return self.counted.counts()

    def close(self) -> None:
        self.session.close()

    def _check(self) -> None:
        if missing := self.session.position - self.counted.tokens:
            raise BispikError(
                f"a run was interrupted: {missing} tokens were run and not counted; start the sequence again"
            )
