"""What SANA-FE must find in a replay, from our own counts and account."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bispik.energy.lines import EnergyLine
from bispik.energy.profiles import Profile

ELSEWHERE = frozenset({"message_local", "chip_crossing", "norm_operation", "kv_bit_written", "update_waiting"})
"""Dynamic events that SANA-FE has no price for, or that are none in a replay."""

HOPS = frozenset({"hop_x", "hop_y"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Over all S + 1 steps of a replay; joules are defaults."""

    profile: str
    synops: int
    """``spikes`` in SANA-FE's words: ports included."""
    port_synops: int
    """Of these, arrivals that cost nothing."""
    messages: int
    """``packets_sent``"""
    host_messages: int
    """Of these, what the host sends."""
    hops: int
    """East, west, north and south, and links between chips."""
    fired: int
    """``neurons_fired``: spikes, graded outputs and the host's inputs."""
    updated: int
    """``neurons_updated``: active updates, those that cost nothing too, and everything that fired."""
    synapse_joules: float
    soma_joules: float
    network_joules: float | None
    """None if messages pass links between chips, which have a price of their own in our account and none there."""

    @property
    def joules(self) -> float | None:
        """All three together."""
        return None if self.network_joules is None else self.synapse_joules + self.soma_joules + self.network_joules

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        names = self.__dataclass_fields__
        return {name: getattr(self, name) for name in names} | {"joules": self.joules}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """What a replay has beside the events that we count."""

    port_synops: int = 0
    port_updates: int = 0
    host_messages: int = 0
    neurons: int
    """Updated once more, in the step behind the last one."""
    always_active: int = 0
    """Of these, those that a current of the host wakes in that step too."""


def expected(
    lines: Iterable[EnergyLine], profile: Profile, *, crossings: int, not_messages: int, extra: Extra
) -> Expected:
    """Return what SANA-FE must find.

    Args:
        lines: of the account, those of what is exported.
        profile: that it was made with.
        crossings: links between chips that messages pass.
        not_messages: messages in ``lines`` that are not exported.
        extra: what a replay has beside.
    """
    count: dict[str, int] = {}
    joules: dict[str, float] = {}
    for line in lines:
        if line.scope == "dynamic" and line.event not in ELSEWHERE:
            count[line.event] = count.get(line.event, 0) + line.count
            joules[line.event] = joules.get(line.event, 0.0) + line.energy.default
    synapses = [event for event in count if event.startswith(("synop_", "graded_")) and event != "graded_output"]
    fired = count.get("spike", 0) + count.get("graded_output", 0) + extra.host_messages
    messages = count.get("message", 0) - not_messages + extra.host_messages
    sent = messages * profile["message"].default + sum(joules.get(event, 0.0) for event in HOPS)
    active, inactive = profile["update_active"].default, profile["update_inactive"].default
    waking = extra.always_active
    return Expected(
        profile=profile.name,
        synops=sum(count[event] for event in synapses) + extra.port_synops,
        port_synops=extra.port_synops,
        messages=messages,
        host_messages=extra.host_messages,
        hops=sum(count.get(event, 0) for event in HOPS) + crossings,
        fired=fired,
        updated=count.get("update_active", 0) + waking + extra.port_updates + fired,
        synapse_joules=sum(joules[event] for event in synapses),
        soma_joules=sum(joules.get(e, 0.0) for e in ("update_active", "update_inactive", "spike", "graded_output"))
        + waking * active
        + (extra.neurons - waking) * inactive,
        network_joules=None if crossings else sent,
    )
