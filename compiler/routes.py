"""Who sends to whom: one message per spike (or graded spike other than 0) and neurocore that reads it.

A neurocore that reads an output in several slices gets one message, and a neurocore may send to itself. Where a head's
stored tokens are spread over several neurocores, each gets queries, keys and values (routes are fixed, so a neurocore
that does not store the current token drops its key and value), and each sends its own partial output if that is not 0.
What the host writes and reads passes no mesh and is not listed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.mapping import Mapped, Slice
from bispik.compiler.mesh import Distance, IntArray, Places, distance

FloatArray = npt.NDArray[np.float64]

ASSUMED_RATE = 0.2
"""Spikes per neuron and step of a population whose rate is not given: trained networks of ours lie at 0.18 to 0.26."""

ASSUMED_GRADED_RATE = 0.5
"""Share of outputs of a join or an attention that are not 0, where it is not given."""

NORM_RATE = 1.0
"""Of a norm, whatever is given: its outputs have either sign, so their mean says nothing of how many are 0. Of
a part of what rows read too: sums of many weights are hardly ever 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Multicasts:
    """n ranges of outputs, each of one slice and with one set of m_i destinations; m = sum of m_i."""

    nodes: tuple[str, ...]
    """(n,): the node that sends."""
    kinds: tuple[str, ...]
    """(n,): its `mapping.SliceKind`."""
    start: IntArray
    """(n,): outputs [start, stop) of the node."""
    stop: IntArray
    first_token: IntArray
    """(n,): attention: the partial sums over stored tokens [first_token, last_token)."""
    last_token: IntArray
    source: IntArray
    """(n,): index of the sending neurocore."""
    offsets: IntArray
    """(n + 1,): destinations of range i are [offsets[i], offsets[i + 1]) of ``destination``."""
    destination: IntArray
    """(m,): index of a receiving neurocore."""

    @property
    def fan_out(self) -> IntArray:
        """(n,): messages that one spike makes."""
        return np.diff(self.offsets)

    @property
    def sender(self) -> IntArray:
        """(m,): index of the neurocore that sends to each of ``destination``."""
        return np.repeat(self.source, self.fan_out)

    def per_range(self, values: IntArray) -> IntArray:
        """Sum values per destination (m,) over the destinations of each range (n,)."""
        sums = np.concatenate(([0], np.cumsum(values)))
        result: IntArray = sums[self.offsets[1:]] - sums[self.offsets[:-1]]
        return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Routes:
    """Multicasts, and how far each message travels."""

    multicasts: Multicasts
    distance: Distance
    """(m,)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Expected per time step."""

    messages: float
    hops: float
    crossings: float
    """Links between chips that messages pass."""


def routes(mapped: Mapped) -> Routes:
    """Return every multicast of a mapped program with the distances to its destinations."""
    multicasts = find_multicasts([core.slices for core in mapped.neurocores])
    places = places_of(mapped)
    ways = distance(mapped.target, mapped.system, places[multicasts.sender], places[multicasts.destination])
    return Routes(multicasts=multicasts, distance=ways)


def places_of(mapped: Mapped) -> Places:
    """Return where the neurocores lie, (neurocores,)."""
    return Places(
        chip=np.array([core.chip for core in mapped.neurocores]),
        x=np.array([core.x for core in mapped.neurocores]),
        y=np.array([core.y for core in mapped.neurocores]),
    )


def find_multicasts(neurocores: Sequence[Sequence[Slice]]) -> Multicasts:
    """Return the multicasts between slices, wherever the neurocores lie."""
    placed = [(index, part) for index, slices in enumerate(neurocores) for part in slices]
    readers = _readers(placed)
    senders: list[tuple[int, Slice, int, int]] = []
    destinations: list[IntArray] = []
    for index, part in placed:
        for start, stop, reading in readers.get(part.node, ()):
            if start < part.stop and stop > part.start:
                senders.append((index, part, max(start, part.start), min(stop, part.stop)))
                destinations.append(reading)
    return Multicasts(
        nodes=tuple(part.node for _, part, _, _ in senders),
        kinds=tuple(part.kind for _, part, _, _ in senders),
        start=_integers(start for _, _, start, _ in senders),
        stop=_integers(stop for _, _, _, stop in senders),
        first_token=_integers(part.first_token for _, part, _, _ in senders),
        last_token=_integers(part.last_token for _, part, _, _ in senders),
        source=_integers(index for index, _, _, _ in senders),
        offsets=np.concatenate(([0], np.cumsum(_integers(len(reading) for reading in destinations)))),
        destination=np.concatenate([np.empty(0, np.int64), *destinations]),
    )


def messages_per_step(multicasts: Multicasts, rates: Mapping[str, float]) -> FloatArray:
    """Return the expected messages per step from each range to each of its destinations, (n,).

    ``rates`` holds by node the mean output per step; for graded nodes it bounds the share of outputs that are not 0,
    and no output makes more than one message. A node that is not listed has `ASSUMED_RATE` or `ASSUMED_GRADED_RATE`,
    a norm and a part of what rows read always `NORM_RATE`.
    """
    assumed = {"population": ASSUMED_RATE}
    rate = [
        NORM_RATE
        if kind in ("norm", "partial")
        else min(1.0, abs(rates.get(node, assumed.get(kind, ASSUMED_GRADED_RATE))))
        for node, kind in zip(multicasts.nodes, multicasts.kinds, strict=True)
    ]
    return np.array(rate, np.float64) * (multicasts.stop - multicasts.start).astype(np.float64)


def expected_traffic(found: Routes, rates: Mapping[str, float]) -> Traffic:
    """Return messages, hops and crossings per time step at the given firing rates."""
    messages = messages_per_step(found.multicasts, rates)
    hops = found.multicasts.per_range(found.distance.x_hops + found.distance.y_hops)
    crossings = found.multicasts.per_range(found.distance.crossings)
    return Traffic(
        messages=float(messages @ found.multicasts.fan_out),
        hops=float(messages @ hops),
        crossings=float(messages @ crossings),
    )


def _readers(placed: Sequence[tuple[int, Slice]]) -> dict[str, list[tuple[int, int, IntArray]]]:
    """Return by source node the ranges of its outputs that have one set of readers, and that set."""
    reads: dict[str, list[tuple[int, int, int]]] = {}
    for index, part in placed:
        for entry in part.inputs:
            reads.setdefault(entry.source, []).append((entry.start, entry.stop, index))
    return {source: list(_uniform_ranges(np.array(entries))) for source, entries in reads.items()}


def _uniform_ranges(reads: IntArray) -> Iterator[tuple[int, int, IntArray]]:
    starts, stops, indices = reads.T
    bounds = np.unique(reads[:, :2])
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        reading = np.unique(indices[(starts <= start) & (stops >= stop)])
        if len(reading):
            yield start, stop, reading


def _integers(values: Iterable[int]) -> IntArray:
    return np.fromiter(values, np.int64)
