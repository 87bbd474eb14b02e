"""What the ranges of a profile do to the answer: a distribution, and which constants would have to be measured.

Constants with the same low, default and high are one unknown: where nothing is published for a format, its price is
taken from another, and whoever measures one has measured both. The answer is in joules over the whole run:

    J = sum over constants of count * price + (chips * (P_chip + P_board) + P_host) * seconds(times)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from bispik.energy.constants import Dimension
from bispik.energy.labels import CONSTANT_LABELS
from bispik.energy.pricing import POWERS
from bispik.energy.profiles import DIMENSIONS
from bispik.energy.ranges import Range
from bispik.energy.run_account import RunAccount
from bispik.models.errors import BispikError

DRAWS = 1000

PERCENTILES = (5, 50, 95)

Values: TypeAlias = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Joules of a whole run, with the unknowns drawn at random."""

    draws: int
    seed: int
    mean: float
    percentiles: tuple[float, ...]
    """At `PERCENTILES`."""

    def to_dict(self, each: int = 1) -> dict[str, Any]:
        """Return plain values for JSON, divided by ``each``, tokens for instance."""
        found = {f"p{at:02d}": value / each for at, value in zip(PERCENTILES, self.percentiles, strict=True)}
        return {"draws": self.draws, "seed": self.seed, "mean": self.mean / each, **found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Constants that are one unknown."""

    constants: tuple[str, ...]
    bounds: Range
    """Of each of them, SI units."""

    @property
    def label(self) -> str:
        """Return e.g. ``Synop, dense weights (and 5 taken alike)``."""
        first, *others = (CONSTANT_LABELS[name] for name in self.constants)
        return f"{first} (and {len(others)} taken alike)" if others else first


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One unknown measured, after those before it."""

    unknown: Unknown
    range: Range
    """Joules of the whole run that are left, had it come out at its default."""


def draw(account: RunAccount, draws: int = DRAWS, seed: int = 0) -> Distribution:
    """Return the distribution of a run's joules.

    The median of every unknown is its default; on either side of it the logarithm is uniform up to low or high, or the
    number itself where low or default is 0. Unknowns are independent.

    Args:
        account: of the run.
        draws: how many.
        seed: of the random numbers.

    Raises:
        BispikError: if there are no draws.
    """
    if draws < 1:
        raise BispikError(f"{draws} draws: give at least 1")
    rng, joules_at, unknowns = np.random.default_rng(seed), _joules_at(account), _unknowns(account)
    joules = np.empty(draws)
    for index in range(draws):
        values: dict[str, float] = {}
        for unknown, u in zip(unknowns, rng.random(len(unknowns)), strict=True):
            values |= dict.fromkeys(unknown.constants, _quantile(unknown.bounds, u))
        joules[index] = joules_at(values)
    found = tuple(float(value) for value in np.percentile(joules, PERCENTILES))
    return Distribution(draws=draws, seed=seed, mean=float(joules.mean()), percentiles=found)


def to_halve(account: RunAccount) -> tuple[Measurement, ...]:
    """Return what would have to be measured for half the range of the total, each time what narrows it most.

    Empty if the total has no range.
    """
    joules_at, left = _joules_at(account), _unknowns(account)
    names = [name for unknown in left for name in unknown.constants]
    known: dict[str, float] = {}

    def range_with(unknown: Unknown | None) -> Range:
        """Return the total's range with what is known so far, and one unknown more."""
        fixed = known | (dict.fromkeys(unknown.constants, unknown.bounds.default) if unknown else {})
        bounds = ("low", "default", "high")
        return Range(*(joules_at({name: getattr(account.profile[name], b) for name in names} | fixed) for b in bounds))

    target, measured = range_with(None).width / 2, list[Measurement]()
    while left and target and (not measured or measured[-1].range.width > target):
        best = min(left, key=lambda unknown: range_with(unknown).width)
        measured.append(Measurement(unknown=best, range=range_with(best)))
        left.remove(best)
        known |= dict.fromkeys(best.constants, best.bounds.default)
    return tuple(measured)


def _unknowns(account: RunAccount) -> list[Unknown]:
    """Return the unknowns that this run's joules depend on."""
    paid = _counts(account)
    found: dict[tuple[Dimension, Range], list[str]] = defaultdict(list)
    for name, constant in account.profile.constants.items():
        dimension = DIMENSIONS[name]
        if dimension != "energy" or paid.get(name):
            found[dimension, constant.value].append(name)
    return [Unknown(constants=tuple(names), bounds=bounds) for (_, bounds), names in found.items()]


def _counts(account: RunAccount) -> dict[str, int]:
    """Return how often each price is paid."""
    paid: dict[str, int] = defaultdict(int)
    for line in account.lines:
        if line.scope != "static":
            paid[line.constant] += line.count
    return paid


def _joules_at(account: RunAccount) -> Callable[[Values], float]:
    """Return the joules of the run as a function of all constants that they depend on."""
    paid = _counts(account)

    def joules(values: Values) -> float:
        seconds = account.seconds_at({name: value for name, value in values.items() if DIMENSIONS[name] == "time"})
        watts = account.chips * sum(values[power] for power in POWERS) + values["host_power"]
        return sum(count * values[name] for name, count in paid.items()) + watts * seconds

    return joules


def _quantile(bounds: Range, u: float) -> float:
    """Return the quantile ``u`` of an unknown: see `draw`."""
    start, stop, share = (bounds.low, bounds.default, 2 * u) if u < 0.5 else (bounds.default, bounds.high, 2 * u - 1)
    if start == 0 or start == stop:
        return start + share * (stop - start)
    return float(start * (stop / start) ** share)
