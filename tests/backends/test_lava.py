"""The whole program on Lava's simulator: the reference's bits, errors instead of hangs, and nothing left behind."""

from __future__ import annotations

import functools
import gc
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.activity import Activity
from bispik.backends.lava.arithmetic import weighted_sum
from bispik.backends.lava.clock import Clock
from bispik.backends.lava.limits import FileLimit
from bispik.backends.lava.session import LavaSession
from bispik.backends.lava.stock import dense_synapses, stock_neurons
from bispik.backends.reference import ReferenceSession
from bispik.compiler.bounds import OutputRange
from bispik.compiler.fixed_point import MEMBRANE_MAX
from bispik.compiler.graph import Reset, Spikes
from bispik.compiler.program import (
    IntegerJoin,
    IntegerNeurons,
    IntegerPopulation,
    IntegerProjection,
    NeuronProgram,
    QuantizedProgram,
)
from bispik.models.errors import BispikError
from tests.networks import random_program, random_tokens

FORMS: dict[str, dict[str, Any]] = {
    "soft": {},
    "hard": {"reset": "hard", "steps": 4, "readout_on_chip": False},
    "mixed": {"mixed_spike": True, "steps": 1},
    "block_output": {"block_output": True, "steps": 2},
    "graded_into_dense": {"pre_spike": False, "steps": 2},
    "no_layers": {"layers": 0, "steps": 5},
    "ternary": {"spikes": "ternary", "steps": 8},
    "ternary_hard": {"spikes": "ternary", "reset": "hard", "mixed_spike": True, "steps": 1},
    "ternary_block_output": {"spikes": "ternary", "reset": "hard", "block_output": True, "steps": 2},
    "ternary_graded": {"spikes": "ternary", "pre_spike": False, "steps": 3},
    "third_party": {
        "norm": True,
        "stream": True,
        "pre_spike": False,
        "mixed_spike": True,
        "block_output": True,
        "reset": "hard",
        "steps": 2,
    },
    "norms_into_neurons": {"norm": True, "spikes": "ternary", "steps": 2},
    "stream": {"stream": True, "steps": 3},
    "stock_third_party": {
        "neuron_program": "stock",
        "norm": True,
        "stream": True,
        "pre_spike": False,
        "block_output": True,
        "reset": "hard",
    },
    "stock": {"neuron_program": "stock", "reset": "hard", "steps": 4},
    "stock_block_output": {"neuron_program": "stock", "reset": "hard", "block_output": True, "mixed_spike": True},
    "stock_graded": {"neuron_program": "stock", "reset": "hard", "pre_spike": False, "steps": 1},
}
OTHER_MODELS = [
    "soft",
    "block_output",
    "ternary",
    "ternary_block_output",
    "ternary_graded",
    "third_party",
    "stock",
    "stock_block_output",
    "stock_third_party",
]


def form(name: str) -> QuantizedProgram:
    options: dict[str, Any] = {"layers": 1, **FORMS[name]}
    return random_program(7, **options)


def populations(program: QuantizedProgram) -> list[str]:
    return [population.name for population in program.of_kind(IntegerPopulation)]


@contextmanager
def lava(
    program: QuantizedProgram, lava_processes: bool | None = None, stall_seconds: float = 30.0, workers: int = 2
) -> Generator[LavaSession]:
    session = LavaSession(
        program,
        populations(program),
        lava_processes=lava_processes,
        stall_seconds=stall_seconds,
        workers=workers,
    )
    try:
        yield session
    finally:
        session.close()


def assert_same(one: Activity, other: Activity) -> None:
    assert one.first_position == other.first_position
    np.testing.assert_array_equal(one.token_ids, other.token_ids)
    np.testing.assert_array_equal(one.accumulators, other.accumulators)
    assert dict(one.saturations) == dict(other.saturations)
    for field in ("outputs", "score_spikes", "membranes"):
        ours, theirs = getattr(one, field), getattr(other, field)
        assert list(ours) == list(theirs), field
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=f"{field} of {name}")


