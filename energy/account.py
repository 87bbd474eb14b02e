"""Energy of one run, joules, by layer, neurocore and event.

    E = sum over events of count * energy                                          dynamic: what spikes and updates cost
      + chips * (P_chip + P_board) * seconds + P_host * seconds                    static: what flows anyway
      + sum over host operations of count * energy                                 host

``chips`` are those that hold a part of the program; others of a board are taken to be off. The counts are exact
(`bispik.backends.counts`); the constants come from a profile, each with low, default, high, source and grade. In the
``sequential`` schedule neurons also pay an inactive update in each of the ``depth`` steps in which a token only travels
on: ``update_waiting``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bispik.backends.counts import EventCounts
from bispik.compiler.mapping import MappedProgram
from bispik.energy.baselines import Baseline, ann_baselines
from bispik.energy.latency import FloatArray, Schedule, TimeSplit, durations, time_split, times_of, token_seconds
from bispik.energy.lines import (
    dynamic_lines,
    host_lines,
    joules_over_time,
    neurocore_joules,
    static_lines,
)
from bispik.energy.pricing import HOST_CONSTANTS, priced_events
from bispik.energy.profiles import Profile
from bispik.energy.ranges import Range
from bispik.energy.run_account import RunAccount
from bispik.energy.sensitivity import swings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnergyReport(RunAccount):
    """The account of one run; joules and seconds over all its tokens."""

    schedule: Schedule
    tokens: int
    token_seconds: FloatArray
    """(tokens,), default."""
    token_joules: FloatArray
    """(tokens,), default, all scopes."""
    time: TimeSplit
    """Default: what time steps wait for."""
    baselines: tuple[Baseline, ...]

    @property
    def per_token(self) -> Range:
        """Joules per token."""
        return self.total / self.tokens

    @property
    def compared(self) -> Range:
        """What is held against a baseline: dynamic and host, for a baseline has no static power either."""
        return self.scope("dynamic") + self.scope("host")

    def cost_of(self, baseline: Baseline) -> Range:
        """Return what the baseline pays: for its memory too if the profile's synops pay for theirs."""
        return baseline.total if self.profile.counts_memory else baseline.arithmetic

    def ratio(self, baseline: Baseline) -> Range:
        """Return energy over the baseline's, from the best case to the worst."""
        ours, theirs = self.compared, self.cost_of(baseline)
        return Range(ours.low / theirs.high, ours.default / theirs.default, ours.high / theirs.low)


def account(
    mapped: MappedProgram, counts: EventCounts, profile: Profile, schedule: Schedule = "sequential"
) -> EnergyReport:
    """Return the energy account of a run.

    Args:
        mapped: what ran where.
        counts: its events.
        profile: energies per event.
        schedule: how tokens follow each other, see `bispik.energy.latency`.
    """
    priced = tuple(priced_events(counts, schedule))
    by_token = durations(counts.load, profile, schedule)
    seconds = Range(*(float(tokens.sum()) for tokens in by_token))

    def seconds_at(times: Mapping[str, float]) -> float:
        return float(token_seconds(counts.load, schedule, times).sum())

    lines = (
        *dynamic_lines(counts.node, profile, priced),
        *static_lines(mapped.chips, profile, seconds),
        *host_lines(counts.host, HOST_CONSTANTS, profile),
    )
    return EnergyReport(
        profile=profile,
        schedule=schedule,
        tokens=counts.tokens,
        spikes=counts.total("spike"),
        synops=counts.synops,
        chips=mapped.chips,
        lines=lines,
        neurocore_joules=neurocore_joules(counts.neurocore, counts.neurocores, profile, priced),
        seconds=seconds,
        token_seconds=by_token[1],
        token_joules=joules_over_time(lines, profile, priced, by_token[1]),
        time=time_split(counts.load, schedule, times_of(profile)),
        baselines=ann_baselines(mapped.program, counts.positions),
        sensitivity=swings(lines, profile, mapped.chips, seconds_at),
        seconds_at=seconds_at,
    )
