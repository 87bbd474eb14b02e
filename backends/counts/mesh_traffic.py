"""What passed the mesh in a counted run."""

from __future__ import annotations

import numpy as np

from bispik.backends.counts.by_slice import IntArray
from bispik.backends.counts.count import count_plan
from bispik.backends.counts.events import EventCounts
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.mesh_links import Grid
from bispik.compiler.traffic import Flows, MeshTraffic, compare


def link_messages(mapped: MappedProgram, counts: EventCounts) -> IntArray:
    """Return how many messages each link carried in a run, (links,), numbered as `mesh_links.Grid` says."""
    found = count_plan(mapped).links.passes
    messages = np.zeros(Grid.of(mapped.target, mapped.system).links, np.int64)
    np.add.at(messages, found.link, found.times * counts.sent[found.flow])
    return messages


def mesh_traffic(mapped: MappedProgram, counts: EventCounts) -> MeshTraffic:
    """Return what passed the mesh in one time step, on average over all logical steps of a run."""
    casts = count_plan(mapped).casts
    per_step = counts.sent / counts.steps
    flows = Flows(sender=casts.sender, destination=casts.destination, messages=np.repeat(per_step, casts.fan_out))
    return MeshTraffic(
        comparison=compare(mapped, flows),
        grid=Grid.of(mapped.target, mapped.system),
        loads=link_messages(mapped, counts) / counts.steps,
    )
