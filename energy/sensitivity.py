"""Which constant decides how much of the answer: what would have to be measured first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bispik.energy.latency import TIMES
from bispik.energy.lines import EnergyLine
from bispik.energy.pricing import POWERS
from bispik.energy.profiles import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Swing:
    """How much of the answer one constant decides."""

    constant: str
    joules: float
    """Total with this constant at its high less total with it at its low, all others at their default."""


def swings(
    lines: Iterable[EnergyLine], profile: Profile, chips: int, seconds_at: Callable[[Mapping[str, float]], float]
) -> tuple[Swing, ...]:
    """Return the swing of every constant that has one, the largest first.

    Args:
        lines: the account.
        profile: what it was made with.
        chips: that hold a part of the program.
        seconds_at: duration of the run if each of the profile's times, `latency.TIMES`, had that value.
    """
    joules: dict[str, float] = defaultdict(float)
    for line in lines:
        if line.scope != "static":
            joules[line.constant] += line.count * profile[line.constant].width
    default = {name: profile[name].default for name in TIMES}
    seconds = seconds_at(default)
    for power in POWERS:
        joules[power] += chips * seconds * profile[power].width
    joules["host_power"] += seconds * profile["host_power"].width
    watts = chips * sum(profile[power].default for power in POWERS) + profile["host_power"].default
    for name in TIMES:
        slow = seconds_at({**default, name: profile[name].high})
        fast = seconds_at({**default, name: profile[name].low})
        joules[name] += watts * (slow - fast)
    ranked = sorted(joules.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Swing(constant=name, joules=swing) for name, swing in ranked if swing > 0)
