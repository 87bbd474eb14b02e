"""A program in use: batches and rates."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.energy.account import account
from bispik.energy.operating import operating_point
from bispik.energy.profiles import load_profile
from bispik.models.errors import BispikError
from tests.energy.runs import counted
from tests.networks import random_program

LOIHI2 = load_profile("loihi2")


@given(st.integers(0, 50))
@settings(max_examples=10, deadline=None)
def test_one_sequence_is_the_sequential_account_and_many_are_the_pipelined_one(seed: int) -> None:
    mapped, counts = counted(random_program(seed), seed)
    one, many = operating_point(mapped, counts, LOIHI2), operating_point(mapped, counts, LOIHI2, batch=10_000)
    alone, gapless = (account(mapped, counts, LOIHI2, schedule) for schedule in ("sequential", "pipelined"))
    for bound in ("low", "default", "high"):
        assert getattr(one.per_token, bound) == pytest.approx(getattr(alone.per_token, bound))
        assert getattr(many.per_token, bound) == pytest.approx(getattr(gapless.per_token, bound))
    assert one.tokens_per_second == one.fastest == pytest.approx(counts.tokens / alone.seconds.default)


@given(st.integers(0, 50), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=10, deadline=None)
def test_more_at_once_cost_no_more_each(seed: int, one: int, more: int) -> None:
    mapped, counts = counted(random_program(seed), seed)
    few, many = (operating_point(mapped, counts, LOIHI2, batch=batch) for batch in (one, one + more))
    assert many.per_token.default <= few.per_token.default * (1 + 1e-12)
    assert few.fastest is not None
    assert many.fastest is not None
    assert many.fastest >= few.fastest * (1 - 1e-12)


def test_slow_use_pays_for_power_that_flows_anyway() -> None:
    mapped, counts = counted(random_program(1))
    fast, slow = operating_point(mapped, counts, LOIHI2), operating_point(mapped, counts, LOIHI2, tokens_per_second=2.0)
    watts = mapped.chips * (LOIHI2["chip_power"].default + LOIHI2["board_power"].default)
    assert slow.static.default == pytest.approx(watts / 2)
    assert (slow.dynamic, slow.host) == (fast.dynamic, fast.host)
    values = slow.to_dict()
    assert values["j_per_1000_tokens"]["default"] == pytest.approx(1000 * slow.per_token.default)
    assert values["j_per_inference"]["high"] == pytest.approx(counts.tokens * slow.per_token.high)


def test_a_convention_without_times_has_no_rate() -> None:
    mapped, counts = counted(random_program(1))
    point = operating_point(mapped, counts, load_profile("paper-45nm"), batch=4, tokens_per_second=1e9)
    assert (point.fastest, point.static.high) == (None, 0.0)


@pytest.mark.parametrize(
    ("batch", "rate", "message"),
    [
        (0, None, "--batch-size 0"),
        (1, 0.0, "--token-rate 0"),
        (1, math.inf, "--token-rate inf"),
        (1, 1e9, "ask for fewer"),
    ],
)
def test_what_cannot_be_is_refused(batch: int, rate: float | None, message: str) -> None:
    mapped, counts = counted(random_program(1))
    with pytest.raises(BispikError, match=message):
        operating_point(mapped, counts, LOIHI2, batch, rate)
