"""Give each neurocore of a partition its place on the chips of a system."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bispik.compiler.mapping import Neurocore, Slice
from bispik.compiler.mesh import stretched, usable_places
from bispik.compiler.refine import Links, links_between, refined
from bispik.compiler.routes import find_multicasts, messages_per_step
from bispik.compiler.target import System, Target


def place(
    partition: tuple[tuple[Slice, ...], ...], target: Target, system: System, rates: Mapping[str, float], seed: int
) -> tuple[Neurocore, ...]:
    """Return placed neurocores, in the order of the partition.

    They start along a space-filling curve over as few chips as can hold them, so that neighbours of the partition are
    neighbours on the mesh, and then swap places while that shortens the ways of messages, where a link between chips
    counts as ``mesh.crossing_hops`` hops.

    Args:
        partition: slices of each neurocore.
        target: sheet with the mesh.
        system: board; it must have room.
        rates: spikes per output and step by node, see `routes.messages_per_step`.
        seed: of the search; the same seed gives the same places.
    """
    multicasts = find_multicasts(partition)
    messages = np.repeat(messages_per_step(multicasts, rates), multicasts.fan_out)
    links = links_between(len(partition), multicasts.sender, multicasts.destination, messages)
    return place_by(links, partition, target, system, seed)


def place_by(
    links: Links, partition: tuple[tuple[Slice, ...], ...], target: Target, system: System, seed: int
) -> tuple[Neurocore, ...]:
    """Return neurocores as `place` does, from the messages between them."""
    chips = -(-len(partition) // target.mesh.usable_neurocores.value)
    places = usable_places(target, system, chips)
    chosen = places[refined(links, *stretched(target, system, places), seed=seed)]
    return tuple(
        Neurocore(index=index, chip=chip, x=x, y=y, slices=slices)
        for index, (slices, chip, x, y) in enumerate(
            zip(partition, chosen.chip.tolist(), chosen.x.tolist(), chosen.y.tolist(), strict=True)
        )
    )
