"""The fast simulator gives the same bits as the reference, over every form of program."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.activity import Activity
from bispik.backends.reference import ReferenceSession
from bispik.backends.sim import SimSession
from bispik.compiler.program import IntegerPopulation, QuantizedProgram
from tests.networks import random_program, random_tokens

forms = st.fixed_dictionaries(
    {
        "layers": st.integers(0, 2),
        "heads": st.integers(1, 3),
        "head_dim": st.integers(1, 5),
        "inner": st.integers(1, 13),
        "steps": st.integers(1, 8),
        "window": st.integers(2, 9),
        "neuron_program": st.sampled_from(["bispik", "stock"]),
        "soft": st.booleans(),
        "pre_spike": st.booleans(),
        "mixed_spike": st.booleans(),
        "block_output": st.booleans(),
    }
)


def assert_same(one: Activity, other: Activity) -> None:
    assert one.first_position == other.first_position
    np.testing.assert_array_equal(one.token_ids, other.token_ids)
    np.testing.assert_array_equal(one.accumulators, other.accumulators)
    assert dict(one.saturations) == dict(other.saturations)
    for field in ("outputs", "score_spikes", "membranes"):
        ours, theirs = getattr(one, field), getattr(other, field)
        assert list(ours) == list(theirs), field
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=f"{field} of {name}")


def program_of(form: dict[str, object], seed: int) -> QuantizedProgram:
    arguments = dict(form)
    soft = arguments.pop("soft") and arguments["neuron_program"] == "bispik"
    return random_program(seed, reset="soft" if soft else "hard", **arguments)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(form=forms, seed=st.integers(0, 2**32 - 1), split=st.integers(1, 8))
def test_sim_equals_reference_for_any_program_and_any_split_of_the_tokens(
    form: dict[str, object], seed: int, split: int
) -> None:
    program = program_of(form, seed)
    probes = [population.name for population in program.of_kind(IntegerPopulation)]
    tokens = random_tokens(program, seed)
    reference, sim = ReferenceSession(program, probes), SimSession(program, probes)
    for part in (tokens[:split], tokens[split:]):
        if len(part):
            assert_same(reference.feed(part), sim.feed(part))
