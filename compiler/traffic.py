"""Messages between neurocores: how far they travel, which links carry most, and what other placements would do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.compiler.mapping import Mapped
from bispik.compiler.mesh import IntArray, Places, distance, usable_places
from bispik.compiler.mesh_links import Grid
from bispik.compiler.routes import places_of

FloatArray: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flows:
    """Messages per time step from neurocore to neurocore, (m,) each."""

    sender: IntArray
    destination: IntArray
    messages: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """What messages pass in one time step."""

    messages: float
    inter_chip: float
    """Messages that leave their chip."""
    hops: float
    """Links between routers of one chip."""
    crossings: float
    """Links between chips."""

    @property
    def links(self) -> float:
        """Links of either kind: the Manhattan distance of routers, weighted by messages."""
        return self.hops + self.crossings

    def against(self, other: Ways) -> float | None:
        """Return the links that messages pass over those of another placement; None if they pass none there."""
        return self.links / other.links if other.links else None

    def to_dict(self) -> dict[str, float]:
        """Return plain values for JSON."""
        return {
            "messages_per_step": self.messages,
            "inter_chip_messages_per_step": self.inter_chip,
            "hops_per_step": self.hops,
            "chip_crossings_per_step": self.crossings,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A placement beside two that look at no traffic, on the same chips and with the same messages."""

    placed: Ways
    random: Ways
    """Mean over all orders."""
    sequential: Ways
    """In the order of the network: chip by chip in the order of their numbers, row by row on each."""


def ways(mapped: Mapped, places: Places, flows: Flows) -> Ways:
    """Return what messages pass if the neurocores of a mapping lie at ``places``."""
    found = distance(mapped.target, mapped.system, places[flows.sender], places[flows.destination])
    return Ways(
        messages=float(flows.messages.sum()),
        inter_chip=float(flows.messages @ found.inter_chip),
        hops=float(flows.messages @ (found.x_hops + found.y_hops)),
        crossings=float(flows.messages @ found.crossings),
    )


def compare(mapped: Mapped, flows: Flows) -> Comparison:
    """Return a placement beside others of the same neurocores."""
    count = len(mapped.neurocores)
    places = usable_places(mapped.target, mapped.system, mapped.target.chips(count))
    by_row = np.lexsort((places.x, places.y, places.chip))
    return Comparison(
        placed=ways(mapped, places_of(mapped), flows),
        random=_expected(mapped, places, flows),
        sequential=ways(mapped, places[by_row[:count]], flows),
    )


def _expected(mapped: Mapped, places: Places, flows: Flows) -> Ways:
    """Return the mean over all orders of neurocores on the places: any two of them are equally likely."""
    grid = Grid.of(mapped.target, mapped.system)
    x, y = grid.routers(places)
    crossings = _mean_distance(x // grid.chip_columns) + _mean_distance(y // grid.chip_rows)
    on_chip, pairs = np.bincount(places.chip), len(x) * (len(x) - 1)
    inter_chip = 1 - float((on_chip * (on_chip - 1)).sum()) / pairs if pairs else 0.0
    apart = float(flows.messages[flows.sender != flows.destination].sum())
    return Ways(
        messages=float(flows.messages.sum()),
        inter_chip=apart * inter_chip,
        hops=apart * (_mean_distance(x) + _mean_distance(y) - crossings),
        crossings=apart * crossings,
    )


def _mean_distance(values: IntArray) -> float:
    """Return the mean of |a - b| over all pairs of different entries."""
    ordered, count = np.sort(values), len(values)
    ranks = (
        2 * np.arange(count) - count + 1
    )  # how often an entry is the larger one of a pair, less how often the smaller
    return float(2 * (ranks @ ordered)) / (count * (count - 1)) if count > 1 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyLink:
    """The link of its kind that carries most messages."""

    where: str
    messages: float
    """Per time step."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeshTraffic:
    """What passes the mesh in one time step, on average over a run."""

    comparison: Comparison
    grid: Grid
    loads: FloatArray
    """(links,): messages over each link, numbered as `mesh_links.Grid` says; their sum is that of hops and
    crossings."""

    def busiest(self, *, between_chips: bool) -> BusyLink | None:
        """Return the busiest link within chips, or between chips; None if none carries anything."""
        links = np.flatnonzero(self.loads)
        links = links[self.grid.between_chips(links) == between_chips]
        if not len(links):
            return None
        link = int(links[self.loads[links].argmax()])
        return BusyLink(where=self.grid.describe(link), messages=float(self.loads[link]))

    def sent_by_router(self) -> FloatArray:
        """(rows, columns): messages over the links that leave each router."""
        by_link: FloatArray = self.loads.reshape(-1, self.grid.rows, self.grid.columns)
        total: FloatArray = by_link.sum(axis=0)
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the load of every link as plain values."""
        found, busy = self.comparison, {"busiest_link": False, "busiest_link_between_chips": True}
        named = {name: self.busiest(between_chips=between) for name, between in busy.items()}
        return {
            **found.placed.to_dict(),
            **{
                name: None if link is None else {"where": link.where, "messages_per_step": link.messages}
                for name, link in named.items()
            },
            "random_placement": found.random.to_dict(),
            "sequential_placement": found.sequential.to_dict(),
            "links_against_random": found.placed.against(found.random),
            "links_against_sequential": found.placed.against(found.sequential),
        }
