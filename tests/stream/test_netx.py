"""Stock programs as lava-dl's .net files: lava-dl loads them, and its networks spike as the reference does."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bispik.backends.lava.compat import import_netx
from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.compiler.stream.network import Output
from bispik.compiler.stream.netx import survives, write_netx
from bispik.compiler.stream.program import (
    IntegerStreamInput,
    IntegerStreamNeurons,
    IntegerStreamPopulation,
    IntegerStreamProjection,
    StreamProgram,
)
from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Wiring
from bispik.models.errors import BispikError

STEPS = 25

# Loads each file and runs it, by lava-dl and Lava alone, between a source and a sink of Lava's.
LAVA_DL = """
import sys
import numpy as np
from bispik.backends.lava.compat import import_netx

netx = import_netx()

from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.monitor.process import Monitor

for folder in sys.argv[1:]:
    given = np.load(f"{folder}/input.npz")
    steps, layers = len(given["values"]), int(given["layers"])
    options = {"reset_interval": steps + layers + 1, "reset_offset": 1} if given["biased"] else {}
    network = netx.hdf5.Network(f"{folder}/program.net", input_message_bits=int(given["bits"]), **options)
    data = np.moveaxis(given["values"].reshape(steps, *network.inp.shape[::-1]), 0, -1)
    data = data.transpose(*range(data.ndim - 1)[::-1], data.ndim - 1)  # (x, y, channel, step)
    source = Source(data=np.concatenate([data, np.zeros((*data.shape[:-1], layers), int)], axis=-1))
    sink, membrane = Sink(shape=network.out.shape, buffer=steps + layers), Monitor()
    membrane.probe(network.layers[-1].neuron.v, steps + layers)
    source.s_out.connect(network.inp)
    network.out.connect(sink.a_in)
    try:
        network.run(condition=RunSteps(num_steps=steps + layers), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
        spikes = sink.data.get().astype(int)
        (variables,) = membrane.get_data().values()
        (membranes,) = variables.values()
    finally:
        network.stop()
    ours = lambda map: map.transpose(0, *range(1, map.ndim)[::-1]).reshape(len(map), -1)[layers:]
    np.savez(f"{folder}/output.npz", spikes=ours(np.moveaxis(spikes, -1, 0)), membranes=ours(np.asarray(membranes)))
"""


def neurons(size: int, rng: np.random.Generator, output: Output = "spikes", bias: int = 0) -> IntegerStreamNeurons:
    zero = np.zeros(size, np.int32)
    return IntegerStreamNeurons(
        program="stock",
        reset="hard" if output == "spikes" else "none",
        output=output,
        current_decay=np.full(size, rng.integers(2000, 4097), np.int32),
        decay=np.full(size, rng.integers(0, 4096), np.int32),
        threshold=np.full(size, 64 * rng.integers(10, 60), np.int32),
        subtract=zero,
        bias=64 * rng.integers(-bias, bias + 1, size).astype(np.int32),
        initial=zero,
        initial_current=zero,
    )


def projection(
    source: str, wiring: Wiring, rng: np.random.Generator, delay: int = 0, bits: int = 8, sign: int = 0
) -> IntegerStreamProjection:
    largest = (1 << (bits - 1)) - 1
    weight = rng.integers(-largest, largest + 1, wiring.weight_shape)
    weight = np.abs(weight) * sign if sign else weight
    return IntegerStreamProjection(
        source=source, wiring=wiring, weight=weight.astype(np.int8), exponent=6, bits=8, delay=delay
    )


def program_of(
    shape: tuple[int, ...], layers: list[tuple[list[IntegerStreamProjection], IntegerStreamNeurons]], high: int = 1
) -> StreamProgram:
    populations = tuple(
        IntegerStreamPopulation(name=f"p{index}", shape=(constants.size,), inputs=tuple(inputs), neurons=constants)
        for index, (inputs, constants) in enumerate(layers)
    )
    return StreamProgram(
        input=IntegerStreamInput(
            name="input", shape=shape, size=int(np.prod(shape)), low=0 if high == 1 else -high, high=high, unit=1.0
        ),
        populations=populations,
        output=populations[-1].name,
        dt=1e-3,
        discretisation="euler",
        origin="made by a test",
        bits=8,
        neuron_program="stock",
        membrane_scale={p.name: np.ones(p.size) for p in populations},
    )


@st.composite
def convolutions(draw: st.DrawFn, source: tuple[int, int, int]) -> Convolution:
    """A convolution of any geometry that leaves something of the map."""
    groups = draw(st.sampled_from([n for n in (1, 2) if source[0] % n == 0]))
    kernel, stride, padding = (
        (draw(st.integers(low, high)), draw(st.integers(low, high))) for low, high in ((1, 3), (1, 2), (0, 1))
    )
    sides = [(source[1 + i] + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i in range(2)]
    assume(min(sides) >= 1)
    return Convolution(
        source=source,
        target=(groups * draw(st.integers(1, 3)), sides[0], sides[1]),
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=(1, 1),
        groups=groups,
    )


@st.composite
def sequential(draw: st.DrawFn) -> StreamProgram:
    """A program of the kinds that fit: convolutions, then matrices, with delays, loops, graded input and biases."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    is_map, high = draw(st.booleans()), draw(st.sampled_from([1, 5]))
    bias, delay = draw(st.sampled_from([(0, 0), (30, 0), (1, 0), (0, 3)]))
    shape: tuple[int, ...] = tuple(draw(st.lists(st.integers(1, 7), min_size=3, max_size=3)))
    layers: list[tuple[list[IntegerStreamProjection], IntegerStreamNeurons]] = []
    map_shape = (shape[0], shape[1], shape[2])
    for _ in range(draw(st.integers(1, 2)) if is_map else 0):
        wiring = draw(convolutions(map_shape))
        inputs = [projection(f"p{len(layers) - 1}" if layers else "input", wiring, rng)]
        layers.append((inputs, neurons(wiring.outputs, rng, bias=bias)))
        map_shape = wiring.target
    shape = shape if is_map else (draw(st.integers(1, 12)),)
    size = layers[-1][1].size if layers else shape[0]
    for last in (False, True):
        source = f"p{len(layers) - 1}" if layers else "input"
        single = last and draw(st.booleans())
        wide: Wiring = OneToOne(size=size) if single else Dense(inputs=size, outputs=draw(st.integers(1, 9)))
        sign = draw(st.sampled_from([-1, 0, 1])) if last else 0
        inputs = [projection(source, wide, rng, delay=delay, bits=6, sign=sign)]
        if not bias and not delay and not last:
            loop = Dense(inputs=wide.outputs, outputs=wide.outputs)
            inputs.append(projection(f"p{len(layers)}", loop, rng, delay=1))
        output: Output = "membrane" if last and draw(st.booleans()) else "spikes"
        layers.append((inputs, neurons(wide.outputs, rng, output, bias)))
        size = wide.outputs
    return program_of(shape, layers, high)


def test_lava_dl_runs_them_as_the_reference() -> None:
    spikes: list[int] = []

    @settings(max_examples=3)
    @given(st.lists(sequential(), min_size=12, max_size=12), st.integers(0, 2**32 - 1))
    def compare(programs: list[StreamProgram], seed: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            spikes.append(compare_with_lava_dl(programs, np.random.default_rng(seed), Path(folder)))

    compare()
    assert sum(spikes) > 100


def compare_with_lava_dl(programs: list[StreamProgram], rng: np.random.Generator, tmp_path: Path) -> int:
    """Run all of them in one process, for lava-dl takes seconds to import; return how many spikes were compared."""
    inputs: list[npt.NDArray[np.int32]] = []
    for index, program in enumerate(programs):
        folder, entry = tmp_path / str(index), program.input
        write_netx(program, folder / "program.net")
        inputs.append(rng.integers(entry.low, entry.high + 1, (STEPS, entry.size)).astype(np.int32))
        np.savez(
            folder / "input.npz",
            values=inputs[-1],
            layers=len(program.populations),
            biased=any(p.neurons.bias.any() for p in program.populations),
            bits=0 if entry.high == 1 else 4,
        )
    command = [sys.executable, "-c", LAVA_DL, *(str(tmp_path / str(i)) for i in range(len(programs)))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    spikes = 0
    for index, (program, values) in enumerate(zip(programs, inputs, strict=True)):
        expected = ReferenceStreamSession(program, [program.output]).feed(values)
        with np.load(tmp_path / str(index) / "output.npz") as theirs:
            np.testing.assert_array_equal(theirs["membranes"], expected.membranes[program.output], err_msg=str(index))
            if program.population(program.output).neurons.output == "spikes":
                np.testing.assert_array_equal(theirs["spikes"], expected.sent[program.output], err_msg=str(index))
                spikes += int(theirs["spikes"].sum())
    return spikes


@given(
    weight=st.lists(
        st.lists(st.one_of(st.integers(-127, 127), st.sampled_from([0, -1, -64, -127])), min_size=2, max_size=2),
        min_size=1,
        max_size=3,
    ),
    sign=st.sampled_from([0, 0, -1, 1]),
)
@example(weight=[[0, 0]], sign=0)
@example(weight=[[-64, 0]], sign=0)
@example(weight=[[-64, -3]], sign=0)
@example(weight=[[127, -127]], sign=0)
def test_weights_that_are_written_are_those_that_lava_uses(weight: list[list[int]], sign: int) -> None:
    matrix = np.array(weight)
    matrix = sign * np.abs(matrix) if sign else matrix
    assert survives(matrix, [matrix]) == (lavas_weights(matrix) == matrix.tolist())


def lavas_weights(matrix: npt.NDArray[np.int64]) -> list[list[float]] | None:
    """What Lava's `Dense` multiplies by, as netx makes it; None if netx cannot."""
    netx: Any = import_netx()
    from lava.utils.weightutils import clip_weights, determine_sign_mode, truncate_weights

    try:
        with np.errstate(divide="ignore"):
            scaled, bits, exponent, _ = netx.utils.optimize_weight_bits(matrix)
    except OverflowError:
        return None
    mode = determine_sign_mode(scaled)
    used = truncate_weights(clip_weights(scaled, mode, num_bits=8), mode, bits)
    result: list[list[float]] = (used * 2.0**exponent).tolist()
    return result


# --- what does not fit ------------------------------------------------------------------------------------------------


def one(**changes: Any) -> StreamProgram:
    """A program of one neuron, changed."""
    rng = np.random.default_rng(1)
    weight = np.array(changes.pop("weight", [[20, -3]]), np.int8)
    made = replace(
        projection("input", Dense(inputs=2, outputs=1), rng),
        weight=weight,
        exponent=changes.pop("exponent", 6),
        delay=changes.pop("delay", 0),
    )
    arrays: dict[str, Any] = {key: np.array(value, np.int32) for key, value in changes.items()}
    constants = replace(neurons(1, rng), **arrays)
    return program_of((2,), [([made], constants)])


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (one(weight=[[0, 0]]), "weights from 0 to 0, which netx's own scaling of weights changes"),
        (one(weight=[[-64, 0]]), "weights from -64 to 0"),
        (one(weight=[[-64, -3]]), "weights from -64 to -3"),
        (one(exponent=10), "exponent 10 from input; netx has 6"),
        (one(delay=63), "a delay of 63 steps; netx has up to 62"),
        (one(initial=[5]), "a membrane or a current that does not start at 0"),
        (one(bias=[65]), "a bias of 65; netx has multiples of 64"),
        (one(delay=2, bias=[640], threshold=[64]), "p0: a delay or a loop, while p0 spikes by its bias alone"),
        (one(threshold=[65]), "a multiple of 64"),
        (one(decay=[4096]), "a membrane without memory"),
        (replace(one(), neuron_program="bispik"), "compile with --neurons stock"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, program: StreamProgram, message: str) -> None:
    with pytest.raises(BispikError, match=message):
        write_netx(program, tmp_path / "program.net")
    assert not list(tmp_path.iterdir())


def test_wide_wirings_become_matrices(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    made = projection("input", OneToOne(size=150), rng)
    write_netx(program_of((150,), [([made], neurons(150, rng))]), tmp_path / "program.net")
    with h5py.File(tmp_path / "program.net") as file:
        written: Any = file["layer/1/weight"]
        np.testing.assert_array_equal(written[()], np.diag(made.weight))
    huge = program_of((1,), [([projection("input", Dense(inputs=1, outputs=1), rng)], neurons(1, rng))])
    wide = replace(made, wiring=OneToOne(size=9000), weight=np.ones(9000, np.int8))
    huge = replace(huge, populations=(replace(huge.populations[0], inputs=(wide,)),))
    with pytest.raises(BispikError, match="p0: 9,000 x 9,000 weights from input; netx holds them as a matrix"):
        write_netx(huge, tmp_path / "huge.net")


def test_only_chains_fit(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    two = Dense(inputs=2, outputs=2)
    first = [projection("input", two, rng)]
    skip = program_of(
        (2,),
        [(first, neurons(2, rng)), ([projection("p0", two, rng), projection("input", two, rng, 1)], neurons(2, rng))],
    )
    slow = program_of((2,), [([*first, projection("p0", two, rng, delay=2)], neurons(2, rng))])
    twice = program_of((2,), [([*first, *first], neurons(2, rng))])
    early = replace(
        program_of((2,), [(first, neurons(2, rng)), ([projection("p0", two, rng)], neurons(2, rng))]), output="p0"
    )
    for program, message in (
        (skip, "p1: it reads input; netx's layers read the one before"),
        (slow, "delays of 2 on the loop"),
        (twice, "2 projections from input"),
        (early, "p0: it is not the last layer"),
    ):
        with pytest.raises(BispikError, match=message):
            write_netx(program, tmp_path / "program.net")