def assert_runs_as_reference(program: QuantizedProgram, lava_processes: bool | None = None) -> None:
    tokens = random_tokens(program, 3, 6)
    reference = ReferenceSession(program, populations(program))
    with lava(program, lava_processes) as session:
        parts = [session.feed(part) for part in (tokens[:3], tokens[3:4], tokens[4:])]
    for part, length in zip(parts, (3, 1, 2), strict=True):
        assert_same(part, reference.feed(part.token_ids))
        assert len(part.token_ids) == length
    assert any(part.outputs["embed"].any() for part in parts)


@pytest.mark.parametrize("name", FORMS)
def test_lava_equals_reference(name: str) -> None:
    assert_runs_as_reference(form(name))


@pytest.mark.parametrize("name", OTHER_MODELS)
def test_one_process_a_population_equals_dense_and_neurons(name: str) -> None:
    program = form(name)
    assert_runs_as_reference(program, lava_processes=program.neuron_program != "stock")


@settings(max_examples=10)
@given(
    options=st.fixed_dictionaries(
        {
            "heads": st.integers(1, 3),
            "head_dim": st.integers(1, 5),
            "inner": st.integers(1, 13),
            "steps": st.integers(1, 8),
            "window": st.integers(2, 9),
            "pre_spike": st.booleans(),
            "mixed_spike": st.booleans(),
            "block_output": st.booleans(),
        }
    ),
    neurons=st.sampled_from(
        [
            ("bispik", "soft", "binary"),
            ("bispik", "hard", "binary"),
            ("bispik", "soft", "ternary"),
            ("bispik", "hard", "ternary"),
            ("stock", "hard", "binary"),
        ]
    ),
    seed=st.integers(0, 2**32 - 1),
    split=st.integers(1, 8),
)
def test_lava_equals_reference_for_any_program_and_any_split_of_the_tokens(
    options: dict[str, Any], neurons: tuple[NeuronProgram, Reset, Spikes], seed: int, split: int
) -> None:
    ours, reset, spikes = neurons
    program = random_program(seed, layers=1, neuron_program=ours, reset=reset, spikes=spikes, **options)
    tokens = random_tokens(program, seed)
    reference = ReferenceSession(program, populations(program))
    with lava(program) as session:
        for part in (tokens[:split], tokens[split:]):
            if len(part):
                assert_same(session.feed(part), reference.feed(part))


@pytest.mark.parametrize("workers", [1, 5, 100])
@pytest.mark.parametrize("name", ["soft", "stock"])
def test_any_number_of_workers(name: str, workers: int) -> None:
    program = form(name)
    with lava(program, workers=workers) as session:
        assert_same(session.feed([1, 2]), ReferenceSession(program, populations(program)).feed([1, 2]))


def test_one_feed_equals_several() -> None:
    program = form("hard")
    tokens = random_tokens(program, 3, 6)  # as in the test above, where they come in three feeds
    with lava(program) as session:
        assert_same(session.feed(tokens), ReferenceSession(program, populations(program)).feed(tokens))


