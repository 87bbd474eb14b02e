"""Stream programs on Lava's simulator: the reference's bits, in its own processes and in ours."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.lava.hardware import Loihi2StreamSession
from bispik.backends.lava.stream.arithmetic import History
from bispik.backends.lava.stream.network import build_stream_network
from bispik.backends.lava.stream.session import LavaStreamSession
from bispik.backends.lava.stream.stock import lif_parameters, triples
from bispik.backends.lava.stream.tape import StreamTape
from bispik.backends.stream.activity import StreamActivity
from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.compiler.fixed_point import MEMBRANE_MAX
from bispik.compiler.program import NeuronProgram
from bispik.compiler.stream.network import Output
from bispik.compiler.stream.nir_read import read_nir_stream
from bispik.compiler.stream.program import (
    IntegerStreamInput,
    IntegerStreamNeurons,
    IntegerStreamPopulation,
    IntegerStreamProjection,
    StreamProgram,
)
from bispik.compiler.stream.quantize import StreamOptions, quantize_stream
from bispik.compiler.stream.schedule import schedule
from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Wiring
from bispik.models.errors import BispikError
from tests.stream.nir_files import entry, exit_, nir, write
from tests.stream.random_programs import convolutions, programs, projection, random_input, wirings


@contextmanager
def lava(program: StreamProgram, workers: int = 2) -> Generator[LavaStreamSession]:
    names = [population.name for population in program.populations]
    session = LavaStreamSession(program, names, stall_seconds=30.0, workers=workers)
    try:
        yield session
    finally:
        session.close()


def assert_same(one: StreamActivity, other: StreamActivity) -> None:
    assert one.first_step == other.first_step
    np.testing.assert_array_equal(one.input, other.input)
    assert dict(one.saturations) == dict(other.saturations)
    for field in ("sent", "membranes"):
        ours, theirs = getattr(one, field), getattr(other, field)
        assert set(ours) == set(theirs), field
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=f"{field} of {name}")


def assert_runs_as_reference(program: StreamProgram, parts: Sequence[npt.NDArray[np.int32]]) -> None:
    reference = ReferenceStreamSession(program, [population.name for population in program.populations])
    with lava(program) as session:
        for part in parts:
            assert_same(session.feed(part), reference.feed(part))


# --- random programs --------------------------------------------------------------------------------------------------


def compare(neuron_program: NeuronProgram, program: StreamProgram, seed: int) -> None:
    values = random_input(program, np.random.default_rng(seed), 24)
    whole = neuron_program == "stock"
    assert_runs_as_reference(program, [values] if whole else [values[:9], values[9:10], values[10:]])


@settings(max_examples=25)
@given(program=programs(neuron_program="stock"), seed=st.integers(0, 99))
def test_stock_equals_reference(program: StreamProgram, seed: int) -> None:
    compare("stock", program, seed)


@settings(max_examples=25)
@given(program=programs(neuron_program="bispik"), seed=st.integers(0, 99))
def test_bispik_equals_reference(program: StreamProgram, seed: int) -> None:
    compare("bispik", program, seed)


@pytest.mark.slow
@settings(max_examples=250)
@given(program=programs(neuron_program="stock"), seed=st.integers(0, 99))
def test_many_stock_programs_equal_reference(program: StreamProgram, seed: int) -> None:
    compare("stock", program, seed)


@pytest.mark.slow
@settings(max_examples=250)
@given(program=programs(neuron_program="bispik"), seed=st.integers(0, 99))
def test_many_bispik_programs_equal_reference(program: StreamProgram, seed: int) -> None:
    compare("bispik", program, seed)


# --- programs made by hand --------------------------------------------------------------------------------------------


def neurons(
    size: int,
    *,
    program: NeuronProgram = "stock",
    output: Output = "spikes",
    current_decay: int = 4096,
    decay: int = 163,
    threshold: int = 1600,
    bias: int = 0,
    initial: int = 0,
) -> IntegerStreamNeurons:
    def all_of(value: int) -> npt.NDArray[np.int32]:
        return np.full(size, value, np.int32)

    return IntegerStreamNeurons(
        program=program,
        reset="hard" if output == "spikes" else "none",
        output=output,
        current_decay=all_of(current_decay),
        decay=all_of(decay),
        threshold=all_of(threshold),
        subtract=all_of(0),
        bias=all_of(bias),
        initial=all_of(initial),
        initial_current=all_of(0),
    )


def population(
    name: str, inputs: Sequence[IntegerStreamProjection], constants: IntegerStreamNeurons
) -> IntegerStreamPopulation:
    return IntegerStreamPopulation(name=name, shape=(constants.size,), inputs=tuple(inputs), neurons=constants)


def synapses(source: str, wiring: Wiring, weight: object, delay: int = 0, exponent: int = 6) -> IntegerStreamProjection:
    return IntegerStreamProjection(
        source=source,
        wiring=wiring,
        weight=np.array(weight, np.int8).reshape(wiring.weight_shape),
        exponent=exponent,
        bits=8,
        delay=delay,
    )


def program_of(size: int, populations: Sequence[IntegerStreamPopulation], low: int = 0, high: int = 1) -> StreamProgram:
    return StreamProgram(
        input=IntegerStreamInput(name="input", shape=(size,), size=size, low=low, high=high, unit=1.0),
        populations=tuple(populations),
        output=populations[-1].name,
        dt=1e-3,
        discretisation="euler",
        origin="made by a test",
        bits=8,
        neuron_program=populations[0].neurons.program,
        membrane_scale={p.name: np.ones(p.size) for p in populations},
    )


def kinds(program: StreamProgram) -> dict[str, list[str]]:
    """Lava's processes that a stock program's populations get their input from."""
    timing = schedule(program.input.name, program.populations)
    tape = StreamTape({name: {} for name in ["input", *(p.name for p in program.populations)]})
    graph = build_stream_network(program, timing, tape)
    neurons: dict[str, Any] = {p.name: graph.processes[p.name] for p in program.populations}
    return {
        name: [type(port.process).__name__ for port in process.a_in.get_src_ports()]
        for name, process in neurons.items()
    }


@settings(max_examples=12)
@given(data=st.data())
def test_lavas_own_convolutions_in_a_row(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shape = data.draw(st.sampled_from([(2, 7, 5), (4, 5, 8), (1, 9, 6)]))

    def fits(wiring: Convolution) -> bool:
        return all(
            wiring.source[a + 1] + 2 * wiring.padding[a] > wiring.dilation[a] * (wiring.kernel[a] - 1) for a in (0, 1)
        )

    first = data.draw(convolutions(shape).filter(fits))
    second = data.draw(convolutions(first.target).filter(fits))
    dense = Dense(inputs=second.outputs, outputs=3)
    skip = Dense(inputs=first.inputs, outputs=3)
    populations = [
        population("one", [projection("input", first, 0, 8, rng)], neurons(first.outputs, threshold=3200, bias=90)),
        population("two", [projection("one", second, 0, 5, rng)], neurons(second.outputs, initial=640)),
        population(
            "three",
            [projection("two", dense, 0, 8, rng), projection("input", skip, 0, 8, rng)],
            neurons(3, output="membrane"),
        ),
    ]
    program = program_of(first.inputs, populations, low=-3, high=5)
    assert kinds(program) == {"one": ["Conv"], "two": ["Conv"], "three": ["Dense", "DelayDense"]}
    values = random_input(program, rng, 12)
    assert_runs_as_reference(program, [values])


def test_what_lavas_convolution_cannot_do_becomes_sparse() -> None:
    rng = np.random.default_rng(3)
    whole = Convolution(
        source=(1, 4, 4), target=(2, 3, 3), kernel=(2, 2), stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
    )
    by_name: dict[str, Wiring] = {
        "one": whole,
        "asymmetric": replace(whole, target=(2, 4, 4)),
        "delayed": whole,
        "lone": OneToOne(size=16),
    }
    populations = [
        population(
            name, [projection("input", wiring, 2 * (name == "delayed"), 8, rng)], neurons(wiring.outputs, threshold=640)
        )
        for name, wiring in by_name.items()
    ]
    loop = Dense(inputs=18, outputs=18)
    populations[0] = replace(populations[0], inputs=(*populations[0].inputs, projection("one", loop, 1, 4, rng)))
    # Every population must be connected with the rest, which the input sees to.
    program = program_of(16, populations)
    assert kinds(program) == {
        "one": ["Conv", "Dense"],
        "asymmetric": ["Sparse"],
        "delayed": ["DelaySparse"],
        "lone": ["Sparse"],
    }
    values = random_input(program, rng, 20)
    assert_runs_as_reference(program, [values])


def test_neurons_that_start_with_bias_and_state_wait_for_their_first_input() -> None:
    one = Dense(inputs=1, outputs=1)
    chain = [
        population(
            f"p{k}", [synapses("input" if k == 0 else f"p{k - 1}", one, [20])], neurons(1, bias=900, initial=1500)
        )
        for k in range(4)
    ]
    late = population("late", [synapses("p3", one, [100]), synapses("p0", one, [7], delay=5)], neurons(1, initial=-300))
    assert_runs_as_reference(program_of(1, [*chain, late]), [np.zeros((15, 1), np.int32)])


def test_loops_of_several_populations() -> None:
    rng = np.random.default_rng(11)
    four = Dense(inputs=4, outputs=4)
    a = population("a", [projection("input", four, 0, 8, rng), projection("c", four, 3, 8, rng)], neurons(4))
    b = population("b", [projection("a", four, 0, 8, rng), projection("b", four, 1, 8, rng)], neurons(4))
    c = population("c", [projection("b", four, 0, 8, rng), projection("a", four, 2, 8, rng)], neurons(4))
    end = population("end", [projection("c", four, 0, 8, rng)], neurons(4, output="membrane"))
    program = program_of(4, [a, b, c, end])
    values = random_input(program, rng, 40)
    assert_runs_as_reference(program, [values])
    ours = [replace(p, neurons=replace(p.neurons, program="bispik")) for p in (a, b, c, end)]
    assert_runs_as_reference(program_of(4, ours), [values[:1], values[1:7], values[7:]])


def test_a_run_longer_than_the_tape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bispik.backends.lava.stream.tape.STEPS_MAX", 7)
    rng = np.random.default_rng(5)
    for kind in ("stock", "bispik"):
        chain = [
            population(
                f"p{k}",
                [projection("input" if k == 0 else f"p{k - 1}", Dense(inputs=3, outputs=3), 0, 8, rng)],
                neurons(3, program="stock" if kind == "stock" else "bispik", bias=30),
            )
            for k in range(3)
        ]
        program = program_of(3, chain)
        assert_runs_as_reference(program, [random_input(program, rng, 50)])


# The single neuron of the NIR paper, in Lava's own processes, source and monitors, on Lava's own runtime.
SINGLE_NEURON = """
import json, sys
import numpy as np
from bispik.backends.lava.compat import import_lava

