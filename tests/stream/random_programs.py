"""Stream programs with random everything, for comparing backends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from bispik.compiler.program import NeuronProgram
from bispik.compiler.stream.network import Output, StreamReset
from bispik.compiler.stream.program import (
    IntegerStreamInput,
    IntegerStreamNeurons,
    IntegerStreamPopulation,
    IntegerStreamProjection,
    StreamProgram,
)
from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Sparse, Wiring

Shape = tuple[int, ...]

STEPS_MAX = 24
SHAPES: tuple[Shape, ...] = ((1, 1, 1), (5,), (2, 5, 4), (3, 1, 7))
LARGER: tuple[Shape, ...] = ((70,), (300,), (3, 9, 11), (2, 17, 16))
"""With a ``largest`` of a hundred and more: no multiples of what vectors hold, and more than they hold."""


@st.composite
def programs(
    draw: st.DrawFn, *, neuron_program: NeuronProgram = "bispik", largest: int = 9, shapes: tuple[Shape, ...] = SHAPES
) -> StreamProgram:
    """Draw a program of up to four populations: every wiring, delay, loop, reset and kind of output.

    A loop has delays of at least as many steps as it has populations, so that a clocked fabric can run it. ``largest``
    bounds the neurons of a population and the channels of a map that a source neuron reaches.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    graded = draw(st.booleans())
    shape = draw(st.sampled_from(shapes))
    entry = IntegerStreamInput(
        name="input",
        shape=shape,
        size=int(np.prod(shape)),
        low=-7 if graded else 0,
        high=9 if graded else 1,
        unit=1.0,
    )
    sizes: dict[str, Shape] = {"input": shape}
    spiking = ["input"]
    populations: list[IntegerStreamPopulation] = []
    count = draw(st.integers(1, 4))
    for index in range(count):
        name = f"p{index}"
        source = draw(st.sampled_from(spiking))
        delay = draw(st.sampled_from([0, 0, 1, 5]))
        wiring = draw(wirings(sizes[source], rng, largest))
        sizes[name] = wiring.target if isinstance(wiring, Convolution) else (wiring.outputs,)
        inputs = [projection(source, wiring, delay, draw(st.sampled_from([8, 4, 1])), rng)]
        if draw(st.booleans()):  # a second source of any size
            other = draw(st.sampled_from(spiking))
            dense = Dense(inputs=int(np.prod(sizes[other])), outputs=wiring.outputs)
            inputs.append(projection(other, dense, draw(st.sampled_from([0, 2])), 8, rng))
        output: Output = draw(st.sampled_from(["spikes", "membrane"])) if index == count - 1 else "spikes"
        if output == "spikes" and draw(st.booleans()):  # a loop onto itself
            loop = Dense(inputs=wiring.outputs, outputs=wiring.outputs)
            inputs.append(projection(name, loop, draw(st.sampled_from([1, 3])), 8, rng))
        neurons = draw(stream_neurons(wiring.outputs, output, neuron_program, rng))
        populations.append(IntegerStreamPopulation(name=name, shape=sizes[name], inputs=tuple(inputs), neurons=neurons))
        if output == "spikes":
            spiking.append(name)
    if len(spiking) > 2 and draw(st.booleans()):  # a loop over several populations
        first, last = sorted(draw(st.permutations(range(len(spiking) - 1)))[:2])
        early, late = populations[first], populations[last]
        back = projection(
            late.name, Dense(inputs=late.size, outputs=early.size), draw(st.integers(count, count + 3)), 8, rng
        )
        populations[first] = replace(early, inputs=(*early.inputs, back))
    return StreamProgram(
        input=entry,
        populations=tuple(populations),
        output=f"p{count - 1}",
        dt=1e-3,
        discretisation="euler",
        origin="drawn by a test",
        bits=8,
        neuron_program=neuron_program,
        membrane_scale={p.name: np.ones(p.size) for p in populations},
    )


