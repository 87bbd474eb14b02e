"""What a token costs where a program is used: so many sequences at once, so many tokens a second.

With b sequences side by side, a token's time steps fill the gaps of the others': a token takes max(t / b, t_p), t its
time if each token waits for the last one's readout (schedule ``sequential``), t_p if none waits (``pipelined``), and
the waiting of neurons falls from depth steps to max(0, (T + depth) / b - T) a token. Fewer tokens a second than that
leave the chips idle in between: they step no further, and their static power flows on.

    J per token = dynamic without waiting + waiting + static power / (tokens per second) + host

The mapping has room for the keys and values of one sequence: b sequences need b times the state memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bispik.backends.counts import EventCounts
from bispik.compiler.mapping import MappedProgram
from bispik.energy.account import account
from bispik.energy.pricing import POWERS
from bispik.energy.profiles import Profile
from bispik.energy.ranges import ZERO, Range, exactly, total
from bispik.models.errors import BispikError


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A program in use; joules per token."""

    batch: int
    """Sequences side by side."""
    tokens_per_second: float | None
    """Of all of them together; None if the profile knows no times."""
    fastest: float | None
    """Tokens per second that this batch can reach, by the profile's defaults."""
    run_tokens: int
    """Tokens of the run that was counted: one inference."""
    dynamic: Range
    static: Range
    host: Range

    @property
    def per_token(self) -> Range:
        """Joules."""
        return self.dynamic + self.static + self.host

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "batch": self.batch,
            "tokens_per_second": self.tokens_per_second,
            "fastest_tokens_per_second": self.fastest,
            "tokens_per_inference": self.run_tokens,
            "j_per_token": self.per_token.to_dict(),
            "j_per_1000_tokens": (self.per_token * 1000).to_dict(),
            "j_per_inference": (self.per_token * self.run_tokens).to_dict(),
            "dynamic_j_per_token": self.dynamic.to_dict(),
            "static_j_per_token": self.static.to_dict(),
            "host_j_per_token": self.host.to_dict(),
        }


def operating_point(
    mapped: MappedProgram,
    counts: EventCounts,
    profile: Profile,
    batch: int = 1,
    tokens_per_second: float | None = None,
) -> OperatingPoint:
    """Return what a token costs.

    Args:
        mapped: what ran where.
        counts: of one sequence: one inference.
        profile: prices.
        batch: sequences side by side.
        tokens_per_second: of all of them together; None for as many as the batch can reach.

    Raises:
        BispikError: if the batch or the rate is not positive, or the chips are not that fast by the profile's defaults.
    """
    if batch < 1:
        raise BispikError(f"--batch-size {batch}: give at least 1")
    if tokens_per_second is not None and not 0 < tokens_per_second < float("inf"):
        raise BispikError(f"--token-rate {tokens_per_second:g}: give tokens per second, more than 0")
    tokens = counts.tokens
    alone, gapless = (account(mapped, counts, profile, schedule) for schedule in ("sequential", "pipelined"))
    each = Range(
        *(max(a / batch, g) / tokens for a, g in zip(_bounds(alone.seconds), _bounds(gapless.seconds), strict=True))
    )
    fastest = 1 / each.default if each.default else None
    if tokens_per_second is not None and fastest is not None and tokens_per_second > fastest:
        raise BispikError(
            f"--token-rate {tokens_per_second:g}: with {batch} at once the chips reach {fastest:,.0f} tokens a second "
            f"by the defaults of {profile.name}; ask for fewer, or give a larger --batch-size"
        )
    steps = counts.steps / tokens
    waits = max(0.0, (steps + counts.depth) / batch - steps) / counts.depth if counts.depth else 0.0
    waiting = total(line.energy for line in alone.lines if line.event == "update_waiting") / tokens
    between = each if tokens_per_second is None else exactly(1 / tokens_per_second)
    watts = total(profile[power] for power in POWERS) * mapped.chips + profile["host_power"]
    return OperatingPoint(
        batch=batch,
        tokens_per_second=fastest if tokens_per_second is None else tokens_per_second,
        fastest=fastest,
        run_tokens=tokens,
        dynamic=gapless.scope("dynamic") / tokens + waiting * waits,
        static=watts * between if each.default else ZERO,
        host=gapless.scope("host") / tokens,
    )


def _bounds(value: Range) -> tuple[float, float, float]:
    return value.low, value.default, value.high
