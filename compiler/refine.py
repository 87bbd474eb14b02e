"""Annealing over places: neurocores swap, or move to a free place, in the end only where that shortens messages' ways.

At first they also do where ways become a little longer, which leads out of arrangements that no single swap improves.
Many moves are tried at once, each judged as if it were the only one. Where two of them meet, the change is not quite
the sum of both: that acts as a somewhat higher temperature would, and the best places of all rounds are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.mesh import IntArray

FloatArray = npt.NDArray[np.float64]

MOVES, MOVES_IN_ALL, FEWEST_MOVES = 400, 1_000_000, 60
"""Moves tried per neurocore: so many, fewer where that is more than so many in all, but never fewer than these."""

WAYS = 40_000
"""Ways measured per neurocore, one per partner of each neurocore of a move. Where all talk to all, no order of them
is much better than another."""

SMALL = 256
"""Up to so many neurocores the best of `STARTS` runs is taken."""

STARTS = 3

ROUNDS = 40
"""In which temperature and reach fall."""

HOT, COLD = 0.1, 1e-3
"""Temperature of the first and of the last round, over the mean way of a neurocore's messages at the start."""

NEAR = 0.75
"""Share of the rounds after which neurocores only move to neighbouring routers; at first they move anywhere."""

AT_ONCE, FEWEST_AT_ONCE = 1 / 16, 32
"""Moves judged together, per neurocore; on small boards more, but no more than a third."""

RESOLUTION = 1024
"""Messages per step are rounded to 1/1024: their sums are then exact, and every machine finds the same places."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Links:
    """Undirected messages per step between neurocores: partners of i are [offsets[i], offsets[i + 1])."""

    offsets: IntArray
    partner: IntArray
    weight: FloatArray


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
        seed: of the moves that are tried. Neurocore i starts on place i.
    """
    starts = STARTS if len(links.offsets) - 1 <= SMALL else 1
    results = [_annealed(links, x, y, random) for random in np.random.default_rng(seed).spawn(starts)]
    return min(results, key=lambda place: total_way(links, x[place], y[place]))


