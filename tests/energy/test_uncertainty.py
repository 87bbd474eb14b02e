"""Distributions and measurements: laws that hold for any account."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.energy.account import account
from bispik.energy.profiles import Profile, list_profiles, load_profile
from bispik.energy.ranges import Range, exactly
from bispik.energy.uncertainty import draw, to_halve
from bispik.models.errors import BispikError
from tests.energy.runs import counted
from tests.networks import random_program


def known(profile: Profile, names: set[str]) -> Profile:
    """The profile with some constants at exactly their defaults."""
    constants = {
        name: replace(c, value=exactly(c.value.default)) if name in names else c
        for name, c in profile.constants.items()
    }
    return replace(profile, constants=constants)


@given(st.integers(0, 50), st.sampled_from(list_profiles()))
@settings(max_examples=10, deadline=None)
def test_a_distribution_lies_within_the_range(seed: int, name: str) -> None:
    mapped, counts = counted(random_program(seed), seed)
    report = account(mapped, counts, load_profile(name))
    found = draw(report, draws=40, seed=seed)
    bounds = (report.total.low * (1 - 1e-9), *found.percentiles, report.total.high * (1 + 1e-9))
    assert list(bounds) == sorted(bounds)
    assert bounds[0] <= found.mean <= bounds[-1]
    assert draw(report, draws=40, seed=seed) == found


def test_without_a_range_every_draw_is_the_total() -> None:
    mapped, counts = counted(random_program(1))
    profile = load_profile("loihi2")
    report = account(mapped, counts, known(profile, set(profile.constants)))
    assert draw(report, draws=3).percentiles == pytest.approx((report.total.default,) * 3)
    assert to_halve(report) == ()


@given(st.integers(0, 50), st.sampled_from(["loihi2", "loihi1-davies", "loihi2-inherit-l1"]))
@settings(max_examples=10, deadline=None)
def test_measuring_what_is_named_halves_the_range_and_less_does_not(seed: int, name: str) -> None:
    mapped, counts = counted(random_program(seed), seed)
    profile = load_profile(name)
    before = account(mapped, counts, profile).total
    steps = to_halve(account(mapped, counts, profile))
    measured: set[str] = set()
    for place, step in enumerate(steps):
        measured |= set(step.unknown.constants)
        after = account(mapped, counts, known(profile, measured)).total
        assert after.default == pytest.approx(before.default)
        assert step.range.width == pytest.approx(after.width)
        assert (after.width <= before.width / 2 * (1 + 1e-9)) == (place == len(steps) - 1)


def test_constants_that_were_taken_from_another_are_one_unknown() -> None:
    mapped, counts = counted(random_program(1))
    profile = load_profile("loihi2")
    ample = replace(profile.constants["synop_dense"], value=Range(0.0, 1.0, 100.0))  # joules: all else is small
    alike = {name: ample for name in profile.constants if name.startswith("synop")}
    (step,) = to_halve(account(mapped, counts, replace(profile, constants={**profile.constants, **alike})))
    assert {"synop_dense", "synop_score", "synop_graded"} <= set(step.unknown.constants) <= set(alike)
    assert step.unknown.label.endswith("taken alike)")


def test_no_draws_are_refused() -> None:
    mapped, counts = counted(random_program(1))
    with pytest.raises(BispikError, match="at least 1"):
        draw(account(mapped, counts, load_profile("loihi2")), draws=0)