@pytest.mark.parametrize("stock", [False, True], ids=["bispik", "stock"])
def test_saturated_membranes_are_counted(stock: bool) -> None:
    program = form("stock" if stock else "soft")

    def pushed(neurons: IntegerNeurons) -> IntegerNeurons:
        bias = np.full(neurons.size, (4095 << 7) if stock else MEMBRANE_MAX // 2, np.int32)
        threshold = np.full(neurons.size, ((1 << 17) - 1) << 6 if stock else MEMBRANE_MAX, np.int32)
        return replace(neurons, bias=bias, threshold=threshold, subtract=np.zeros_like(bias), decay=0)

    nodes = [replace(n, neurons=pushed(n.neurons)) if isinstance(n, IntegerPopulation) else n for n in program.nodes]
    program = replace(program, nodes=tuple(nodes), steps_per_token=20 if stock else 4)
    injection = replace(program.injection, step_gain=(1,) * program.steps_per_token)
    program = replace(program, nodes=(injection, *program.nodes[1:]))
    reference = ReferenceSession(program, populations(program))
    with lava(program) as session:
        activity = session.feed([1, 2])
    assert_same(activity, reference.feed([1, 2]))
    assert sum(activity.saturations.values()) > 0


def test_attention_stores_tokens_and_no_idle_window() -> None:
    program = form("soft")
    name = "block_00/attn/attention"
    reference = ReferenceSession(program)
    with lava(program) as session:
        for tokens in ([1, 2], [3]):
            session.feed(tokens)
            reference.feed(tokens)
        attention: Any = session.processes[name]
        assert attention.tokens.get().tolist() == [3]
        np.testing.assert_array_equal(attention.keys.get(), reference.keys[name].swapaxes(1, 2))
        np.testing.assert_array_equal(attention.values.get(), reference.values[name].swapaxes(1, 2))


# --- errors -----------------------------------------------------------------------------------------------------------


def children() -> set[int]:
    """Processes whose parent is this one."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def possessions() -> dict[str, Any]:
    """What a session could leave behind."""
    gc.collect()
    return {
        "children": children(),
        "active": len(multiprocessing.active_children()),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "limit": resource.getrlimit(resource.RLIMIT_NOFILE),
        "threads": threading.active_count(),
        "log handlers": logging.getLogger().handlers[:],
    }


def shared_memory() -> set[str]:
    """Names of shared memory and semaphores that Python makes."""
    return {path.name for path in Path("/dev/shm").iterdir() if path.name.startswith(("psm_", "sem."))}


@functools.cache
def warm_up() -> None:
    """Import Lava, and let it open what it opens once."""
    with lava(form("no_layers")):
        pass


@pytest.fixture
def nothing_left() -> Generator[None]:
    """Fail if the test leaves a process, a thread, a file or shared memory behind."""
    warm_up()
    before, names = possessions(), shared_memory()
    yield
    deadline = time.monotonic() + 5.0
    while possessions() != before and time.monotonic() < deadline:
        time.sleep(0.05)  # threads and killed processes take a moment
    assert possessions() == before
    assert not shared_memory() - names


def broken(monkeypatch: pytest.MonkeyPatch, method: str, replacement: Callable[..., None]) -> None:
    """Replace a method of the readout's model, in this process and in those that it forks."""
    from bispik.backends.lava.processes.readout.models import PyReadoutModel

    monkeypatch.setattr(PyReadoutModel, method, replacement)


@pytest.mark.usefixtures("nothing_left")
def test_nothing_is_left_after_close() -> None:
    others = children()  # those that other tests share, as the server that forks workers
    with lava(form("stock")) as session:
        assert len(children() - others) == session.workers
        session.feed([1])
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.feed([1])


@pytest.mark.usefixtures("nothing_left")
def test_nothing_is_left_of_a_session_that_nobody_closed() -> None:
    session = LavaSession(form("no_layers"))
    session.feed([1])
    del session


@pytest.mark.usefixtures("nothing_left")
def test_exception_in_a_model_surfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_model: Any) -> None:
        raise ValueError("no such thing")

    broken(monkeypatch, "run_spk", fail)
    with (
        lava(form("no_layers")) as session,
        pytest.raises(RuntimeError, match=r"head: ValueError: no such thing\nTraceback"),
    ):
        session.feed([1, 2])


