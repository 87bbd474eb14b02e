"""The numbers that events are made of: outputs other than 0, by token and time step.

Counting says once which it needs (`Demands`); they come from a recorded activity (`recorded`), or from the simulator,
which counts them while it runs (`CountedChunk`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import Activity
from bispik.backends.counts.by_slice import IntArray
from bispik.compiler.mapping import FanInPart
from bispik.compiler.program import IntegerAttention, IntegerPopulation, IntegerReadout, QuantizedProgram

SpikeArray: TypeAlias = npt.NDArray[np.int8]

Sent: TypeAlias = tuple[tuple[str, ...], int, int]
"""Channels [start, stop) in which at least one of the nodes sent something."""

Scored: TypeAlias = tuple[str, int, int, int]
"""Spikes of an attention's score neurons: head, and stored tokens [first, last)."""

Mixed: TypeAlias = tuple[str, int, int, int, int]
"""Channels [start, stop) of an attention whose sum over stored tokens [first, last) is not 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Demands:
    """What is counted; a number's row is its place among all: sent, then scored, then mixed."""

    sent: tuple[Sent, ...]
    scored: tuple[Scored, ...]
    mixed: tuple[Mixed, ...]

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.sent) + len(self.scored) + len(self.mixed)


def recorded(
    program: QuantizedProgram,
    activity: Activity,
    values: Mapping[str, SpikeArray],
    demands: Demands,
    parts: Sequence[FanInPart] = (),
) -> IntArray:
    """Count in a recorded activity, (rows, T, n).

    Args:
        program: what was run.
        activity: of n tokens.
        values: by attention whose stored tokens are spread over slices: its value spikes since the sequence's first
            token, (stored tokens, T, channels).
        demands: what to count.
        parts: of what rows read; they send too.
    """
    sums = {part.name: partial_sums(program, activity, part) for part in parts}
    outputs: dict[str, npt.NDArray[Any]] = {**activity.outputs, **sums}
    table = np.empty((demands.size, program.steps_per_token, len(activity.token_ids)), np.int64)
    for row, (sources, start, stop) in enumerate(demands.sent):
        first, *others = (outputs[source][:, :, start:stop] != 0 for source in sources)
        for other in others:
            first |= other
        table[row] = np.count_nonzero(first, axis=2).T
    for row, (attention, head, first_token, last_token) in enumerate(demands.scored, start=len(demands.sent)):
        spikes = activity.score_spikes[attention][:, :, head, first_token:last_token]
        table[row] = np.count_nonzero(spikes, axis=2).T
    for row, wanted in enumerate(demands.mixed, start=len(demands.sent) + len(demands.scored)):
        table[row] = _mixed(program, activity, values, wanted).T
    return table


def partial_sums(program: QuantizedProgram, activity: Activity, part: FanInPart) -> npt.NDArray[np.float64]:
    """Return what a part of what rows read sends, (n, T, size): whole numbers, which a float64 holds exactly."""
    node = program.node(part.node)
    assert isinstance(node, IntegerPopulation | IntegerReadout)
    weight = node.weight if isinstance(node, IntegerReadout) else node.inputs[part.index].weight
    assert weight is not None
    arriving = activity.outputs[part.source][:, :, part.start : part.stop].astype(np.float64)
    sums: npt.NDArray[np.float64] = arriving @ weight[:, part.start : part.stop].T.astype(np.float64)
    return sums


def _mixed(
    program: QuantizedProgram, activity: Activity, values: Mapping[str, SpikeArray], wanted: Mixed
) -> npt.NDArray[np.intp]:
    attention, start, stop, first, last = wanted
    node = program.node(attention)
    assert isinstance(node, IntegerAttention)
    heads = np.arange(start, stop) // node.head_dim
    scores = activity.score_spikes[attention][:, :, heads, first:last].astype(np.float32)
    stored = values[attention][first:last, :, start:stop].astype(np.float32)
    counted: npt.NDArray[np.intp] = np.count_nonzero(np.einsum("ntcj,jtc->ntc", scores, stored, optimize=True), axis=2)
    return counted


class CountedChunk:
    """Numbers of consecutive tokens that were counted during the run."""

    def __init__(self, positions: IntArray, counts: npt.NDArray[np.int32], saturations: Mapping[str, int]) -> None:
        """Keep them.

        Args:
            positions: of the tokens, (n,).
            counts: (n, rows, T).
            saturations: of the run, by node.
        """
        self.positions, self.counts, self.saturations = positions, counts, saturations

    @classmethod
    def joined(cls, chunks: Sequence[CountedChunk]) -> CountedChunk:
        """Return consecutive chunks as one."""
        saturations = dict(chunks[0].saturations)
        for chunk in chunks[1:]:
            if any(chunk.saturations.values()):
                saturations = {name: count + chunk.saturations[name] for name, count in saturations.items()}
        counts = np.concatenate([chunk.counts for chunk in chunks])
        return cls(np.concatenate([chunk.positions for chunk in chunks]), counts, saturations)

    def table(self) -> npt.NDArray[np.int32]:
        """Return the numbers as (rows, T, n)."""
        return self.counts.transpose(1, 2, 0)