import_lava()

from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import Dense
from lava.proc.io.source import RingBuffer
from lava.proc.lif.process import LIF
from lava.proc.monitor.process import Monitor

train = json.load(sys.stdin)
steps = len(train) + 1
source = RingBuffer(data=np.array([[*train, 0]]))
dense = Dense(weights=np.array([[10]]))
lif = LIF(shape=(1,), du=4095, dv=163, vth=25)
membrane, spikes = Monitor(), Monitor()
membrane.probe(lif.v, steps)
spikes.probe(lif.s_out, steps)
source.s_out.connect(dense.s_in)
dense.a_out.connect(lif.a_in)
try:
    lif.run(condition=RunSteps(num_steps=steps), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    traces = [list(monitor.get_data().values())[0] for monitor in (membrane, spikes)]
    print(json.dumps([list(trace.values())[0].ravel().astype(int).tolist()[1:] for trace in traces]))
finally:
    lif.stop()
"""


def single_neuron(folder: Path) -> StreamProgram:
    """The neuron as a NIR file says it, compiled: a whole weight and threshold stay what they are."""
    keep = 1 - 163 / 4096
    values = {"tau": 1e-3 / (1 - keep), "r": 1 / (1 - keep), "v_leak": 0.0, "v_threshold": 25.0, "v_reset": 0.0}
    lif = nir.LIF(**{key: np.full(1, value) for key, value in values.items()})
    nodes = {"input": entry(1), "weight": nir.Linear(np.array([[10.0]])), "neuron": lif, "output": exit_(1)}
    path = write(folder, nodes, "input weight neuron output")
    return quantize_stream(read_nir_stream(path, convention=None, dt=1e-3), StreamOptions())


def test_single_neuron_equals_lavas_own_processes(tmp_path: Path) -> None:
    train = (np.random.default_rng(1).random(1500) < 0.4).astype(np.int32)
    lavas = subprocess.run(
        [sys.executable, "-W", "error", "-c", SINGLE_NEURON],
        input=json.dumps(train.tolist()),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert lavas.returncode == 0, lavas.stderr
    membrane, spikes = json.loads(lavas.stdout)
    program = single_neuron(tmp_path)
    with lava(program) as session:
        activity = session.feed(train[:, None])
    assert activity.membranes["neuron"].ravel().tolist() == membrane
    assert activity.sent["neuron"].ravel().tolist() == spikes
    assert sum(spikes) > 50
    assert_same(activity, ReferenceStreamSession(program, ["neuron"]).feed(train[:, None]))


# --- what does not fit ------------------------------------------------------------------------------------------------


def single(
    constants: IntegerStreamNeurons, weight: int = 10, low: int = 0, high: int = 1, **options: Any
) -> StreamProgram:
    inputs = [synapses("input", Dense(inputs=1, outputs=1), [weight], **options)]
    return program_of(1, [population("neuron", inputs, constants)], low, high)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (single(neurons(1, decay=4096)), r"a membrane without memory \(decay 4096\).*--neurons bispik"),
        (single(neurons(1, threshold=1601)), "threshold 1601; Lava's LIF has multiples of 64"),
        (single(neurons(1, threshold=-64)), "threshold -64"),
        (single(neurons(1, bias=4097)), "bias 4097"),
        (single(neurons(1), exponent=5), "exponent 5 from input is below the 6"),
        (single(neurons(1), delay=70), "messages from input must wait 70 steps; Lava's synapses delay by 63"),
        (single(neurons(1), low=-(1 << 27), high=1 << 27), "currents from input could reach"),
        (single(replace(neurons(1), reset="soft")), "these neurons have reset 'soft'"),
    ],
)
def test_what_lavas_own_processes_cannot_do_is_refused(program: StreamProgram, message: str) -> None:
    with pytest.raises(BispikError, match=message):
        LavaStreamSession(program)


def test_many_decays_are_refused() -> None:
    with pytest.raises(BispikError, match="one decay a population, these neurons have many"):
        lif_parameters("p", replace(neurons(2), decay=np.array([1, 2], np.int32)))


def test_numbers_that_lava_would_wrap_or_reset_are_errors() -> None:
    with (
        lava(single(neurons(1, current_decay=1), weight=127, high=900)) as session,
        pytest.raises(BispikError, match=r"neuron: a current reached .* where Lava's neurons wrap"),
    ):
        session.feed(np.full((5, 1), 900, np.int32))
    membrane = neurons(1, decay=0, output="membrane", initial=MEMBRANE_MAX - 640)
    with (
        lava(single(membrane)) as session,
        pytest.raises(BispikError, match="neuron: a membrane came to 8,388,544"),
    ):
        session.feed(np.ones((5, 1), np.int32))


def test_a_stock_sequence_cannot_be_continued() -> None:
    with lava(single(neurons(1))) as session:
        session.feed(np.ones((2, 1), np.int32))
        with pytest.raises(BispikError, match="run the whole input at once"):
            session.feed(np.ones((2, 1), np.int32))


def test_a_population_on_its_own_is_refused() -> None:
    program = single(neurons(1))
    loop = [synapses("island", Dense(inputs=1, outputs=1), [3], delay=1)]
    island = replace(program, populations=(*program.populations, population("island", loop, neurons(1))))
    with pytest.raises(BispikError, match="island: nothing connects it with input"):
        LavaStreamSession(island)


def test_more_inputs_than_ports_are_refused() -> None:
    inputs = [synapses("input", Dense(inputs=1, outputs=1), [1]) for _ in range(17)]
    with pytest.raises(BispikError, match="neuron: 17 inputs; the Lava backend has ports for 16"):
        LavaStreamSession(program_of(1, [population("neuron", inputs, neurons(1, program="bispik"))]))


def test_bad_probes_and_inputs_are_the_users_errors() -> None:
    with pytest.raises(BispikError, match="no population to probe is called nothing"):
        LavaStreamSession(single(neurons(1)), ["nothing"])
    with lava(single(neurons(1))) as session:
        with pytest.raises(BispikError, match="compiled for 0 to 1"):
            session.feed(np.full((2, 1), 2, np.int32))
        session.feed(np.ones((2, 1), np.int32))


def test_killed_worker_surfaces_and_nothing_is_left() -> None:
    before = len(multiprocessing.active_children())
    with lava(single(neurons(1, initial=5))) as session:
        workers = multiprocessing.active_children()
        assert len(workers) == before + session.workers
        os.kill(workers[-1].pid or 0, signal.SIGKILL)
        with pytest.raises(BispikError, match=r"was killed \(exit code -9\)"):
            session.feed(np.ones((2, 1), np.int32))
    assert len(multiprocessing.active_children()) == before


def test_a_machine_too_small_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any, **_options: Any) -> None:
        raise MemoryError("Unable to allocate 3.6 GiB")

    monkeypatch.setattr("bispik.backends.lava.stream.network.LIF", full)
    with pytest.raises(BispikError, match=r"has not the memory to run the program on Lava \(Unable to allocate"):
        LavaStreamSession(single(neurons(1)))


def test_loihi2_says_what_is_missing() -> None:
    with pytest.raises(
        BispikError, match=r"1 of 1 populations run as stock.* no model for the chip of Lava's Dense, LIF"
    ):
        Loihi2StreamSession(single(neurons(1)))
    with pytest.raises(
        BispikError, match=r"0 of 1 populations .* no neurocore microcode program for 1 population \(neu"
    ):
        Loihi2StreamSession(single(neurons(1, program="bispik")))


# --- the parts --------------------------------------------------------------------------------------------------------


@given(data=st.data())
def test_triples_are_the_wiring(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    wiring = data.draw(wirings((2, 5, 4), rng))
    made = projection("input", wiring, 0, 3, rng)
    matrix = np.zeros((wiring.outputs, wiring.inputs), np.int64)
    np.add.at(matrix, triples(made)[:2], triples(made)[2])
    expected = wiring.apply(made.weight.astype(np.int64), np.eye(wiring.inputs, dtype=np.int64))
    np.testing.assert_array_equal(matrix, expected.T)


@given(delay=st.integers(0, 9), wait=st.integers(0, 9), cut=st.integers(1, 19))
def test_history_holds_what_is_due(delay: int, wait: int, cut: int) -> None:
    history = History(delay, wait, 1)
    for first, stop in ((0, cut), (cut, 20)):  # a run; then all that was sent arrives before the next one begins
        for step in range(first, stop):
            for sent in range(first, min(stop, step - delay + wait + 1)):
                history.put(sent, np.array([sent + 1], np.int32))
            assert history.due(step)[0] == max(0, step - delay + 1)
        for sent in range(first, stop):
            history.put(sent, np.array([sent + 1], np.int32))
