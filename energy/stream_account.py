"""Energy of a run of a stream program, joules, by population, neurocore and event.

The account is that of `bispik.energy.account`: counts times the constants of a profile, static power times the time
that the run takes on the chip, and the host. Time on the chip, seconds:

    steps:  sum over steps of [max over neurocores of (synops * t_synop + neurons * t_update) + t_step]
    drain:  depth steps for each sequence, in which its last steps only travel on: no synops, every neuron updated

All populations are taken to work on the same logical step at once, which is the steady state of a clocked fabric. The
updates of the drain are an event of their own, ``update_waiting``. Waiting for links of the mesh is left out: no
bandwidth is published.

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
from bispik.compiler.stream.mapping import MappedStream
from bispik.energy.latency import FloatArray
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
    priced = tuple(_priced_events(counts))
    seconds = Range(*(_run_seconds(counts, _times(profile, bound)) for bound in ("low", "default", "high")))
    step_seconds = _step_seconds(counts, _times(profile, "default"))
    lines = (
        *dynamic_lines(counts.node, profile, priced),
        *static_lines(mapped.chips, profile, seconds),
        *host_lines(counts.host, STREAM_HOST_CONSTANTS, profile),
    )

    def seconds_at(times: Mapping[str, float]) -> float:
        return _run_seconds(counts, times)

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


def _times(profile: Profile, bound: str) -> dict[str, float]:
    return {name: getattr(profile[name], bound) for name in ("time_synop", "time_update", "time_step")}


def _step_seconds(counts: StreamCounts, times: Mapping[str, float]) -> FloatArray:
    load = counts.load
    busy = (load.synops * times["time_synop"] + load.updates * times["time_update"]).max(axis=1)
    seconds: FloatArray = busy + times["time_step"]
    return seconds


def _run_seconds(counts: StreamCounts, times: Mapping[str, float]) -> float:
    drain = float(counts.load.updates.max()) * times["time_update"] + times["time_step"]
    return float(_step_seconds(counts, times).sum()) + counts.sequences * counts.depth * drain
