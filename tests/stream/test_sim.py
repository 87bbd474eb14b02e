"""The fast simulator of stream programs gives the bits of the reference, over every form of program."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.sim.kernel_path import VARIABLE, available_paths
from bispik.backends.stream.activity import StreamActivity
from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.backends.stream.sim import SimStreamSession
from bispik.compiler.stream.program import IntegerStreamNeurons, IntegerStreamPopulation, StreamProgram
from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Sparse
from bispik.models.errors import BispikError
from tests.stream.random_programs import LARGER, STEPS_MAX, programs, random_input
from tests.stream.small_programs import constants, population, program_of, random_synapses, synapses

LARGEST, LOWEST = 2**31 - 1, -(2**31)


def assert_same(expected: StreamActivity, found: StreamActivity) -> None:
    assert expected.first_step == found.first_step
    np.testing.assert_array_equal(expected.input, found.input)
    assert dict(expected.saturations) == dict(found.saturations)
    for field in ("sent", "membranes"):
        ours, theirs = getattr(expected, field), getattr(found, field)
        assert set(ours) == set(theirs), field
        for name in ours:
            assert theirs[name].dtype == np.int32
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=f"{field} of {name}")


def assert_runs_alike(
    program: StreamProgram, parts: Sequence[npt.NDArray[np.int32]], paths: Sequence[str] = (), threads: int = 1
) -> list[StreamActivity]:
    """Feed parts to the reference and to the simulator, and return what the reference did."""
    probes = [population.name for population in program.populations]
    reference = ReferenceStreamSession(program, probes)
    expected = [reference.feed(part) for part in parts]
    for path in paths or available_paths():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, path)
            sim = SimStreamSession(program, probes, threads=threads)
        assert f"({path})" in sim.execution_mode
        for part, activity in zip(parts, expected, strict=True):
            assert_same(activity, sim.feed(part))
    return expected


def random_parts(program: StreamProgram, seed: int, steps: int, split: int) -> list[npt.NDArray[np.int32]]:
    values = random_input(program, np.random.default_rng(seed), steps)
    return [part for part in (values[:split], values[split:]) if len(part)]


@settings(max_examples=100, deadline=None)
@given(program=programs(), seed=st.integers(0, 99), split=st.integers(1, 80), threads=st.integers(1, 2))
def test_sim_equals_reference_for_any_program_and_any_split_of_the_steps(
    program: StreamProgram, seed: int, split: int, threads: int
) -> None:
    steps = STEPS_MAX if seed % 2 else 3 * STEPS_MAX
    assert_runs_alike(program, random_parts(program, seed, steps, split), threads=threads)


@settings(max_examples=40, deadline=None)
@given(
    program=programs(largest=180, shapes=LARGER),
    seed=st.integers(0, 99),
    split=st.integers(1, 30),
    path=st.sampled_from(available_paths()),
    threads=st.integers(1, 3),
)
def test_larger_programs(program: StreamProgram, seed: int, split: int, path: str, threads: int) -> None:
    assert_runs_alike(program, random_parts(program, seed, STEPS_MAX, split), [path], threads)


def wild(program: StreamProgram, seed: int) -> StreamProgram:
    """The program with numbers that no compiler would choose: extreme weights and constants, every exponent."""
    rng = np.random.default_rng(seed)

    def extreme(size: int) -> npt.NDArray[np.int32]:
        scale = int(rng.choice([1, 1 << 10, 1 << 22, 1 << 29]))
        choice = rng.choice([LOWEST, -scale, -1, 0, 1, scale, LARGEST] if seed % 3 else [-scale, 0, scale], size)
        return choice.astype(np.int32)

    def decays(size: int, least: int) -> npt.NDArray[np.int32]:
        return rng.choice([least, 2, 2048, 4095, 4096], size).astype(np.int32)

    def changed(population: IntegerStreamPopulation) -> IntegerStreamPopulation:
        inputs = tuple(
            replace(
                projection,
                exponent=int(rng.choice([0, 1, 6, 12, 20, 30])),
                weight=rng.choice(np.array([-128, -1, 0, 1, 127], np.int8), projection.weight.shape),
            )
            for projection in population.inputs
        )
        size = population.size
        neurons = replace(
            population.neurons,
            current_decay=decays(size, 1),
            decay=decays(size, 0),
            threshold=extreme(size),
            subtract=extreme(size),
            bias=extreme(size),
            initial=extreme(size),
            initial_current=extreme(size),
        )
        return replace(population, inputs=inputs, neurons=neurons)

    return replace(program, populations=tuple(changed(population) for population in program.populations))


@settings(max_examples=60, deadline=None)
@given(program=programs(), seed=st.integers(0, 2**32 - 1), split=st.integers(1, 20))
def test_sim_equals_reference_whatever_the_numbers(program: StreamProgram, seed: int, split: int) -> None:
    program = wild(program, seed)
    assert_runs_alike(program, random_parts(program, seed, STEPS_MAX, split), threads=1 + seed % 2)


def test_a_membrane_at_its_threshold_does_not_spike_and_one_above_does() -> None:
    one = OneToOne(size=1)
    at, above = (
        population(name, constants(1, threshold=threshold), synapses("input", one, 1))
        for name, threshold in (("at", 64), ("above", 63))
    )
    (ran,) = assert_runs_alike(program_of(1, at, above), [np.array([[1], [0]], np.int32)])
    assert ran.sent["at"].tolist() == [[0], [0]]
    assert ran.sent["above"].tolist() == [[1], [0]]
    assert ran.membranes["at"].tolist() == [[64], [64]]


@pytest.mark.parametrize("value", [0, 1])
def test_silence_and_every_source_spiking(value: int) -> None:
    """784 events of the largest weight: more than 16 bits hold."""
    first = population(
        "first", constants(70, threshold=127 * 784 * 64 - 1), synapses("input", Dense(inputs=784, outputs=70), 127)
    )
    second = population("second", constants(3, threshold=-1), synapses("first", Dense(inputs=70, outputs=3), -128))
    (ran,) = assert_runs_alike(program_of(784, first, second), [np.full((70, 784), value, np.int32)])
    assert ran.sent["first"][0].tolist() == [value] * 70
    assert ran.sent["second"][0].tolist() == [1 - value] * 3


@pytest.mark.parametrize("delay", [1, 63, 64, 65, 70, 200])
@pytest.mark.parametrize("feed", [1, 9, 300])
def test_a_delay_of_any_length_with_feeds_of_any_length(delay: int, feed: int) -> None:
    late = population("late", constants(2), synapses("input", OneToOne(size=2), 2, delay=delay))
    later = population("later", constants(2), synapses("late", OneToOne(size=2), 2, delay=delay))
    values = np.zeros((300, 2), np.int32)
    values[[0, 3], [0, 1]] = 1
    parts = [values[first : first + feed] for first in range(0, 300, feed)]
    ran = assert_runs_alike(program_of(2, late, later), parts, available_paths()[-1:])
    sent = np.concatenate([activity.sent["late"] for activity in ran])
    assert np.argwhere(sent).tolist()[0] == [delay, 0]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("delay", [1, 2, 70])
def test_a_loop_of_two_populations_that_feeds_others(threads: int, delay: int) -> None:
    square = Dense(inputs=90, outputs=90)
    neurons = constants(90, threshold=9000, subtract=9001, decay=300, current_decay=2000)
    before = population("before", neurons, random_synapses("input", square, 1))
    one = population(
        "one", neurons, random_synapses("before", square, 2), random_synapses("two", square, 3, delay=delay)
    )
    two = population("two", neurons, random_synapses("one", square, 4), random_synapses("input", square, 5, delay=3))
    behind = population(
        "behind", replace(neurons, output="membrane", reset="none"), random_synapses("one", square, 6, delay=5)
    )
    program = program_of(90, before, one, two, behind)
    (ran, _) = assert_runs_alike(program, random_parts(program, 1, 140, 71), threads=threads)
    assert 0.02 < ran.sent["two"].mean() < 0.9


def test_a_population_that_takes_only_what_a_later_one_sent_before() -> None:
    """No loop, so the later population may run whole blocks ahead."""
    early = population("early", constants(3, reset="hard"), synapses("late", OneToOne(size=3), 2, delay=1))
    late = population("late", constants(3, reset="hard"), synapses("input", OneToOne(size=3), 2))
    program = program_of(3, early, late)
    (ran,) = assert_runs_alike(program, [random_input(program, np.random.default_rng(0), 150)])
    np.testing.assert_array_equal(ran.sent["early"][1:], ran.sent["late"][:-1])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_populations_that_run_in_strips(threads: int) -> None:
    """A matrix larger than a cache, and a loop over more neurons than one task has."""
    wide = random_synapses("input", Dense(inputs=1500, outputs=1100), 1)
    loop = (synapses("input", OneToOne(size=1500), 40), synapses("many", OneToOne(size=1500), -30, delay=1))
    spread = random_synapses(
        "many",
        Convolution(
            source=(1, 1, 1500),
            target=(6, 1, 1500),
            kernel=(1, 3),
            stride=(1, 1),
            padding=(0, 1),
            dilation=(1, 1),
            groups=1,
        ),
        2,
    )
    again = synapses("maps", OneToOne(size=9000), -20, delay=1)
    program = program_of(
        1500,
        population("wide", constants(1100, threshold=60_000, decay=300), wide),
        population("many", constants(1500, threshold=1500), *loop),
        population("maps", constants(9000, threshold=5000), spread, again),
    )
    (ran, _) = assert_runs_alike(program, random_parts(program, 3, 24, 20), available_paths()[-1:], threads)
    assert all(0.02 < sent.mean() < 0.9 for sent in ran.sent.values())


def test_maps_of_many_channels_beside_other_synapses_and_graded_input() -> None:
    """The engine keeps such neurons in an order of its own, which must not show."""
    rng = np.random.default_rng(4)
    first = Convolution(
        source=(2, 9, 7), target=(12, 5, 4), kernel=(3, 4), stride=(2, 2), padding=(1, 2), dilation=(1, 1), groups=1
    )
    second = replace(
        first, source=(12, 5, 4), target=(18, 5, 4), kernel=(2, 3), stride=(1, 1), padding=(0, 1), groups=2
    )
    pooled = replace(
        second, source=(18, 5, 4), target=(18, 2, 2), kernel=(2, 2), stride=(2, 2), padding=(0, 0), groups=18
    )
    pattern = rng.random((360, 126)) < 0.05
    rows, sources = np.nonzero(pattern)
    skip = Sparse(
        inputs=126, outputs=360, starts=np.searchsorted(rows, np.arange(361)), sources=sources.astype(np.int32)
    )

    def varied(size: int) -> IntegerStreamNeurons:
        made = constants(size, decay=400)
        return replace(
            made, threshold=rng.integers(0, 30_000, size, np.int32), bias=rng.integers(-99, 99, size, np.int32)
        )

    populations = (
        population("first", varied(240), random_synapses("input", first, 1)),
        population(
            "second",
            varied(360),
            random_synapses("first", second, 2),
            random_synapses("input", skip, 3, delay=2),
            random_synapses("second", OneToOne(size=360), 4, delay=1),
        ),
        population("pooled", varied(72), random_synapses("second", pooled, 5)),
        population(
            "read", replace(varied(5), output="membrane"), random_synapses("pooled", Dense(inputs=72, outputs=5), 6)
        ),
    )
    program = program_of(126, *populations, low=-3, high=200)
    for threads in (1, 2):
        (ran, _) = assert_runs_alike(program, random_parts(program, 2, 60, 33), threads=threads)
        assert 0.02 < ran.sent["pooled"].mean() < 0.98


def test_input_that_is_not_the_programs_and_probes_that_are_not_there_are_refused() -> None:
    program = program_of(2, population("one", constants(2), synapses("input", OneToOne(size=2), 1)))
    session = SimStreamSession(program)
    for values, message in (
        (np.zeros((3, 1), np.int32), r"input of shape \(3, 1\), expected \(time steps, 2\)"),
        (np.full((1, 2), 2, np.int32), "input from 2 to 2; the program was compiled for 0 to 1"),
    ):
        with pytest.raises(BispikError, match=message):
            session.feed(values)
    assert session.position == 0
    with pytest.raises(BispikError, match="no population to probe is called two"):
        SimStreamSession(program, ["two"])
    with pytest.raises(BispikError, match="--threads 0: give 1 to"):
        SimStreamSession(program, threads=0)


def test_an_interrupted_run_can_go_on() -> None:
    """A signal is looked at between blocks; what was run until then stays, and the session knows how much that is."""
    wiring = Dense(inputs=400, outputs=400)
    program = program_of(400, population("one", constants(400, threshold=900), synapses("input", wiring, 1)))
    values = random_input(program, np.random.default_rng(0), 4000)
    sessions = [SimStreamSession(program)]

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    def run_until_interrupted() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while True:
            sessions.append(SimStreamSession(program))
            sessions[-1].feed(values)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_until_interrupted()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    done = sessions[-1].position
    expected = SimStreamSession(program).feed(values)
    if done < len(values):
        np.testing.assert_array_equal(sessions[-1].feed(values[done:]).sent["one"], expected.sent["one"][done:])
