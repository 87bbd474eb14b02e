"""How long a run takes on the chips, from what is busiest in every time step.

    seconds = sum over steps of [ max(max over neurocores of (synops * t_synop + neurons * t_update),
                                      norm operations of the largest norm * t_norm_operation,
                                      messages over the busiest link of a chip * t_link,
                                      messages over the busiest link between chips * t_crossing) + t_step ]

A norm inside a block is taken to have one of the chips' embedded processors to itself: none waits for another. A link
is taken to carry one message after the other, whatever else the routers do: that its messages come in bursts, or that
a waiting one holds up others, is left out, so that this is a lower bound of what links cost. The form, a maximum over
what is busiest plus a barrier, is that of Timcheck et al. (arXiv:2601.10035), whose rates for Loihi 2 are published as
a figure only. t_step does not grow with the number of chips: no barrier of a Loihi 2 board is published.

Two schedules bound what a clocked fabric does:

- ``sequential``: a token waits for the readout of the last one, as in generating text with one sequence. A
  token then lasts T + depth steps, for every synaptic hop takes one step, and each node has work in T of them.
- ``pipelined``: tokens that are known beforehand follow each other without a gap, T steps each. All nodes are
  taken to work on the same logical step at once, which is the steady state; filling and draining are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from bispik.backends.counts import StepLoad
from bispik.energy.profiles import Profile

FloatArray: TypeAlias = npt.NDArray[np.float64]

Schedule: TypeAlias = Literal["sequential", "pipelined"]

TIMES = ("time_synop", "time_update", "time_norm_operation", "time_link", "time_crossing", "time_step")

SCHEDULES: dict[Schedule, str] = {
    "sequential": "generation, one sequence: each token waits for the last one's readout",
    "pipelined": "known text: tokens follow each other without a gap",
}

RUNS: dict[Schedule, str] = {"sequential": "decode", "pipelined": "prefill"}
"""What the schedules are called where nothing explains them."""

Limit: TypeAlias = Literal["neurocores", "norms", "links", "chip_links", "barrier"]

LIMITS: tuple[Limit, ...] = get_args(Limit)
"""What a time step waits for; of two that last equally long the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSplit:
    """What time steps wait for, seconds over a whole run."""

    steps: int
    """Of the fabric."""
    seconds: Mapping[Limit, float]
    """A step's time is that of whatever is busiest in it, and the barrier's."""

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(self.seconds.values())

    @property
    def limited_by(self) -> Limit | None:
        """What takes most of the time; None if nothing takes any."""
        longest: Limit = max(LIMITS, key=self.share)
        return longest if self.total else None

    def share(self, limit: Limit) -> float:
        """Return the share of the time that steps wait for something."""
        return self.seconds[limit] / self.total if self.total else 0.0


def times_of(profile: Profile, bound: str = "default") -> dict[str, float]:
    """Return the seconds of each of `TIMES`, all ``low``, ``default`` or ``high``."""
    return {name: getattr(profile[name], bound) for name in TIMES}


def durations(load: StepLoad, profile: Profile, schedule: Schedule) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the seconds of each token, (tokens,), with all of the profile's times low, default and high."""
    low, default, high = (token_seconds(load, schedule, times_of(profile, b)) for b in ("low", "default", "high"))
    return low, default, high


def token_seconds(load: StepLoad, schedule: Schedule, times: Mapping[str, float]) -> FloatArray:
    """Return the duration of each token in seconds, (tokens,); ``times`` holds each of `TIMES`."""
    seconds: FloatArray = (busy_seconds(load, schedule, times).max(axis=0) + times["time_step"]).sum(axis=1)
    return seconds


def time_split(load: StepLoad, schedule: Schedule, times: Mapping[str, float]) -> TimeSplit:
    """Return what the steps of a run wait for."""
    return split(busy_seconds(load, schedule, times), times["time_step"])


def split(busy: FloatArray, time_step: float) -> TimeSplit:
    """Return what steps wait for, of `busy_seconds` (4, ...) and the barrier."""
    longest = busy.argmax(axis=0)
    seconds: dict[Limit, float] = dict.fromkeys(LIMITS, 0.0)
    for place, limit in enumerate(LIMITS[:-1]):
        seconds[limit] = float(busy[place][longest == place].sum())
    steps = longest.size
    seconds["barrier"] = steps * time_step
    return TimeSplit(steps=steps, seconds=seconds)


def busy_seconds(load: StepLoad, schedule: Schedule, times: Mapping[str, float]) -> FloatArray:
    """Return how long the busiest of each of `LIMITS` but the barrier works in each step, (4, tokens, steps)."""
    sequential = schedule == "sequential"
    synops, links = (load.sequential, load.links_sequential) if sequential else (load.pipelined, load.links_pipelined)
    norms = load.norms if sequential else np.full(synops.shape[1], load.norms.max())
    neurocores = (synops * times["time_synop"] + load.updates * times["time_update"]).max(axis=2)
    parts = (
        neurocores,
        np.broadcast_to(norms * times["time_norm_operation"], neurocores.shape),
        links[:, :, 0] * times["time_link"],
        links[:, :, 1] * times["time_crossing"],
    )
    return np.stack(parts).astype(np.float64)