@pytest.mark.usefixtures("nothing_left")
def test_exception_in_the_making_of_a_model_surfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_model: Any, _parameters: Any) -> None:
        raise ValueError("cannot be made")

    broken(monkeypatch, "__init__", fail)
    with pytest.raises(RuntimeError, match="head: ValueError: cannot be made"):
        LavaSession(form("no_layers"))


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("running", [False, True], ids=["between feeds", "in a feed"])
def test_killed_worker_surfaces(monkeypatch: pytest.MonkeyPatch, running: bool) -> None:
    def end(_model: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if running:
        broken(monkeypatch, "run_spk", end)
    with lava(form("no_layers")) as session:
        if not running:
            os.kill(max(children()), signal.SIGKILL)
        with pytest.raises(BispikError, match=r"was killed \(exit code -9\)"):
            session.feed([1, 2])


@pytest.mark.usefixtures("nothing_left")
def test_network_that_stands_still_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(_model: Any) -> None:
        time.sleep(60)

    broken(monkeypatch, "run_spk", sleep)
    with (
        lava(form("no_layers"), stall_seconds=1.0) as session,
        pytest.raises(BispikError, match="made no step for 1 s"),
    ):
        session.feed([1, 2])


@pytest.mark.usefixtures("nothing_left")
def test_interruption_ends_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_model: Any) -> None:
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(60)

    broken(monkeypatch, "run_spk", interrupt)
    # A shell starts what runs in its background with interruptions ignored; this test must not depend on that.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with lava(form("no_layers")) as session, pytest.raises(KeyboardInterrupt):
            session.feed([1, 2])
    finally:
        signal.signal(signal.SIGINT, previous)


RUN = """
import os, sys, time
from bispik.backends.lava.session import LavaSession
from tests.networks import random_program
session = LavaSession(random_program(7, layers=0))
session.feed([1])
print(*(worker.pid for worker in session._fabric._runtime._messaging_infrastructure.actors), flush=True)
"""


def run_python(code: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_python_exits_with_an_open_session() -> None:
    run = run_python(RUN)
    output, errors = run.communicate(timeout=60)
    assert run.returncode == 0
    assert errors == ""
    assert not any(Path(f"/proc/{pid}").exists() for pid in output.split())


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_workers_go_when_their_parent_is_killed(end: signal.Signals) -> None:
    run = run_python(RUN + "time.sleep(60)")
    assert run.stdout is not None
    workers = [Path(f"/proc/{pid}") for pid in run.stdout.readline().split()]
    assert workers
    assert all(worker.exists() for worker in workers)
    run.send_signal(end)
    run.communicate(timeout=60)
    deadline = time.monotonic() + 20.0
    while any(worker.exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(worker.exists() for worker in workers)


def test_missing_lava_is_an_error_that_says_how_to_install_it() -> None:
    code = """
        import sys
        sys.modules["lava"] = None  # what Python puts there to forbid an import
        from bispik.backends.lava.session import LavaSession
        from bispik.models.errors import BispikError
        from tests.networks import random_program
        try:
            LavaSession(random_program(7, layers=0))
        except BispikError as error:
            print(error)
    """
    output, errors = run_python(code).communicate(timeout=60)
    assert "pip install --no-deps --ignore-requires-python lava-nc==0.10.0" in output, errors


def test_too_many_processes_for_the_limit_on_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, 512))
    with pytest.raises(BispikError, match=r"for 300 models in 4 processes, the limit is 512 \(ulimit -Hn\)"):
        FileLimit().make_room(300, 4)


def test_unknown_probe_and_bad_tokens_are_the_users_errors() -> None:
    program = form("no_layers")
    with pytest.raises(BispikError, match="no population to probe is called nothing"):
        LavaSession(program, ["nothing"])
    with lava(program) as session:
        for tokens, message in (([], "no tokens"), ([99], "token id 99"), ([0] * 9, "9 tokens do not fit")):
            with pytest.raises(BispikError, match=message):
                session.feed(tokens)
        assert_same(session.feed([1]), ReferenceSession(program, populations(program)).feed([1]))


def test_more_inputs_than_ports_are_refused() -> None:
    program = form("soft")
    name = "block_00/attn/sum"
    join = next(join for join in program.of_kind(IntegerJoin) if join.name == name)
    wide = replace(join, inputs=(*join.inputs, *join.inputs, *join.inputs), exponents=(0,) * 6)
    program = replace(program, nodes=tuple(wide if node.name == name else node for node in program.nodes))
    with pytest.raises(BispikError, match="sum: 6 inputs; the Lava backend has ports for 4"):
        LavaSession(program)


