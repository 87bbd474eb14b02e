"""The numbers that events are sums of: those that are counted, and those that follow from them in every step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from bispik.backends.counts.events import IntArray
from bispik.backends.counts.linear import LinearSums

Kind: TypeAlias = Literal["sent", "scored", "mixed", "reached", "alone", "score_synops", "asked", "answered", "written"]
"""``sent``, ``scored`` and ``mixed`` are counted, see `bispik.backends.counts.chunk`; the others are `Derived`."""

KINDS: tuple[Kind, ...] = get_args(Kind)

Number: TypeAlias = tuple[Kind, int]
"""A number by its place among those of its kind."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Derived:
    """What follows from counted numbers in the same step; each kind in its order, and after the counted ones.

    - ``reached``: 1 if at least one of some counted numbers is not 0: something arrives at a matrix, and so at all
      rows;
    - ``alone``: a counted number where another, that of a ``reached``, is 0, else 0;
    - for every head of an attention and every range of stored tokens that a slice has of it, with so many tokens of the
      range stored by now: ``score_synops``: query spikes * stored; ``asked``: stored, if the query spiked at all;
      ``answered``: 1 if a score neuron spiked; ``written``: 1 if the current token belongs to the range.
    """

    reached: LinearSums
    alone: IntArray
    """(alone,): rows of the counted numbers."""
    alone_of: IntArray
    """(alone,): their places among ``reached``."""
    queries: IntArray
    """(heads,): rows of the heads' query spikes."""
    scores: IntArray
    """(heads,): rows of their score spikes."""
    first: IntArray
    """(heads,): stored tokens [first, last)."""
    last: IntArray

    def all(self, counted: npt.NDArray[np.int64 | np.int32], positions: IntArray) -> IntArray:
        """Return counted and derived numbers, (rows, T, n), of counted ones and the tokens' positions (n,)."""
        sizes = [len(counted), len(self.reached.keys), len(self.alone), *[len(self.queries)] * 4]
        bounds = np.cumsum([0, *sizes]).tolist()
        numbers = np.empty((bounds[-1], *counted.shape[1:]), np.int64)
        copied, reached, alone, score_synops, asked, answered, written = (
            numbers[start:stop] for start, stop in pairwise(bounds)
        )
        copied[:] = counted
        reached[self.reached.keys] = self.reached.of(copied) > 0
        alone[:] = copied[self.alone] * (1 - reached[self.alone_of])
        queries, first, last = copied[self.queries], self.first[:, None], self.last[:, None]
        stored = (np.clip(positions + 1, first, last) - first)[:, None]
        score_synops[:] = queries * stored
        asked[:] = (queries > 0) * stored
        answered[:] = copied[self.scores] > 0
        written[:] = ((first <= positions) & (positions < last))[:, None]
        return numbers
