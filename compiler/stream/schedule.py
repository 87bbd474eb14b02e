"""When things happen on a clocked fabric, where every synaptic hop takes one time step (Lava, Loihi)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from bispik.models.errors import BispikError


class Arrival(Protocol):
    """A projection, as far as its time is concerned."""

    @property
    def source(self) -> str:
        """Name of the node whose output it takes."""
        ...

    @property
    def delay(self) -> int:
        """Steps that the output waits."""
        ...


class Receiver(Protocol):
    """A population, as far as its time is concerned."""

    @property
    def name(self) -> str:
        """Of the population."""
        ...

    @property
    def inputs(self) -> Iterable[Arrival]:
        """Its projections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Fabric steps by which each node lies behind the host's input, and by which each projection waits."""

    skew: Mapping[str, int]
    """By node: its output of logical step t is sent at fabric step t + skew; the input has 0."""
    waits: Mapping[tuple[str, int], int]
    """By population and index of its projection: steps beyond the one that every synapse takes."""


def schedule(input_name: str, populations: Iterable[Receiver]) -> Schedule:
    """Return the earliest schedule under which the fabric computes what the logical steps do.

    A projection with a delay of d logical steps from a node of skew a to one of skew b waits b + d - a - 1 steps, which
    must not be negative: skew(b) >= skew(a) + 1 - d. These are the longest paths of a graph; they exist if the delays
    on every loop are at least as long as the loop has hops.

    Raises:
        BispikError: naming the populations of a loop that is longer than its delays.
    """
    populations = list(populations)
    skew = {input_name: 0} | {population.name: 1 for population in populations}
    cause: dict[str, str] = {}
    changed = ""
    for _ in range(len(populations) + 1):
        changed = ""
        for population in populations:
            for arrival in population.inputs:
                earliest = skew[arrival.source] + 1 - arrival.delay
                if earliest > skew[population.name]:
                    skew[population.name], cause[population.name] = earliest, arrival.source
                    changed = population.name
        if not changed:
            break
    else:
        raise BispikError(_too_short(changed, cause))
    waits = {
        (population.name, index): skew[population.name] + arrival.delay - skew[arrival.source] - 1
        for population in populations
        for index, arrival in enumerate(population.inputs)
    }
    return Schedule(skew=skew, waits=waits)


def _too_short(start: str, cause: Mapping[str, str]) -> str:
    """Walk back along what pushed each skew until a population comes twice: that is the loop."""
    path = [start]
    while path.count(path[-1]) < 2:
        path.append(cause[path[-1]])
    loop = path[path.index(path[-1]) :][::-1]
    return (
        f"{' -> '.join(loop)}: this loop has {len(loop) - 1} synaptic hops, each of which takes a time step on the "
        "chip, but its delays are shorter; give it Delay nodes, or leave out a population on it"
    )