def test_counts_that_a_run_could_not_hold_are_refused() -> None:
    with pytest.raises(BispikError, match=r"attention: outputs could reach 32,768"):
        LavaSession(replace(form("ternary"), window=1 << 15))


# --- the parts --------------------------------------------------------------------------------------------------------


@given(
    weight=st.lists(st.lists(st.integers(-128, 127), min_size=5, max_size=5), min_size=1, max_size=4),
    values=st.lists(st.sampled_from([0, 1, 1, 3, -2, 1 << 20, 1 << 30]), min_size=5, max_size=5),
)
def test_weighted_sum_is_a_matrix_product(weight: list[list[int]], values: list[int]) -> None:
    rows = np.ascontiguousarray(np.array(weight, np.int8).T)
    expected = np.array(weight, np.int64) @ np.array(values, np.int64)
    np.testing.assert_array_equal(weighted_sum(rows, np.array(values, np.int32)), expected)


@given(steps=st.integers(1, 9), skew=st.integers(0, 30), time_step=st.integers(1, 200))
def test_lavas_reset_comes_at_phase_0(steps: int, skew: int, time_step: int) -> None:
    clock = Clock(steps, skew)
    assert (time_step % steps == clock.reset_offset) == (clock.phase(time_step) == 0)


def neurons(
    reset: Reset = "hard",
    spikes: Spikes = "binary",
    threshold: tuple[int, int] = (0, 0),
    bias: tuple[int, int] = (0, 0),
) -> IntegerNeurons:
    return IntegerNeurons(
        program="stock",
        reset=reset,
        spikes=spikes,
        decay=100,
        threshold=np.array(threshold, np.int32),
        subtract=np.zeros(2, np.int32),
        bias=np.array(bias, np.int32),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reset": "soft"}, "resets to 0"),
        ({"spikes": "ternary"}, "only spikes 0 or 1"),
        ({"threshold": (64, 128)}, "one threshold a population"),
        ({"threshold": (65, 65)}, "a multiple of 64"),
        ({"threshold": (1 << 23, 1 << 23)}, "threshold 131072 is outside"),
        ({"bias": (0, 4097)}, "bias 4097 of neuron 1"),
        ({"bias": (-(4095 << 8), 0)}, "neuron 0"),
    ],
)
def test_what_is_no_lif_reset_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BispikError, match=f"here: .*{message}"):
        stock_neurons("here", neurons(**changes))


def test_bias_is_split_into_mantissa_and_exponent() -> None:
    stock = stock_neurons("here", neurons(bias=(-4095 << 7, 4098), threshold=(640, 640)))
    assert (stock.bias_mant << stock.bias_exp).tolist() == [-4095 << 7, 4098]
    assert stock.bias_exp.tolist() == [7, 1]
    assert stock.vth == 10


def test_dense_that_could_wrap_is_refused() -> None:
    projection = IntegerProjection(source="there", weight=np.full((1, 8), 127, np.int8), exponent=20, bits=8)
    with pytest.raises(BispikError, match="currents from there could reach 6,392,119,296 of 2,147,483,647"):
        dense_synapses("here", replace(projection, exponent=0), shift=20, inputs=8, outputs=OutputRange(0, 3))
    with pytest.raises(BispikError, match="exponent 5 from there is below the 6"):
        dense_synapses("here", replace(projection, exponent=5), shift=-1, inputs=8, outputs=OutputRange(0, 1))


@pytest.mark.parametrize(
    ("outputs", "bits"),
    [(OutputRange(0, 1), 0), (OutputRange(-1, 1), 2), (OutputRange(0, 5), 3), (OutputRange(-5, 5), 4)],
)
def test_what_is_no_binary_spike_is_a_graded_message_to_lava(outputs: OutputRange, bits: int) -> None:
    projection = IntegerProjection(source="there", weight=np.ones((1, 8), np.int8), exponent=6, bits=8)
    assert dense_synapses("here", projection, shift=6, inputs=8, outputs=outputs).num_message_bits == bits
