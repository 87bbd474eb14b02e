"""What parts of populations read, against a list of all synapses."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.compiler.stream.layout import layout_of
from bispik.compiler.stream.reach import fan_out, pool_fan_out, pool_size, pooled, reach, reached
from bispik.compiler.stream.wiring import Convolution, Wiring
from tests.stream.layers import one_layer
from tests.stream.random_programs import wirings

shapes = st.sampled_from([(5,), (2, 5, 4), (4, 3, 3), (3, 1, 7)])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_some_neurons_read_is_what_their_synapses_say(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    wiring = data.draw(wirings(data.draw(shapes), rng))
    rows = rng.permutation(wiring.outputs)[: data.draw(st.integers(1, wiring.outputs))]
    expected = synapses(wiring)[rows].sum(axis=0)
    np.testing.assert_array_equal(fan_out(wiring, rows), expected)
    found, read = reach(wiring, rows), np.flatnonzero(expected)
    assert (found.sources, found.synapses) == (len(read), expected.sum())
    assert found.hull == ((int(read[0]), int(read[-1]) + 1) if len(read) else (0, 0))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pools_meet_the_synapses_that_their_neurons_meet(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    wiring = data.draw(wirings(data.draw(shapes), rng))
    rows = np.arange(data.draw(st.integers(1, wiring.outputs)))
    sent = (rng.random((3, wiring.inputs)) < 0.3).astype(np.int64)
    each = synapses(wiring)
    met = pooled(wiring, sent) @ pool_fan_out(wiring, rows)
    np.testing.assert_array_equal(met, sent @ each[rows].sum(axis=0))
    assert pooled(wiring, sent).shape[1] * pool_size(wiring) == wiring.inputs
    np.testing.assert_array_equal(reached(wiring, sent > 0), sent @ each.T > 0)


def test_a_feature_map_is_laid_out_position_by_position() -> None:
    wiring = Convolution(
        source=(1, 6, 3), target=(2, 6, 3), kernel=(1, 1), stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
    )
    layout = layout_of(one_layer(wiring).populations[0])
    assert sorted(layout.neuron.tolist()) == list(range(36))
    assert layout.neuron[:2].tolist() == [0, 18]  # both channels of the first position
    assert layout.neuron[2:4].tolist() == [3, 21]  # and of the one below
    patch = {divmod(n % 18, 3) for n in layout.rows(0, 16).tolist()}
    assert patch == {(y, x) for y in range(4) for x in range(2)}  # eight positions: a compact block


def synapses(wiring: Wiring) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """(outputs, inputs): 1 where there is a synapse."""
    weight = np.ones(wiring.weight_shape, np.int64)
    return wiring.apply(weight, np.eye(wiring.inputs, dtype=np.int64)).T
