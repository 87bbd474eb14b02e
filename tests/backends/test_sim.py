"""The fast simulator gives the same bits as the reference, over every form of program."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.activity import Activity
from bispik.backends.reference import NeuronState, ReferenceSession
from bispik.backends.sim import SimSession
from bispik.compiler.graph import Reset, Spikes
from bispik.compiler.program import IntegerNeurons, IntegerPopulation, QuantizedProgram
from bispik.models.errors import BispikError
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
        "ternary": st.booleans(),
        "pre_spike": st.booleans(),
        "mixed_spike": st.booleans(),
        "block_output": st.booleans(),
        "norm": st.booleans(),
        "stream": st.booleans(),
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
    ours = arguments["neuron_program"] == "bispik"
    reset: Reset = "soft" if arguments.pop("soft") and ours else "hard"
    spikes: Spikes = "ternary" if arguments.pop("ternary") and ours else "binary"
    return random_program(seed, reset=reset, spikes=spikes, **arguments)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("steps", range(2, 9))
def test_ternary_spikes_of_either_sign_reach_everything(reset: Reset, steps: int) -> None:
    program = random_program(3, spikes="ternary", reset=reset, steps=steps)
    tokens = random_tokens(program, 3)
    reference = ReferenceSession(program).feed(tokens)
    assert_same(reference, SimSession(program).feed(tokens))
    for name, output in reference.outputs.items():
        assert output.min() < 0 < output.max(), name
    for name, scores in reference.score_spikes.items():
        assert set(np.unique(scores)) == {-1, 0, 1}, name


def test_ternary_neurons_follow_their_equations() -> None:
    """One neuron, step by step: threshold 9, decay 1/2, currents in units of 1."""
    soft = neurons_of("soft").step
    assert [int(soft(np.array([i]))[0][0]) for i in (9, 1, -25, 0, 4)] == [0, 0, -1, 0, 0]
    hard = neurons_of("hard")
    assert [int(hard.step(np.array([i]))[0][0]) for i in (-10, -9, -6, 10)] == [-1, 0, -1, 1]
    assert int(hard.membrane[0]) == 0


def neurons_of(reset: Reset) -> NeuronState:
    one = np.ones(1, np.int32)
    subtract = 10 * one if reset == "soft" else 0 * one
    constants = IntegerNeurons(
        program="bispik", reset=reset, spikes="ternary", decay=2048, threshold=9 * one, subtract=subtract, bias=0 * one
    )
    threshold, subtract64, bias = (a.astype(np.int64) for a in (9 * one, subtract, 0 * one))
    return NeuronState(constants, threshold, subtract64, bias)


@pytest.mark.parametrize("session", [ReferenceSession, SimSession])
def test_counts_that_a_run_could_not_hold_are_refused(session: type[ReferenceSession] | type[SimSession]) -> None:
    program = random_program(1, window=8)
    with pytest.raises(BispikError, match=r"attention: outputs could reach 32,768; .* a --window of at most 32,767"):
        session(replace(program, window=1 << 15))
