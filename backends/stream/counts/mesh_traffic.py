"""What passed the mesh in a counted run of a stream program.

Spikes, and partial sums that are relayed, are counted by slice: the neurons of one population on one neurocore are
taken to spike alike, which matters only where some of them are read elsewhere than others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.counts.by_slice import IntArray
from bispik.backends.stream.counts.events import StreamCounts
from bispik.compiler.mesh_links import Grid, passes
from bispik.compiler.routes import places_of
from bispik.compiler.stream.mapping import MappedStream
from bispik.compiler.stream.readers import home, readers
from bispik.compiler.traffic import Flows, MeshTraffic, compare


def stream_mesh_traffic(mapped: MappedStream, counts: StreamCounts) -> MeshTraffic:
    """Return what passed the mesh in one time step, on average over a run."""
    flows, grid = _flows(mapped, counts), Grid.of(mapped.target, mapped.system)
    number = np.arange(len(flows.messages))
    found = passes(grid, places_of(mapped), number, flows.sender, flows.destination)
    return MeshTraffic(comparison=compare(mapped, flows), grid=grid, loads=found.load(grid, flows.messages))


def _flows(mapped: MappedStream, counts: StreamCounts) -> Flows:
    neurocores, fabric = [core.slices for core in mapped.neurocores], mapped.fabric
    sent = counts.events["spike"] + counts.events["graded_output"]
    senders, destinations = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    messages = [np.empty(0)]
    for population in fabric.populations:
        at = home(neurocores, population)
        spikes = np.zeros(len(neurocores))
        own = np.array([node == population.name for node in counts.node], np.bool_)
        np.add.at(spikes, counts.neurocore[own], sent[own])
        each = spikes / np.maximum(1, np.bincount(at, minlength=len(neurocores))) / counts.steps
        for reader in readers(fabric, neurocores, population.name):
            found: tuple[IntArray, npt.NDArray[np.intp]] = np.unique(at[reader.reads], return_counts=True)
            cores, neurons = found
            senders.append(cores)
            destinations.append(np.full(len(cores), reader.neurocore, np.int64))
            messages.append(each[cores] * neurons)
    return Flows(
        sender=np.concatenate(senders), destination=np.concatenate(destinations), messages=np.concatenate(messages)
    )
