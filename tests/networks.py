"""Small networks with random numbers, of every form that the compiler makes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.compiler.graph import Reset, Spikes
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNeurons,
    IntegerNode,
    IntegerPopulation,
    IntegerProjection,
    IntegerReadout,
    NeuronProgram,
    QuantizedProgram,
)


def random_program(
    seed: int,
    *,
    layers: int = 2,
    heads: int = 2,
    head_dim: int = 4,
    inner: int = 12,
    vocabulary: int = 11,
    window: int = 8,
    steps: int = 3,
    neuron_program: NeuronProgram = "bispik",
    reset: Reset = "soft",
    spikes: Spikes = "binary",
    pre_spike: bool = True,
    mixed_spike: bool = False,
    block_output: bool = False,
    readout_on_chip: bool = True,
) -> QuantizedProgram:
    """An integer program with random weights, thresholds low enough that neurons fire, and some negative biases."""
    random = np.random.default_rng(seed)
    size = heads * head_dim

    def neurons(count: int, scale: int) -> IntegerNeurons:
        stock = neuron_program == "stock"
        if stock:
            threshold = np.full(count, max(1, scale // 64) * 64, np.int32)
        else:
            threshold = random.integers(scale // 2, 2 * scale + 2, count).astype(np.int32)
        soft = reset == "soft"
        return IntegerNeurons(
            program=neuron_program,
            reset=reset,
            spikes=spikes,
            decay=int(random.integers(0, 4096)),
            threshold=threshold,
            subtract=(threshold + 1) if soft else np.zeros(count, np.int32),
            bias=random.integers(-scale // 4 - 1, scale // 4 + 1, count).astype(np.int32),
        )

    def dense(name: str, source: str, outputs: int, inputs: int, graded: int = 1) -> IntegerPopulation:
        weight = random.integers(-127, 128, (outputs, inputs)).astype(np.int8)
        scale = int(12 * np.sqrt(inputs) * graded) << 6
        projection = IntegerProjection(source=source, weight=weight, exponent=6, bits=8)
        return IntegerPopulation(name=name, inputs=(projection,), neurons=neurons(outputs, scale))

    def one_to_one(name: str, source: str) -> IntegerPopulation:
        projection = IntegerProjection(source=source, weight=None, exponent=6, bits=0)
        if neuron_program == "stock":
            weight = random.integers(20, 128, size).astype(np.int8)
            projection = IntegerProjection(source=source, weight=weight, exponent=6, bits=8)
            return IntegerPopulation(name=name, inputs=(projection,), neurons=neurons(size, 40 * 64))
        return IntegerPopulation(name=name, inputs=(projection,), neurons=neurons(size, 40))

    nodes: list[IntegerNode] = [
        IntegerInjection(
            name="input",
            token_table=_int16(random, (vocabulary, size)),
            position_table=_int16(random, (window, size)),
            step_gain=(1,) * steps,
        ),
        IntegerPopulation(
            name="embed",
            inputs=(IntegerProjection(source="input", weight=None, exponent=6, bits=0),),
            neurons=neurons(size, 200 * 64),
        ),
    ]
    for index in range(layers):
        block, residual = f"block_{index:02d}", nodes[-1].name
        attn, entry = f"{block}/attn", residual
        if pre_spike:
            entry = f"{attn}/input"
            nodes.append(one_to_one(entry, residual))
        nodes += [dense(f"{attn}/{part}", entry, size, size) for part in ("query", "key", "value")]
        nodes.append(
            IntegerAttention(
                name=f"{attn}/attention",
                query=f"{attn}/query",
                key=f"{attn}/key",
                value=f"{attn}/value",
                heads=heads,
                head_dim=head_dim,
                exponent=6,
                neurons=neurons(heads, 40),
            )
        )
        if mixed_spike:
            nodes.append(one_to_one(f"{attn}/mixed", nodes[-1].name))
        nodes.append(dense(f"{attn}/output", nodes[-1].name, size, size))
        nodes.append(
            IntegerJoin(name=f"{attn}/sum", inputs=(residual, f"{attn}/output"), size=size, maximum=2 + 2 * index)
        )
        residual, entry = nodes[-1].name, nodes[-1].name
        if pre_spike:
            entry = f"{block}/ffn/input"
            nodes.append(one_to_one(entry, residual))
        nodes.append(dense(f"{block}/ffn/fc1", entry, inner, size))
        if block_output:
            weight = random.integers(-127, 128, (size, inner)).astype(np.int8)
            inputs = (
                IntegerProjection(
                    source=residual, weight=random.integers(20, 128, size).astype(np.int8), exponent=6, bits=8
                ),
                IntegerProjection(source=f"{block}/ffn/fc1", weight=weight, exponent=6, bits=8),
            )
            nodes.append(IntegerPopulation(name=f"{block}/sum", inputs=inputs, neurons=neurons(size, 100 * 64)))
            continue
        nodes.append(dense(f"{block}/ffn/fc2", f"{block}/ffn/fc1", size, inner))
        nodes.append(
            IntegerJoin(
                name=f"{block}/ffn/sum", inputs=(residual, f"{block}/ffn/fc2"), size=size, maximum=3 + 2 * index
            )
        )
    nodes.append(
        IntegerReadout(
            name="head",
            source=nodes[-1].name,
            weight=random.integers(-127, 128, (vocabulary, size)).astype(np.int8),
            bits=8,
            on_chip=readout_on_chip,
            scale=0.01,
            epsilon=1e-5,
            bias=np.zeros(vocabulary, np.float32),
        )
    )
    populations = [node for node in nodes if isinstance(node, IntegerPopulation)]
    return QuantizedProgram(
        nodes=tuple(nodes),
        steps_per_token=steps,
        window=window,
        bits=8,
        neuron_program=neuron_program,
        membrane_scale={p.name: np.ones(p.size) for p in populations},
        hyperparameters={},
        tokenizer="",
    )


def random_tokens(program: QuantizedProgram, seed: int, count: int | None = None) -> npt.NDArray[np.int64]:
    """Token ids that fit the program, as many as its window holds unless said otherwise."""
    random = np.random.default_rng(seed)
    return random.integers(0, len(program.injection.token_table), count or program.window)


def _int16(random: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.int16]:
    return random.integers(-150, 250, shape).astype(np.int16)
