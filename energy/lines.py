"""The lines of an account: one kind of event at one place, its count, what pays for it, and its joules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from bispik.backends.counts import HOST_OPERATIONS, EventCounts
from bispik.energy.pricing import HOST_CONSTANTS, POWERS, Priced
from bispik.energy.profiles import Profile
from bispik.energy.ranges import Range

Scope: TypeAlias = Literal["dynamic", "static", "host"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyLine:
    """Energy of one kind of event at one place."""

    scope: Scope
    node: str
    """Population, join, norm, attention or readout; ``host`` and ``chips`` for what happens nowhere in the network."""
    event: str
    count: int
    constant: str
    """Of the profile; it has the source and the grade."""
    energy: Range
    """Joules, over the whole run."""

    @property
    def layer(self) -> str:
        """The node's block, or the node itself outside of blocks."""
        return self.node.partition("/")[0]


def dynamic_lines(counts: EventCounts, profile: Profile, priced: Sequence[Priced]) -> Iterator[EnergyLine]:
    """Yield a line for every node and event that happened there."""
    names = tuple(dict.fromkeys(counts.node))
    place = {name: index for index, name in enumerate(names)}
    node_of_slice = np.array([place[name] for name in counts.node], np.int64)
    for item in priced:
        by_node = np.zeros(len(names), np.int64)
        np.add.at(by_node, node_of_slice, item.by_slice)
        for name, count in zip(names, by_node.tolist(), strict=True):
            if count:
                yield _line("dynamic", name, item.event, count, item.constant, profile[item.constant] * count)


def static_lines(chips: int, profile: Profile, seconds: Range) -> Iterator[EnergyLine]:
    """Yield what flows for so many seconds whether or not anything spikes; a line's count is the number of chips."""
    for power in POWERS:
        yield _line("static", "chips", power, chips, power, profile[power] * seconds * chips)
    yield _line("static", "host", "host_power", 1, "host_power", profile["host_power"] * seconds)


def host_lines(counts: EventCounts, profile: Profile) -> Iterator[EnergyLine]:
    """Yield a line for every host operation of the run."""
    for operation in HOST_OPERATIONS:
        constant, count = HOST_CONSTANTS[operation], counts.host[operation]
        if count:
            yield _line("host", "host", operation, count, constant, profile[constant] * count)


def _line(scope: Scope, node: str, event: str, count: int, constant: str, energy: Range) -> EnergyLine:
    return EnergyLine(scope=scope, node=node, event=event, count=count, constant=constant, energy=energy)
