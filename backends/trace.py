"""A run on disk, written while it runs: what ran, on what, and everything that happened.

A trace is containers (`bispik.compiler.container`) one behind the other: an `Opening`, a `Piece` per chunk of tokens, a
`Closing`. Each names the checksum of the one before it, so that none can be left out, moved or taken from another run;
without a closing one the trace is no trace. Reader and writer hold one chunk at a time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bispik.backends.activity import Activity, check_activity
from bispik.backends.counts import EventCounter, EventCounts
from bispik.backends.run import SequenceRun
from bispik.compiler.artifact import Format, check_mapped, opened, read_part, write_part
from bispik.compiler.mapping import MappedProgram
from bispik.models.errors import BispikError
from bispik.models.files import written_whole

TRACE = Format(name="bispik-trace", version="4", what="trace of a run")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opening:
    """One sequence on one backend, with the mapped program that ran, so that an account needs nothing else."""

    mapped: MappedProgram
    backend: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """The next tokens of the sequence."""

    after: str
    """Checksum of the part before this one."""
    activity: Activity


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """What is known at the end."""

    after: str
    execution_mode: str
    prompt_tokens: int
    tokens: int
    """All that were run."""
    seconds: float
    """Wall time of the run."""


class TraceWriter:
    """Appends to a trace; `writing_trace` makes one."""

    def __init__(self, file: BinaryIO, mapped: MappedProgram, backend: str) -> None:
        self._file = file
        self._last = write_part(file, Opening(mapped=mapped, backend=backend), TRACE)

    def append(self, activity: Activity) -> None:
        """Write the sequence's next tokens."""
        self._last = write_part(self._file, Piece(after=self._last, activity=activity), TRACE)

    def close(self, run: SequenceRun) -> None:
        """Write what is known at the end."""
        closing = Closing(
            after=self._last,
            execution_mode=run.execution_mode,
            prompt_tokens=run.prompt_tokens,
            tokens=len(run.token_ids),
            seconds=run.seconds,
        )
        write_part(self._file, closing, TRACE)


@contextmanager
def writing_trace(path: Path, mapped: MappedProgram, backend: str) -> Generator[TraceWriter]:
    """Write a trace in the block; it appears under its name once the block has succeeded, else nothing is left of it.

    Raises:
        BispikError: if it cannot be written.
    """
    with written_whole(path) as temporary, temporary.open("wb") as file:
        yield TraceWriter(file, mapped, backend)


class TraceReader:
    """Reads a trace from its beginning to its end; `opened_trace` makes one."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        part = read_part(file, Opening, TRACE, path)
        self.mapped: MappedProgram = part.content.mapped
        self.backend: str = part.content.backend
        self._stop, self._last = part.stop, part.digest
        self.closing: Closing | None = None
        check_mapped(self.mapped, str(path))

    def chunks(self) -> Iterator[Activity]:
        """Yield what happened, chunk by chunk, each checked against the program; then ``closing`` is known.

        Raises:
            BispikError: if the trace ends early, was altered, or holds what the program cannot have done.
        """
        tokens, saturating = 0, frozenset[str]()
        while True:
            part = read_part(self._file, Piece | Closing, TRACE, self._path, self._stop)
            content: Piece | Closing = part.content
            if content.after != self._last:
                raise BispikError(f"{self._path}: a part of the trace does not follow the one before it; run it again")
            self._stop, self._last = part.stop, part.digest
            if isinstance(content, Closing):
                self._check_end(content, tokens)
                self.closing = content
                return
            if content.activity.first_position != tokens:
                first = content.activity.first_position
                raise BispikError(f"{self._path}: token {first} follows where token {tokens} is expected; run it again")
            check_activity(self.mapped.program, content.activity, str(self._path))
            clipped = frozenset(content.activity.saturations)
            saturating = clipped if tokens == 0 else saturating
            if clipped != saturating:
                raise BispikError(f"{self._path}: its pieces count saturations of different nodes; run it again")
            tokens += len(content.activity.token_ids)
            yield content.activity

    def _check_end(self, closing: Closing, tokens: int) -> None:
        trailing = self._file.seek(0, 2) - self._stop
        plausible = 0 < closing.prompt_tokens <= tokens == closing.tokens
        if trailing or not plausible:
            raise BispikError(
                f"{self._path}: holds {tokens} tokens and {trailing:,} bytes behind its end; it says "
                f"{closing.prompt_tokens} of {closing.tokens} tokens and no more; run it again"
            )


@contextmanager
def opened_trace(path: Path) -> Generator[TraceReader]:
    """Open a trace for the block.

    Raises:
        BispikError: if the file is missing, no trace, of another version or altered.
    """
    with opened(path, TRACE) as file:
        yield TraceReader(file, path)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CountedTrace:
    """A trace's run, counted."""

    mapped: MappedProgram
    run: SequenceRun


def count_trace(path: Path) -> CountedTrace:
    """Read a trace chunk by chunk and count its events.

    Raises:
        BispikError: if the file is missing, no trace, of another version, altered or inconsistent.
    """
    with opened_trace(path) as trace:
        counter = EventCounter(trace.mapped)
        counts: list[EventCounts] = []
        ids: list[int] = []
        for activity in trace.chunks():
            counts.append(counter.count(activity))
            ids += activity.token_ids.tolist()
        end = trace.closing
        if end is None or not counts:
            raise BispikError(f"{path}: holds no token; run it again")
        run = SequenceRun(
            backend=trace.backend,
            execution_mode=end.execution_mode,
            prompt_tokens=end.prompt_tokens,
            token_ids=np.array(ids, np.int64),
            counts=EventCounts.joined(counts),
            seconds=end.seconds,
        )
        return CountedTrace(mapped=trace.mapped, run=run)
