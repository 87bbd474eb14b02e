"""The skews of stream networks on a clocked fabric."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bispik.compiler.stream.schedule import schedule
from bispik.models.errors import BispikError


@dataclass(frozen=True)
class _Arrival:
    source: str
    delay: int = 0


@dataclass(frozen=True)
class _Receiver:
    name: str
    inputs: tuple[_Arrival, ...]


def test_a_skip_waits_for_the_longer_way() -> None:
    found = schedule(
        "input",
        [
            _Receiver("a", (_Arrival("input"),)),
            _Receiver("b", (_Arrival("a"), _Arrival("b", delay=1))),
            _Receiver("c", (_Arrival("b"), _Arrival("input"), _Arrival("a", delay=4))),
        ],
    )
    assert found.skew == {"input": 0, "a": 1, "b": 2, "c": 3}
    assert found.waits == {("a", 0): 0, ("b", 0): 0, ("b", 1): 0, ("c", 0): 0, ("c", 1): 2, ("c", 2): 5}


def test_a_loop_as_long_as_its_delays_needs_no_wait() -> None:
    loop = [
        _Receiver("a", (_Arrival("input"), _Arrival("b", delay=2))),
        _Receiver("b", (_Arrival("a"),)),
    ]
    assert schedule("input", loop).waits == {("a", 0): 0, ("a", 1): 0, ("b", 0): 0}


def test_a_loop_longer_than_its_delays_is_refused_by_name() -> None:
    loop = [
        _Receiver("a", (_Arrival("input"), _Arrival("b", delay=1))),
        _Receiver("b", (_Arrival("a"),)),
    ]
    with pytest.raises(BispikError, match=r"(a -> b -> a|b -> a -> b): this loop has 2 synaptic hops"):
        schedule("input", loop)