def _annealed(links: Links, x: IntArray, y: IntArray, random: np.random.Generator) -> IntArray:
    board = _Board(links, x, y)
    count, widest = len(board.place), max(board.columns, board.rows)
    best = total_way(links, x[board.place], y[board.place])
    found, hot, each = board.place.copy(), HOT * 2 * best / max(1, count), _moves(count, len(links.partner))
    at_once = max(1, min(max(FEWEST_AT_ONCE, int(count * AT_ONCE)), count // 3))
    batches = -(-count * each // (at_once * ROUNDS))
    for number in range(ROUNDS):
        if best == 0:  # all that talk share a router
            break
        share = number / (ROUNDS - 1)
        temperature = hot * (COLD / HOT) ** share
        reach = max(1, round(widest ** (1 - min(1.0, share / NEAR))))
        for _ in range(batches):
            board.move(random, at_once, reach, temperature)
        way = total_way(links, x[board.place], y[board.place])
        if way < best:
            best, found = way, board.place.copy()
    return found


def _moves(count: int, partners: int) -> int:
    """Return how many moves are tried per neurocore; a handful of neurocores has few orders to try.

    Args:
        count: neurocores.
        partners: of all of them.
    """
    moves = min(MOVES, 6 * count, max(FEWEST_MOVES, MOVES_IN_ALL // max(1, count)))
    return max(1, min(moves, WAYS * count // max(1, 2 * partners)))


class _Board:
    """Neurocores on places. Places at the same coordinates make up a cell: the neurocores of one router."""

    def __init__(self, links: Links, x: IntArray, y: IntArray) -> None:
        count = len(links.offsets) - 1
        self.links, self.x, self.y = links, x.astype(np.float64), y.astype(np.float64)
        self.partners: IntArray = np.diff(links.offsets)
        self.place = np.arange(count)
        self.occupant = np.full(len(x), -1)
        self.occupant[:count] = self.place
        columns, self.column = np.unique(x, return_inverse=True)
        rows, self.row = np.unique(y, return_inverse=True)
        self.columns, self.rows = len(columns), len(rows)
        self.cell = self.column * self.rows + self.row
        sizes = np.bincount(self.cell, minlength=self.columns * self.rows)
        order = np.argsort(self.cell, kind="stable")
        slot = np.arange(len(x)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        self.places_of = np.full((len(sizes), int(sizes.max(initial=1))), -1)
        """Places of each cell, -1 behind the last."""
        self.places_of[self.cell[order], slot] = order
        self.claimed_by = np.empty(len(x), np.int64)

    def move(self, random: np.random.Generator, count: int, reach: int, temperature: float) -> None:
        """Try ``count`` moves to cells that lie no more than ``reach`` columns and rows away."""
        index = random.integers(0, len(self.place), count)
        here, there = self.place[index], self._near(random, self.place[index], reach)
        patience = temperature * random.standard_exponential(count)
        chosen = self._apart(here, there)
        index, here, there, patience = index[chosen], here[chosen], there[chosen], patience[chosen]
        other = self.occupant[there]
        taken = np.flatnonzero(other >= 0)
        longer = self._longer(
            np.concatenate([index, other[taken]]),
            np.concatenate([other, index[taken]]),
            np.concatenate([here, there[taken]]),
            np.concatenate([there, here[taken]]),
        )
        change = longer[: len(index)]
        change[taken] += longer[len(index) :]
        made = change < patience
        index, other, here, there = index[made], other[made], here[made], there[made]
        self.place[index], self.occupant[there], self.occupant[here] = there, index, other
        swapped = other >= 0
        self.place[other[swapped]] = here[swapped]

    def _near(self, random: np.random.Generator, here: IntArray, reach: int) -> IntArray:
        """Return a place near each of ``here``, -1 where there is none."""
        column = self.column[here] + random.integers(-reach, reach + 1, len(here))
        row = self.row[here] + random.integers(-reach, reach + 1, len(here))
        slot = random.integers(0, self.places_of.shape[1], len(here))
        inside = (column >= 0) & (column < self.columns) & (row >= 0) & (row < self.rows)
        there: IntArray = np.where(inside, self.places_of[np.where(inside, column * self.rows + row, 0), slot], -1)
        return there

    def _apart(self, here: IntArray, there: IntArray) -> IntArray:
        """Return which moves lead to another cell, of those that meet at a place only the one that claims it."""
        moves = np.flatnonzero((there >= 0) & (self.cell[here] != self.cell[there]))
        here, there, number = here[moves], there[moves], np.arange(len(moves))
        self.claimed_by[here] = number
        self.claimed_by[there] = number
        alone: IntArray = moves[(self.claimed_by[here] == number) & (self.claimed_by[there] == number)]
        return alone

    def _longer(self, index: IntArray, other: IntArray, here: IntArray, there: IntArray) -> FloatArray:
        """Return how much longer the ways of each neurocore become if it goes from one place to another.

        The way to ``other``, with which it swaps, stays what it is; all others stay where they are.
        """
        partners = self.partners[index]
        ends = np.cumsum(partners)
        entry = np.repeat(self.links.offsets[index] - ends + partners, partners) + np.arange(
            ends[-1] if len(ends) else 0
        )
        partner = self.links.partner[entry]
        place = self.place[partner]
        longer = np.zeros(len(entry))
        for coordinate in (self.x, self.y):
            at = coordinate[place]
            longer += np.abs(np.repeat(coordinate[there], partners) - at)
            longer -= np.abs(np.repeat(coordinate[here], partners) - at)
        longer *= self.links.weight[entry]
        longer[partner == np.repeat(other, partners)] = 0
        sums = np.concatenate([[0.0], np.cumsum(longer)])
        change: FloatArray = sums[ends] - sums[ends - partners]
        return change
