"""The lines of an account: one kind of event at one place, its count, what pays for it, and its joules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from bispik.backends.counts import IntArray
from bispik.energy.pricing import POWERS, Priced
from bispik.energy.profiles import Profile
from bispik.energy.ranges import Range, total

HostName = TypeVar("HostName", bound=str)

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


class Accounted(Protocol):
    """An account, of whatever ran."""

    @property
    def profile(self) -> Profile:
        """What paid for it."""
        ...

    @property
    def lines(self) -> tuple[EnergyLine, ...]:
        """Its lines."""
        ...


def dynamic_lines(node: Sequence[str], profile: Profile, priced: Sequence[Priced]) -> Iterator[EnergyLine]:
    """Yield a line for every node and event that happened there; ``node`` is that of each slice."""
    names = tuple(dict.fromkeys(node))
    place = {name: index for index, name in enumerate(names)}
    node_of_slice = np.array([place[name] for name in node], np.int64)
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


def host_lines(
    counts: Mapping[HostName, int], constants: Mapping[HostName, str], profile: Profile
) -> Iterator[EnergyLine]:
    """Yield a line for every host operation of the run, each with the constant that pays for it."""
    for operation, constant in constants.items():
        if count := counts[operation]:
            yield _line("host", "host", operation, count, constant, profile[constant] * count)


def neurocore_joules(
    neurocore: IntArray, neurocores: int, profile: Profile, priced: Sequence[Priced]
) -> npt.NDArray[np.float64]:
    """Return the dynamic energy of each neurocore, low, default and high, (neurocores, 3)."""
    joules = np.zeros((neurocores, 3))
    for item in priced:
        energy = profile[item.constant]
        np.add.at(joules, neurocore, np.outer(item.by_slice, [energy.low, energy.default, energy.high]))
    return joules


def joules_over_time(
    lines: Sequence[EnergyLine], profile: Profile, priced: Sequence[Priced], seconds: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the default energy of each token or step of ``seconds``.

    Its own events, of the static energy a share by its duration, of the host's an equal share.
    """
    joules = np.zeros(len(seconds))
    for item in priced:
        joules += item.over_time * profile[item.constant].default
    static = total(line.energy for line in lines if line.scope == "static").default
    host = total(line.energy for line in lines if line.scope == "host").default
    duration = float(seconds.sum())
    if duration:
        joules += seconds * (static / duration)
    return joules + host / len(seconds)


def _line(scope: Scope, node: str, event: str, count: int, constant: str, energy: Range) -> EnergyLine:
    return EnergyLine(scope=scope, node=node, event=event, count=count, constant=constant, energy=energy)
