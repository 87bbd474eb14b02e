"""What counting has to know of consecutive tokens, and three ways to answer.

``ActivityChunk`` looks into a recorded activity. ``Demands`` answers nothing and notes what it is asked: the fast
simulator then counts exactly that while it runs, and ``CountedChunk`` looks it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import Activity
from bispik.backends.counts.events import IntArray
from bispik.compiler.program import IntegerAttention, QuantizedProgram

SpikeArray: TypeAlias = npt.NDArray[np.int8]

Segment: TypeAlias = tuple[tuple[str, ...], int, int]
"""Channels [start, stop) of nodes."""

ScoreSegment: TypeAlias = tuple[str, int, int, int]
"""Attention, head, and stored tokens [first, last)."""

PartialSegment: TypeAlias = tuple[str, int, int, int, int]
"""Attention, channels [start, stop), and stored tokens [first, last)."""


class Chunk(Protocol):
    """Numbers of outputs other than 0 in each of n tokens and T time steps: every answer is (n, T)."""

    positions: IntArray
    """(n,)"""
    steps: int
    saturations: Mapping[str, int]

    def sent(self, sources: tuple[str, ...], start: int, stop: int) -> IntArray:
        """Count the channels [start, stop) in which at least one of the nodes sent something."""
        ...

    def scored(self, attention: str, head: int, first: int, last: int) -> IntArray:
        """Count the spikes of a head's score neurons of stored tokens [first, last)."""
        ...

    def mixed(self, attention: str, start: int, stop: int, first: int, last: int) -> IntArray:
        """Count the channels [start, stop) whose sum over stored tokens [first, last) is not 0."""
        ...


class ActivityChunk:
    """Answers from an activity; the answers that slices share are computed once."""

    def __init__(self, program: QuantizedProgram, activity: Activity, values: Mapping[str, SpikeArray]) -> None:
        """Prepare.

        Args:
            program: what was run.
            activity: of these tokens.
            values: by attention whose stored tokens are spread over slices: its value spikes since the sequence's
                first token, (stored tokens, T, channels).
        """
        self.program, self.activity, self.values = program, activity, values
        self.steps = program.steps_per_token
        self.positions: IntArray = activity.first_position + np.arange(len(activity.token_ids), dtype=np.int64)
        self.saturations: Mapping[str, int] = dict(activity.saturations)
        self._sent: dict[Segment, IntArray] = {}

    def sent(self, sources: tuple[str, ...], start: int, stop: int) -> IntArray:
        """See `Chunk`."""
        key = (sources, start, stop)
        if key not in self._sent:
            first, *others = (self.activity.outputs[source][:, :, start:stop] != 0 for source in sources)
            for other in others:
                first |= other
            self._sent[key] = np.count_nonzero(first, axis=2).astype(np.int64)
        return self._sent[key]

    def scored(self, attention: str, head: int, first: int, last: int) -> IntArray:
        """See `Chunk`."""
        spikes = self.activity.score_spikes[attention][:, :, head, first:last]
        counted: IntArray = np.count_nonzero(spikes, axis=2).astype(np.int64)
        return counted

    def mixed(self, attention: str, start: int, stop: int, first: int, last: int) -> IntArray:
        """See `Chunk`."""
        node = self.program.node(attention)
        assert isinstance(node, IntegerAttention)
        heads = np.arange(start, stop) // node.head_dim
        scores = self.activity.score_spikes[attention][:, :, heads, first:last].astype(np.float32)
        stored = self.values[attention][first:last, :, start:stop].astype(np.float32)
        sums = np.einsum("ntcj,jtc->ntc", scores, stored, optimize=True)
        counted: IntArray = np.count_nonzero(sums, axis=2).astype(np.int64)
        return counted


class Demands:
    """Notes what is asked of a chunk, in order and once each."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.positions: IntArray = np.zeros(0, np.int64)
        self.saturations: Mapping[str, int] = {}
        self.segments: dict[Segment, int] = {}
        self.scores: dict[ScoreSegment, int] = {}
        self.partials: dict[PartialSegment, int] = {}

    def sent(self, sources: tuple[str, ...], start: int, stop: int) -> IntArray:
        """See `Chunk`."""
        self.segments.setdefault((sources, start, stop), len(self.segments))
        return self._nothing()

    def scored(self, attention: str, head: int, first: int, last: int) -> IntArray:
        """See `Chunk`."""
        self.scores.setdefault((attention, head, first, last), len(self.scores))
        return self._nothing()

    def mixed(self, attention: str, start: int, stop: int, first: int, last: int) -> IntArray:
        """See `Chunk`."""
        self.partials.setdefault((attention, start, stop, first, last), len(self.partials))
        return self._nothing()

    def _nothing(self) -> IntArray:
        return np.zeros((0, self.steps), np.int64)


class CountedChunk:
    """Answers from numbers that were counted during the run."""

    def __init__(
        self, demands: Demands, positions: IntArray, counts: npt.NDArray[np.int32], saturations: Mapping[str, int]
    ) -> None:
        """Prepare.

        Args:
            demands: what was counted.
            positions: of the tokens, (n,).
            counts: (n, segments, scores and partials, T).
            saturations: of the run, by node.
        """
        self.demands, self.positions, self.steps, self.saturations = demands, positions, demands.steps, saturations
        self._counts = counts
        self._by_row: IntArray | None = None

    def sent(self, sources: tuple[str, ...], start: int, stop: int) -> IntArray:
        """See `Chunk`."""
        return self._counted(self.demands.segments[sources, start, stop])

    def scored(self, attention: str, head: int, first: int, last: int) -> IntArray:
        """See `Chunk`."""
        return self._counted(len(self.demands.segments) + self.demands.scores[attention, head, first, last])

    def mixed(self, attention: str, start: int, stop: int, first: int, last: int) -> IntArray:
        """See `Chunk`."""
        before = len(self.demands.segments) + len(self.demands.scores)
        return self._counted(before + self.demands.partials[attention, start, stop, first, last])

    def _counted(self, row: int) -> IntArray:
        if self._by_row is None:  # only once it is asked for: most chunks are joined first
            self._by_row = np.ascontiguousarray(self._counts.swapaxes(0, 1), np.int64)
        counted: IntArray = self._by_row[row]
        return counted

    @classmethod
    def joined(cls, chunks: Sequence[CountedChunk]) -> CountedChunk:
        """Return consecutive chunks as one."""
        first = chunks[0]
        saturations = {name: sum(chunk.saturations[name] for chunk in chunks) for name in first.saturations}
        counts = np.concatenate([chunk._counts for chunk in chunks])
        positions = np.concatenate([chunk.positions for chunk in chunks])
        return cls(first.demands, positions, counts, saturations)
