"""What the accounts of all runs have in common: lines of joules, and their sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bispik.energy.latency import FloatArray
from bispik.energy.lines import EnergyLine, Scope
from bispik.energy.profiles import Profile
from bispik.energy.ranges import Range, total
from bispik.energy.sensitivity import Swing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunAccount:
    """Joules and seconds over a whole run."""

    profile: Profile
    spikes: int
    synops: int
    chips: int
    lines: tuple[EnergyLine, ...]
    neurocore_joules: FloatArray
    """(neurocores, 3): dynamic energy of each, low, default and high."""
    seconds: Range
    """On the chip."""
    sensitivity: tuple[Swing, ...]
    """Largest swing first."""
    seconds_at: Callable[[Mapping[str, float]], float]
    """Duration of the run if each of the profile's times had that value."""

    def scope(self, scope: Scope) -> Range:
        """Return the energy of one scope."""
        return total(line.energy for line in self.lines if line.scope == scope)

    @property
    def total(self) -> Range:
        """Dynamic, static and host together."""
        return total(line.energy for line in self.lines)

    @property
    def per_spike(self) -> Range | None:
        """Dynamic joules per spike; None if nothing spiked."""
        return self.scope("dynamic") / self.spikes if self.spikes else None
