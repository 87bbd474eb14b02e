"""Stream programs with random weights, step by step against the reference and against PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.machine import pinned
from benchmarks.measure import Line, progress, take_turns, timed
from benchmarks.sizes import Sizes
from benchmarks.torch_models import FloatStream, Layer
from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.backends.stream.sim import SimStreamSession
from bispik.compiler.stream.program import (
    IntegerStreamInput,
    IntegerStreamNeurons,
    IntegerStreamPopulation,
    IntegerStreamProjection,
    StreamProgram,
)
from bispik.compiler.stream.wiring import Convolution, Dense, Map, Wiring

INPUT_RATE = 0.07
DECAY, EXPONENT = 410, 6
TYPICAL_WEIGHT = 73
"""Root mean square of the weights."""
SELECTIVE = 1.6
"""Threshold in root mean squares of the current: some 10% of the neurons fire."""
POOLED_WEIGHT, POOLED_SPIKES = 64, 1.5
"""A pooled neuron fires when two of its sources do."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Synapses of a layer, and what PyTorch has in their place."""

    wiring: Wiring
    layer: Callable[[npt.NDArray[np.int8]], Layer]


def stream_programs(sizes: Sizes, rng: np.random.Generator) -> list[Line]:
    """A dense network of the shape of MNIST classifiers, and a convolutional one of that of N-MNIST's."""
    lines: list[Line] = []
    with pinned(0):
        for name, source, stages in (dense_network(sizes), convolutional_network(sizes)):
            progress(f"streams: {name}")
            lines += compared(name, source, stages, sizes, rng)
    return lines


def dense_network(sizes: Sizes) -> tuple[str, Map, list[Stage]]:
    """Name, shape of the input and layers."""
    widths = [784, sizes.stream_hidden, sizes.stream_hidden, 10]
    stages = [dense(inputs, outputs) for inputs, outputs in pairwise(widths)]
    return f"dense {'-'.join(map(str, widths))}", (1, 1, widths[0]), stages


def convolutional_network(sizes: Sizes) -> tuple[str, Map, list[Stage]]:
    """Name, shape of the input and layers."""
    side, (few, many) = sizes.stream_side, sizes.stream_channels
    half, quarter = (side + 1) // 2, (side + 1) // 4
    stages = [
        convolution((2, side, side), (few, half, half), kernel=5, stride=2, padding=2),
        convolution((few, half, half), (many, half, half), kernel=3, stride=1, padding=1),
        pool((many, half, half), (many, quarter, quarter)),
        dense(many * quarter**2, 10),
    ]
    return f"convolutions 2×{side}×{side}-{few}c5s2-{many}c3-pool2-10", (2, side, side), stages


def dense(inputs: int, outputs: int) -> Stage:
    return Stage(
        Dense(inputs=inputs, outputs=outputs), lambda weight: partial(_linear, torch.from_numpy(weight).float())
    )


def convolution(source: Map, target: Map, *, kernel: int, stride: int, padding: int, groups: int = 1) -> Stage:
    wiring = Convolution(
        source=source,
        target=target,
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=(padding, padding),
        dilation=(1, 1),
        groups=groups,
    )
    return Stage(
        wiring,
        lambda weight: partial(
            torch.nn.functional.conv2d, weight=torch.from_numpy(weight).float(), stride=stride, padding=padding
        ),
    )


def pool(source: Map, target: Map) -> Stage:
    pooled = convolution(source, target, kernel=2, stride=2, padding=0, groups=source[0]).wiring
    return Stage(pooled, lambda _weight: partial(torch.nn.functional.avg_pool2d, kernel_size=2, divisor_override=1))


