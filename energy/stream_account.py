"""Energy of a run of a stream program, joules, by population, neurocore and event.

The account is that of `bispik.energy.account`: counts times the constants of a profile, static power times the time
that the run takes on the chip, and the host. Time on the chip, seconds:

    steps:  sum over steps of [max(max over neurocores of (synops * t_synop + neurons * t_update),
                                   messages over the busiest link of a chip * t_link,
                                   messages over the busiest link between chips * t_crossing) + t_step]
    drain:  depth steps for each sequence, in which its last steps only travel on: no synops, every neuron updated

All populations are taken to work on the same logical step at once, which is the steady state of a clocked fabric. The
updates of the drain are an event of their own, ``update_waiting``. What a link carries is known for the run as a whole;
each step has the share that it has of the messages. What else is taken to be so, and left out, says
`bispik.energy.latency`.

A chip that listens to the world waits for it: then static power flows for the network's own time, dt a step
(``total_in_real_time``), and everything else stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from bispik.backends.stream.counts import (
    STREAM_GRADED,
    STREAM_SYNOPS,
    StreamCounts,
    StreamEvent,
    StreamHostOperation,
)
from bispik.backends.stream.counts.mesh_traffic import stream_mesh_traffic
from bispik.compiler.stream.mapping import MappedStream
from bispik.compiler.traffic import MeshTraffic
from bispik.energy.latency import FloatArray, TimeSplit, split, times_of
from bispik.energy.lines import (
    dynamic_lines,
    host_lines,
    joules_over_time,
    neurocore_joules,
    static_lines,
)
from bispik.energy.pricing import Priced
from bispik.energy.profiles import Profile
from bispik.energy.ranges import Range, total
from bispik.energy.run_account import RunAccount
from bispik.energy.sensitivity import swings

STREAM_HOST_CONSTANTS: Mapping[StreamHostOperation, str] = {
    "input_values": "host_to_chip",
    "output_spikes": "chip_to_host",
    "output_membranes": "chip_to_host",
}
"""The constant that pays for each host operation."""

STREAM_PLAIN_EVENTS: tuple[StreamEvent, ...] = (
    "update_active",
    "update_inactive",
    "spike",
    "message",
    "message_local",
    "hop_x",
    "hop_y",
    "chip_crossing",
)
"""Events that a constant of the same name pays for. Inter-chip messages are paid by their crossings."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamEnergyReport(RunAccount):
    """The account of one run; joules and seconds over all its steps and sequences."""

    steps: int
    sequences: int
    own_seconds: float
    """The run in the network's own time, with the drain."""
    step_seconds: FloatArray
    """(steps,), default, without the drain."""
    traffic: MeshTraffic
    """What passed the mesh in a step."""
    time: TimeSplit
    """Default: what the steps wait for, without the drain."""
    step_joules: FloatArray
    """(steps,), default, all scopes; the drain's and the host's are shared out among them."""

    @property
    def per_step(self) -> Range:
        """Joules per time step."""
        return self.total / self.steps

    @property
    def per_inference(self) -> Range | None:
        """Joules per sequence, the whole input from its first step to its last; None if no sequence began."""
        return self.total / self.sequences if self.sequences else None

    @property
    def total_in_real_time(self) -> Range:
        """Dynamic, static and host if the chip keeps to the network's own time, or falls behind it."""
        on_chip = (self.seconds.low, self.seconds.default, self.seconds.high)
        seconds = Range(*(max(self.own_seconds, bound) for bound in on_chip))
        static = total(line.energy for line in static_lines(self.chips, self.profile, seconds))
        return self.scope("dynamic") + static + self.scope("host")

    @property
    def faster_than_real_time(self) -> float | None:
        """How many of the network's own seconds the chip computes in one; None if the profile knows no times."""
        return self.own_seconds / self.seconds.default if self.seconds.default else None


