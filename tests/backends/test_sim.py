"""The fast simulator gives the same bits as the reference, over every form of program."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.activity import Activity, reading_of
from bispik.backends.reference import NeuronState, ReferenceSession
from bispik.backends.sim import SimBatch, SimSession
from bispik.backends.sim.kernel_path import VARIABLE, available_paths
from bispik.compiler.graph import Reset, Spikes
from bispik.compiler.program import (
    IntegerAttention,
    IntegerJoin,
    IntegerNeurons,
    IntegerNode,
    IntegerPopulation,
    QuantizedProgram,
)
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


large_forms = st.fixed_dictionaries(
    {
        "layers": st.integers(0, 2),
        "heads": st.integers(1, 3),
        "head_dim": st.sampled_from([1, 7, 16, 63, 64, 65, 128, 130]),
        "inner": st.integers(1, 300),
        "vocabulary": st.integers(2, 200),
        "steps": st.integers(1, 8),
        "window": st.sampled_from([1, 3, 63, 64, 65, 130]),
        "neuron_program": st.just("bispik"),
        "soft": st.booleans(),
        "ternary": st.booleans(),
        "pre_spike": st.booleans(),
        "mixed_spike": st.booleans(),
        "block_output": st.booleans(),
        "norm": st.booleans(),
        "stream": st.booleans(),
    }
)


def wild(program: QuantizedProgram, seed: int) -> QuantizedProgram:
    """The program with numbers that no compiler would choose: currents that saturate, thresholds that are met exactly,
    weights of -128, every decay and shift."""
    random = np.random.default_rng(seed)

    def neurons(constants: IntegerNeurons, unit: int) -> IntegerNeurons:
        lowest = 0 if constants.spikes == "ternary" else -4
        threshold = (random.integers(lowest, 12, constants.size) * unit).clip(-(2**31), 2**31 - 1)
        subtract = np.abs(threshold) if constants.reset == "soft" else np.zeros(constants.size)
        return replace(
            constants,
            decay=int(random.choice([0, 1, 2048, 4094, 4095])),
            threshold=threshold.astype(np.int32),
            subtract=subtract.clip(0, 2**31 - 1).astype(np.int32),
            bias=(random.integers(-2, 3, constants.size) * unit).clip(-(2**31), 2**31 - 1).astype(np.int32),
        )

    def changed(node: IntegerNode) -> IntegerNode:
        exponent = int(random.choice([0, 1, 6, 12, 20, 30]))
        if isinstance(node, IntegerPopulation):
            inputs = tuple(
                replace(
                    projection,
                    exponent=exponent,
                    weight=None
                    if projection.weight is None
                    else random.choice(np.array([-128, -1, 0, 1, 127], np.int8), projection.weight.shape),
                )
                for projection in node.inputs
            )
            return replace(node, inputs=inputs, neurons=neurons(node.neurons, 1 << exponent))
        if isinstance(node, IntegerAttention):
            return replace(node, exponent=exponent, neurons=neurons(node.neurons, 1 << exponent))
        return node

    return replace(program, nodes=tuple(changed(node) for node in program.nodes))


@settings(max_examples=120, deadline=None)
@given(
    form=large_forms,
    seed=st.integers(0, 2**32 - 1),
    split=st.integers(1, 130),
    extreme=st.booleans(),
    path=st.sampled_from(available_paths()),
    threads=st.integers(1, 3),
)
def test_all_kernels_and_threads_equal_the_reference_whatever_the_numbers(
    form: dict[str, object], seed: int, split: int, extreme: bool, path: str, threads: int
) -> None:
    program = program_of(form, seed)
    if extreme:
        program = wild(program, seed)
    probes = [population.name for population in program.of_kind(IntegerPopulation)]
    tokens = random_tokens(program, seed)[: 20 if seed % 3 else None]
    reference = ReferenceSession(program, probes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, path)
        sim, reader = SimSession(program, probes, threads=threads), SimSession(program, threads=threads)
    assert f"({path})" in sim.execution_mode
    for part in (tokens[:split], tokens[split:]):
        if len(part):
            expected = reference.feed(part)
            assert_same(expected, sim.feed(part))
            reading = reader.read(part)
            np.testing.assert_array_equal(reading.accumulators, expected.accumulators)
            np.testing.assert_array_equal(reading.sums, reading_of(program, expected).sums)


@settings(max_examples=40, deadline=None)
@given(form=large_forms, seed=st.integers(0, 2**32 - 1), data=st.data())
def test_sequences_side_by_side_read_what_each_reads_alone(
    form: dict[str, object], seed: int, data: st.DataObject
) -> None:
    program = program_of(form, seed)
    number = data.draw(st.integers(1, 4))
    batch, alone = SimBatch(program, number, threads=2), [SimSession(program) for _ in range(number)]
    for _ in range(3):
        turns: list[npt.NDArray[np.int64] | None] = []
        for session in alone:
            room = program.window - session.position
            count = data.draw(st.integers(0, min(room, 70)))
            turns.append(random_tokens(program, data.draw(st.integers(0, 99)), count) if count else None)
        for session, ids, reading in zip(alone, turns, batch.read(turns), strict=True):
            assert (ids is None) == (reading is None)
            if ids is not None and reading is not None:
                expected = session.read(ids)
                np.testing.assert_array_equal(reading.accumulators, expected.accumulators)
                np.testing.assert_array_equal(reading.sums, expected.sums)


def test_silence_and_every_neuron_spiking() -> None:
    program = random_program(4, head_dim=20, inner=70, steps=4)
    for threshold in (2**23 - 1, -(2**23)):
        nodes = tuple(
            replace(n, neurons=replace(n.neurons, threshold=np.full(n.neurons.size, threshold, np.int32)))
            if isinstance(n, IntegerPopulation | IntegerAttention)
            else n
            for n in program.nodes
        )
        extreme = replace(program, nodes=nodes)
        tokens = random_tokens(extreme, 1)
        expected = ReferenceSession(extreme).feed(tokens)
        assert_same(expected, SimSession(extreme, threads=2).feed(tokens))
        spikes = expected.outputs["block_00/ffn/fc1"]
        assert spikes.all() if threshold < 0 else not spikes.any()


def test_kernels_that_are_not_here_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "amx2")
    with pytest.raises(BispikError, match=r"BISPIK_KERNELS=amx2: this build has no such kernels; here are portable"):
        SimSession(random_program(0, layers=0))


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


def test_an_interrupted_run_can_go_on() -> None:
    """A signal is looked at between blocks; what was run until then stays, and the session knows how much that is."""
    program = random_program(3, layers=1, window=600)
    tokens = random_tokens(program, 3)
    sessions = [SimSession(program)]

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    def run_until_interrupted() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while True:
            sessions.append(SimSession(program))
            sessions[-1].read(tokens[:-1])

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_until_interrupted()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    done = sessions[-1].position
    expected = SimSession(program).read(tokens)
    np.testing.assert_array_equal(sessions[-1].read(tokens[done:]).accumulators, expected.accumulators[done:])


def test_what_the_engine_cannot_hold_is_refused() -> None:
    program = random_program(1, layers=0)
    for threads in (0, 100_000):
        with pytest.raises(BispikError, match=f"--threads {threads}: give 1 to"):
            SimSession(program, threads=threads)
    table = np.zeros((2, 70_000), np.int16)
    wide = replace(
        program,
        nodes=(
            replace(
                program.injection,
                token_table=np.zeros((2, 70_000), np.int16),
                position_table=np.zeros((9, 70_000), np.int16),
            ),
            IntegerJoin(name="embed", inputs=("input",), exponents=(0,), size=70_000, maximum=0),
            replace(program.readout, weight=np.ones((2, 70_000), np.int8), bias=np.zeros(2, np.float32)),
        ),
    )
    assert SimSession(wide).read([1]).accumulators.tolist() == [[0, 0]]
    reaching = replace(wide, nodes=(replace(wide.injection, token_table=table + np.int16(255)), *wide.nodes[1:]))
    with pytest.raises(BispikError, match="70,000 inputs could add up to 2,284,800,000"):
        SimSession(reaching)