def compared(name: str, source: Map, stages: Sequence[Stage], sizes: Sizes, rng: np.random.Generator) -> list[Line]:
    """Time one network in the three ways."""
    program = random_program(source, stages, rng)
    spikes = (rng.random((sizes.stream_steps, program.input.size)) < INPUT_RATE).astype(np.int32)
    few = spikes[: sizes.reference_steps]
    sim, reference = SimStreamSession(program), ReferenceStreamSession(program)
    floats = FloatStream(
        [
            stage.layer(population.inputs[0].weight)
            for stage, population in zip(stages, program.populations, strict=True)
        ],
        [float(population.neurons.threshold[0] >> EXPONENT) for population in program.populations],
    )
    shaped = torch.from_numpy(spikes).float().reshape(-1, 1, *source)
    turns = {
        "sim": timed(partial(sim.feed, spikes), len(spikes)),
        "torch": timed(partial(floats.run, shaped), len(spikes)),
        "reference": timed(partial(reference.feed, few), len(few)),
    }
    times = take_turns(turns, sizes.rounds)
    sent = sim.feed(spikes).sent
    rate = sum(int(np.count_nonzero(s)) for s in sent.values()) / sum(s.size for s in sent.values())
    details = {f"{way}_microseconds": round(1e6 * found.best, 2) for way, found in times.items()}
    details |= {f"rate_{layer}": round(float(s.mean()), 4) for layer, s in sent.items()}
    note = f"{1e6 * times['sim'].best:.1f} µs per time step, {rate:.1%} of the neurons fire"
    return [
        Line(
            part="streams",
            name=f"{name}, step by step, against {other}",
            value=times[way].best / times["sim"].best,
            unit="×",
            note=note,
            details=details,
        )
        for way, other in (("torch", "PyTorch float32"), ("reference", "the reference"))
    ]


def random_program(source: Map, stages: Sequence[Stage], rng: np.random.Generator) -> StreamProgram:
    """Layers one after the other, soft reset."""
    populations: list[IntegerStreamPopulation] = []
    before = "input"
    for index, stage in enumerate(stages):
        wiring, name = stage.wiring, f"layer_{index}"
        if isinstance(wiring, Convolution) and wiring.groups > 1:
            weight = np.full(wiring.weight_shape, POOLED_WEIGHT, np.int8)
            threshold = int(POOLED_SPIKES * POOLED_WEIGHT) << EXPONENT
        else:
            weight = rng.integers(-127, 128, wiring.weight_shape, np.int8)
            inputs = int(np.prod(wiring.weight_shape[1:]))
            threshold = int(SELECTIVE * TYPICAL_WEIGHT * (INPUT_RATE * inputs) ** 0.5) << EXPONENT
        projection = IntegerStreamProjection(
            source=before, wiring=wiring, weight=weight, exponent=EXPONENT, bits=8, delay=0
        )
        shape = wiring.target if isinstance(wiring, Convolution) else (wiring.outputs,)
        populations.append(
            IntegerStreamPopulation(
                name=name, shape=shape, inputs=(projection,), neurons=_neurons(wiring.outputs, threshold)
            )
        )
        before = name
    size = int(np.prod(source))
    return StreamProgram(
        input=IntegerStreamInput(name="input", shape=source, size=size, low=0, high=1, unit=1.0),
        populations=tuple(populations),
        output=before,
        dt=1e-3,
        discretisation="euler",
        origin="random weights",
        bits=8,
        neuron_program="bispik",
        membrane_scale={population.name: np.ones(population.size) for population in populations},
    )


def _neurons(size: int, threshold: int) -> IntegerStreamNeurons:
    zero = np.zeros(size, np.int32)
    return IntegerStreamNeurons(
        program="bispik",
        reset="soft",
        output="spikes",
        current_decay=np.full(size, 4096, np.int32),
        decay=np.full(size, DECAY, np.int32),
        threshold=np.full(size, threshold, np.int32),
        subtract=np.full(size, threshold + 1, np.int32),
        bias=zero,
        initial=zero,
        initial_current=zero,
    )


def _linear(weight: torch.Tensor, spikes: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.linear(spikes.flatten(1), weight)
