"""What parts of populations read, against a list of all synapses."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.compiler.stream.reach import fan_out, reach
from bispik.compiler.stream.wiring import Wiring
from tests.stream.random_programs import wirings


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_reach_and_fan_out_are_those_of_the_synapses(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    wiring = data.draw(wirings(data.draw(st.sampled_from([(5,), (2, 5, 4), (4, 3, 3), (3, 1, 7)])), rng))
    start = data.draw(st.integers(0, wiring.outputs - 1))
    stop = data.draw(st.integers(start + 1, wiring.outputs))
    expected = synapses(wiring)[start:stop].sum(axis=0)
    np.testing.assert_array_equal(fan_out(wiring, start, stop), expected)
    found = reach(wiring, start, stop)
    read = np.flatnonzero(expected)
    assert (found.sources, found.synapses) == (len(read), expected.sum())
    assert found.hull == ((int(read[0]), int(read[-1]) + 1) if len(read) else (0, 0))


def synapses(wiring: Wiring) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """(outputs, inputs): 1 where there is a synapse."""
    weight = np.ones(wiring.weight_shape, np.int64)
    return wiring.apply(weight, np.eye(wiring.inputs, dtype=np.int64)).T