def stream_account(mapped: MappedStream, counts: StreamCounts, profile: Profile) -> StreamEnergyReport:
    """Return the energy account of a run.

    Args:
        mapped: what ran where.
        counts: its events.
        profile: energies per event.
    """
    priced, traffic = tuple(_priced_events(counts)), stream_mesh_traffic(mapped, counts)
    links = _busiest_links(counts, traffic)
    seconds = Range(*(_run_seconds(counts, links, times_of(profile, bound)) for bound in ("low", "default", "high")))
    times = times_of(profile)
    step_seconds = _step_seconds(counts, links, times)
    lines = (
        *dynamic_lines(counts.node, profile, priced),
        *static_lines(mapped.chips, profile, seconds),
        *host_lines(counts.host, STREAM_HOST_CONSTANTS, profile),
    )

    def seconds_at(times: Mapping[str, float]) -> float:
        return _run_seconds(counts, links, times)

    return StreamEnergyReport(
        profile=profile,
        steps=counts.steps,
        sequences=counts.sequences,
        spikes=counts.total("spike"),
        synops=counts.synops,
        chips=mapped.chips,
        own_seconds=mapped.program.dt * (counts.steps + counts.depth * counts.sequences),
        lines=lines,
        neurocore_joules=neurocore_joules(counts.neurocore, counts.neurocores, profile, priced),
        seconds=seconds,
        step_seconds=step_seconds,
        traffic=traffic,
        time=split(_busy(counts, links, times), times["time_step"]),
        step_joules=joules_over_time(lines, profile, priced, step_seconds),
        sensitivity=swings(lines, profile, mapped.chips, seconds_at),
        seconds_at=seconds_at,
    )


def _priced_events(counts: StreamCounts) -> Iterator[Priced]:
    """Yield every kind of event of the chips once, with the constant that pays for it; graded synops apart."""
    for kind, event in STREAM_SYNOPS.items():
        graded = STREAM_GRADED[kind]
        of_numbers, over_time = counts.events[graded], counts.per_step[graded]
        yield Priced(graded, "synop_graded", of_numbers, over_time)
        yield Priced(event, event, counts.events[event] - of_numbers, counts.per_step[event] - over_time)
    graded_outputs, over_time = counts.events["graded_output"], counts.per_step["graded_output"]
    yield Priced("graded_output", "spike", graded_outputs, over_time)
    for event in STREAM_PLAIN_EVENTS:
        yield Priced(event, event, counts.events[event], counts.per_step[event])
    waiting = counts.neurons * (counts.depth * counts.sequences)
    yield Priced("update_waiting", "update_inactive", waiting, _shared(int(waiting.sum()), counts.steps))


def _shared(count: int, steps: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(steps,): a number of events dealt out evenly."""
    return np.diff(np.arange(steps + 1, dtype=np.int64) * count // steps)


def _busiest_links(counts: StreamCounts, traffic: MeshTraffic) -> FloatArray:
    """(steps, 2): messages over the busiest link, within a chip and between chips."""
    found = (traffic.busiest(between_chips=between) for between in (False, True))
    carried = np.array([link.messages if link else 0.0 for link in found])
    messages = counts.per_step["message"].astype(np.float64)
    share: FloatArray = messages / (messages.mean() or 1.0)
    links: FloatArray = share[:, None] * carried
    return links


def _busy(counts: StreamCounts, links: FloatArray, times: Mapping[str, float]) -> FloatArray:
    """(4, steps): seconds of the busiest of each of `latency.LIMITS` but the barrier; there are no norms."""
    load = counts.load
    neurocores = (load.synops * times["time_synop"] + load.updates * times["time_update"]).max(axis=1)
    of_links = links * [times["time_link"], times["time_crossing"]]
    busy: FloatArray = np.stack([neurocores, np.zeros(counts.steps), of_links[:, 0], of_links[:, 1]])
    return busy


def _step_seconds(counts: StreamCounts, links: FloatArray, times: Mapping[str, float]) -> FloatArray:
    seconds: FloatArray = _busy(counts, links, times).max(axis=0) + times["time_step"]
    return seconds


def _run_seconds(counts: StreamCounts, links: FloatArray, times: Mapping[str, float]) -> float:
    drain = float(counts.load.updates.max()) * times["time_update"] + times["time_step"]
    return float(_step_seconds(counts, links, times).sum()) + counts.sequences * counts.depth * drain
