"""Language-model programs as ONNX graphs give the same bits as the reference."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.activity import reading_of
from bispik.backends.onnx.session import OnnxSession
from bispik.backends.reference import ReferenceSession
from bispik.compiler.program import IntegerPopulation
from tests.backends.test_sim import assert_same, forms, program_of, wild
from tests.networks import random_tokens


@settings(max_examples=40, deadline=None)
@given(form=forms, seed=st.integers(0, 2**32 - 1), split=st.integers(1, 8), extreme=st.booleans())
def test_onnx_equals_reference_for_any_program_and_any_split_of_the_tokens(
    form: dict[str, object], seed: int, split: int, extreme: bool
) -> None:
    program = program_of(form, seed)
    if extreme:
        program = wild(program, seed)
    probes = [population.name for population in program.of_kind(IntegerPopulation)]
    tokens = random_tokens(program, seed)
    reference, session, reader = ReferenceSession(program, probes), OnnxSession(program, probes), OnnxSession(program)
    for part in (tokens[:split], tokens[split:]):
        if len(part):
            expected = reference.feed(part)
            assert_same(expected, session.feed(part))
            reading = reader.read(part)
            np.testing.assert_array_equal(reading.accumulators, expected.accumulators)
            np.testing.assert_array_equal(reading.sums, reading_of(program, expected).sums)
