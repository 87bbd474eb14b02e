"""Local search over places: neurocores swap, or move to a free place, while that shortens the ways of messages."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bispik.compiler.mesh import IntArray

FloatArray = npt.NDArray[np.float64]

CANDIDATES = 6
"""Routers tried per neurocore and sweep: those that would bring it nearest to its partners."""

SWEEPS = 20
"""At most so many rounds over all neurocores."""

WORTHWHILE = 5e-3
"""A sweep that shortens ways by no more than this share is the last."""

SMALL = 256
"""Up to so many neurocores there are `STARTS` descents in different orders, of which the best is taken."""

STARTS = 8

RESOLUTION = 1024
"""Messages per step are rounded to 1/1024: their sums are then exact, and every machine finds the same places."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Links:
    """Undirected messages per step between neurocores: partners of i are [offsets[i], offsets[i + 1])."""

    offsets: IntArray
    partner: IntArray
    weight: FloatArray

    def of(self, index: int) -> tuple[IntArray, FloatArray]:
        """Return the partners of a neurocore and the messages that they exchange with it."""
        found = slice(self.offsets[index], self.offsets[index + 1])
        return self.partner[found], self.weight[found]


def links_between(count: int, source: IntArray, destination: IntArray, messages: FloatArray) -> Links:
    """Return the links among ``count`` neurocores, from messages per step by (source, destination)."""
    apart = source != destination
    source, destination = source[apart], destination[apart]
    messages = np.rint(messages[apart] * RESOLUTION) / RESOLUTION
    keys = np.concatenate([source * count + destination, destination * count + source])
    pairs, inverse = np.unique(keys, return_inverse=True)
    weight = np.zeros(len(pairs))
    np.add.at(weight, inverse, np.tile(messages, 2))
    offsets = np.searchsorted(pairs // count, np.arange(count + 1))
    return Links(offsets=offsets, partner=pairs % count, weight=weight)


def total_way(links: Links, x: IntArray, y: IntArray) -> float:
    """Messages times Manhattan distance, for neurocores at (x, y)."""
    source = np.repeat(np.arange(len(x)), np.diff(links.offsets))
    ways = np.abs(x[source] - x[links.partner]) + np.abs(y[source] - y[links.partner])
    return float(links.weight @ ways) / 2


def refined(links: Links, x: IntArray, y: IntArray, *, seed: int) -> IntArray:
    """Return a place for each neurocore such that messages have short ways; the same for the same seed.

    Args:
        links: messages between neurocores, (n,).
        x: coordinate of each place, (p,), p >= n; ways are Manhattan distances between these coordinates.
        y: the other coordinate, (p,).
        seed: order in which neurocores get their turn.
    """
    starts = STARTS if len(links.offsets) - 1 <= SMALL else 1
    results = [_descended(links, x, y, random) for random in np.random.default_rng(seed).spawn(starts)]
    return min(results, key=lambda place: total_way(links, x[place], y[place]))


def _descended(links: Links, x: IntArray, y: IntArray, random: np.random.Generator) -> IntArray:
    """Sweep over all neurocores until that is not worth while; neurocore i starts on place i."""
    board = _Board(links, x, y)
    way = total_way(links, x[board.place], y[board.place])
    for _ in range(SWEEPS):
        gained = sum(board.improve(int(index)) for index in random.permutation(len(board.place)))
        way -= gained
        if gained <= WORTHWHILE * way:
            break
    return board.place


class _Board:
    """Neurocores on places. Places at the same coordinates make up a cell: the neurocores of one router."""

    def __init__(self, links: Links, x: IntArray, y: IntArray) -> None:
        count = len(links.offsets) - 1
        self.links, self.x, self.y = links, x, y
        self.place = np.arange(count)
        self.occupant = np.full(len(x), -1)
        self.occupant[:count] = self.place
        self.columns, self.column = np.unique(x, return_inverse=True)
        self.rows, self.row = np.unique(y, return_inverse=True)
        cell = self.column * len(self.rows) + self.row
        self.exists = np.zeros(len(self.columns) * len(self.rows), np.bool_)
        self.exists[cell] = True
        order = np.argsort(cell, kind="stable")
        starts = np.searchsorted(cell[order], np.arange(len(self.exists) + 1))
        self.places_of = [order[a:b].tolist() for a, b in pairwise(starts.tolist())]

    def improve(self, index: int) -> float:
        """Move a neurocore to the best of the places that are nearer to its partners; return what that gains."""
        here = int(self.place[index])
        gains = self._gains(index, here)
        nearer = np.flatnonzero(gains > 0)
        nearest = nearer[np.argsort(-gains[nearer], kind="stable")[:CANDIDATES]]
        best, target = 0.0, here
        for cell in nearest.tolist():
            for there in self.places_of[cell]:
                gain = gains[cell] - self._loss(index, int(self.occupant[there]), here, there)
                if gain > best:
                    best, target = float(gain), there
        if target != here:
            self._swap(index, int(self.occupant[target]), here, target)
        return best

    def _gains(self, index: int, here: int) -> FloatArray:
        """Return by cell how much shorter the neurocore's ways would be from there, if nothing else moved."""
        partners, weight = self.links.of(index)
        places = self.place[partners]
        across = np.abs(self.columns[:, None] - self.x[places]) @ weight
        along = np.abs(self.rows[:, None] - self.y[places]) @ weight
        now = across[self.column[here]] + along[self.row[here]]
        gains = (now - across[:, None] - along).ravel()
        return np.where(self.exists, gains, -np.inf)

    def _loss(self, index: int, other: int, here: int, there: int) -> float:
        """Return how much longer the ways of the neurocore that has to make room become."""
        if other < 0:
            return 0.0
        partners, weight = self.links.of(other)
        places = self.place[partners]
        x, y = self.x[places], self.y[places]
        new = np.abs(self.x[here] - x) + np.abs(self.y[here] - y)
        old = np.abs(self.x[there] - x) + np.abs(self.y[there] - y)
        # Both gains count the way between the two as if it vanished; after the swap it is what it was.
        mutual = weight[partners == index].sum() * (
            abs(self.x[here] - self.x[there]) + abs(self.y[here] - self.y[there])
        )
        return float((new - old) @ weight + 2 * mutual)

    def _swap(self, index: int, other: int, here: int, there: int) -> None:
        self.place[index], self.occupant[there], self.occupant[here] = there, index, other
        if other >= 0:
            self.place[other] = here
