"""Stream programs as ONNX graphs give the same bits as the reference."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.onnx.stream_session import OnnxStreamSession
from bispik.backends.stream.activity import StreamActivity
from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.compiler.stream.program import StreamProgram
from tests.stream.random_programs import STEPS_MAX, programs, random_input

either = st.one_of(programs(), programs(neuron_program="stock"))


def assert_same(one: StreamActivity, other: StreamActivity) -> None:
    assert one.first_step == other.first_step
    np.testing.assert_array_equal(one.input, other.input)
    assert dict(one.saturations) == dict(other.saturations)
    for field in ("sent", "membranes"):
        ours, theirs = getattr(one, field), getattr(other, field)
        assert set(ours) == set(theirs), field
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype, f"{field} of {name}"
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=f"{field} of {name}")


@settings(max_examples=100, deadline=None)
@given(program=either, seed=st.integers(0, 2**32 - 1), steps=st.integers(1, STEPS_MAX), data=st.data())
def test_any_program_on_any_split_of_the_input_equals_the_reference(
    program: StreamProgram, seed: int, steps: int, data: st.DataObject
) -> None:
    values = random_input(program, np.random.default_rng(seed), steps)
    probes = [population.name for population in program.populations]
    reference, session = ReferenceStreamSession(program, probes), OnnxStreamSession(program, probes)
    split = data.draw(st.integers(0, steps))
    for part in (values[:split], values[split:]):
        if len(part):
            assert_same(reference.feed(part), session.feed(part))
