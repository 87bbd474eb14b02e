"""How long a run takes on the chips, from the busiest neurocore and norm of every time step.

    seconds = sum over steps of [ max(max over neurocores of (synops * t_synop + neurons * t_update),
                                      norm operations of the largest norm * t_norm_operation) + t_step ]

A norm inside a block is taken to have one of the chips' embedded processors to itself: none waits for another.
Two schedules bound what a clocked fabric does:

- ``sequential``: a token waits for the readout of the last one, as in generating text with one sequence. A
  token then lasts T + depth steps, for every synaptic hop takes one step, and each node has work in T of them.
- ``pipelined``: tokens that are known beforehand follow each other without a gap, T steps each. All nodes are
  taken to work on the same logical step at once, which is the steady state; filling and draining are left out.

Waiting for links of the mesh is left out: no bandwidth is published.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.backends.counts import StepLoad
from bispik.energy.profiles import Profile

FloatArray: TypeAlias = npt.NDArray[np.float64]

Schedule: TypeAlias = Literal["sequential", "pipelined"]

TIMES = ("time_synop", "time_update", "time_norm_operation", "time_step")

SCHEDULES: dict[Schedule, str] = {
    "sequential": "generation, one sequence: each token waits for the last one's readout",
    "pipelined": "known text: tokens follow each other without a gap",
}


def durations(load: StepLoad, profile: Profile, schedule: Schedule) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the seconds of each token, (tokens,), with all of the profile's times low, default and high."""
    times = [profile[name] for name in TIMES]
    low, default, high = (
        token_seconds(load, schedule, *(getattr(time, bound) for time in times)) for bound in ("low", "default", "high")
    )
    return low, default, high


def token_seconds(
    load: StepLoad,
    schedule: Schedule,
    time_synop: float,
    time_update: float,
    time_norm_operation: float,
    time_step: float,
) -> FloatArray:
    """Return the duration of each token in seconds, (tokens,)."""
    sequential = schedule == "sequential"
    synops, norms = (load.sequential, load.norms) if sequential else (load.pipelined, load.norms.max())
    busy = (synops * time_synop + load.updates * time_update).max(axis=2)
    seconds: FloatArray = (np.maximum(busy, norms * time_norm_operation) + time_step).sum(axis=1)
    return seconds