@st.composite
def wirings(draw: st.DrawFn, shape: Shape, rng: np.random.Generator, largest: int = 9) -> Wiring:
    """Draw synapses from a source of a shape."""
    size = int(np.prod(shape))
    kind = draw(st.sampled_from(["dense", "one", "sparse", "convolution"]))
    if kind == "one":
        return OneToOne(size=size)
    if kind == "convolution":
        source = (shape[0], shape[1], shape[2]) if len(shape) == 3 else (1, 1, size)
        return draw(convolutions(source, max(2, largest // 8)))
    outputs = draw(st.integers(1, largest))
    if kind == "dense":
        return Dense(inputs=size, outputs=outputs)
    present = rng.random((outputs, size)) < 0.4
    rows, sources = np.nonzero(present)
    starts = np.searchsorted(rows, np.arange(outputs + 1))
    return Sparse(inputs=size, outputs=outputs, starts=starts.astype(np.int64), sources=sources.astype(np.int32))


@st.composite
def convolutions(draw: st.DrawFn, source: tuple[int, int, int], channels: int = 2) -> Convolution:
    """Draw a kernel that slides over a feature map, of any stride, padding, dilation and groups."""
    groups = draw(st.sampled_from([g for g in range(1, source[0] + 1) if source[0] % g == 0]))

    def axis(size: int) -> tuple[int, int, int, int, int]:
        tap, stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
        padding = draw(st.integers(0, 2))
        reach = (tap - 1) * dilation + 1
        places = max(1, (size + 2 * padding - reach) // stride + 1)
        return tap, stride, dilation, padding, places

    (ky, sy, dy, py, height), (kx, sx, dx, px, width) = axis(source[1]), axis(source[2])
    return Convolution(
        source=source,
        target=(groups * draw(st.integers(1, channels)), height, width),
        kernel=(ky, kx),
        stride=(sy, sx),
        padding=(py, px),
        dilation=(dy, dx),
        groups=groups,
    )


@st.composite
def stream_neurons(
    draw: st.DrawFn, size: int, output: Output, program: NeuronProgram, rng: np.random.Generator
) -> IntegerStreamNeurons:
    """Draw neurons: membranes at their threshold, biases, and states that saturate are among them."""
    stock = program == "stock"
    resets: list[StreamReset] = ["hard"] if stock else ["hard", "soft", "none"]
    reset: StreamReset = draw(st.sampled_from(resets)) if output == "spikes" else "none"

    def numbers(low: int, high: int, *, shared: bool = stock) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        values = rng.integers(low, high + 1, 1 if shared else size)
        return np.broadcast_to(values, (size,)).astype(np.int32).copy()

    unit = 64 if stock else 1
    largest = draw(st.sampled_from([1, 40, 100_000]))
    zero = np.zeros(size, np.int32)
    no_memory = draw(st.booleans())
    return IntegerStreamNeurons(
        program=program,
        reset=reset,
        output=output,
        current_decay=numbers(4096, 4096) if no_memory else numbers(1500, 4096),
        decay=numbers(0, 4095 if stock else 4096),
        threshold=unit * numbers(0, max(1, largest // unit)),
        subtract=numbers(0, largest) if reset == "soft" else zero,
        bias=draw(st.sampled_from([zero, numbers(-largest // 30, largest // 30, shared=False)])),
        initial=draw(st.sampled_from([zero, numbers(-largest, largest, shared=False)])),
        initial_current=draw(st.sampled_from([zero, numbers(-largest, largest, shared=False)])),
    )


def projection(source: str, wiring: Wiring, delay: int, bits: int, rng: np.random.Generator) -> IntegerStreamProjection:
    """Return synapses with random weights."""
    largest = max(1, (1 << (bits - 1)) - 1)
    weight = rng.integers(-largest, largest + 1, wiring.weight_shape).astype(np.int8)
    return IntegerStreamProjection(source=source, wiring=wiring, weight=weight, exponent=6, bits=bits, delay=delay)


def random_input(
    program: StreamProgram, rng: np.random.Generator, steps: int
) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    """Return an input of the program's range; a third of it is silence."""
    entry = program.input
    values = rng.integers(entry.low, entry.high + 1, (steps, entry.size))
    return np.where(rng.random(values.shape) < 1 / 3, 0, values).astype(np.int32)
