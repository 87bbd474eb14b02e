"""Small networks with random numbers, of every form that the compiler makes."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from bispik.compiler.bounds import SPIKE_RANGES, injected_range, join_range
from bispik.compiler.fixed_point import STOCK_BIAS_MAX
from bispik.compiler.graph import Reset, Spikes
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNeurons,
    IntegerNode,
    IntegerNorm,
    IntegerPopulation,
    IntegerProjection,
    IntegerReadout,
    NeuronProgram,
    QuantizedProgram,
)

Form: TypeAlias = dict[str, Any]
"""Arguments of `random_program`."""

forms = st.fixed_dictionaries(
    {
        "layers": st.integers(0, 2),
        "heads": st.integers(1, 3),
        "head_dim": st.integers(1, 4),
        "inner": st.integers(1, 9),
        "steps": st.integers(1, 3),
        "window": st.integers(2, 8),
        "pre_spike": st.booleans(),
        "mixed_spike": st.booleans(),
        "block_output": st.booleans(),
        "norm": st.booleans(),
        "stream": st.booleans(),
        "readout_on_chip": st.booleans(),
        "spikes": st.sampled_from(["binary", "ternary"]),
        "reset": st.sampled_from(["soft", "hard"]),
    }
)


def cut_form(form: Form, seed: int, *, wide: bool) -> Form:
    """A form with rows that read more than 9 outputs: those of `fc2`; if ``wide``, of all matrices and the head."""
    heads, head_dim = (10, 1) if wide else (2, 2)
    return {**form, "norm": False, "heads": heads, "head_dim": head_dim, "inner": 10 + seed % 20}


NORM_BITS = 5
"""Bits behind the point of a norm's output."""

STREAM_BITS = 7
"""A spike that joins a stream of real numbers counts as 2^7 of its units."""


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
    norm: bool = False,
    stream: bool = False,
    readout_on_chip: bool = True,
) -> QuantizedProgram:
    """An integer program with random weights, thresholds low enough that neurons fire, and some negative biases.

    ``norm`` puts a norm in front of the blocks' parts; ``stream`` lets the first block take a real, ramped current.
    """
    random = np.random.default_rng(seed)
    size = heads * head_dim

    def neurons(count: int, scale: int) -> IntegerNeurons:
        stock = neuron_program == "stock"
        if stock:
            threshold = np.full(count, max(1, scale // 64) * 64, np.int32)
        else:
            threshold = random.integers(scale // 2, 2 * scale + 2, count).astype(np.int32)
        bias = random.integers(-scale // 4 - 1, scale // 4 + 1, count)
        soft = reset == "soft"
        return IntegerNeurons(
            program=neuron_program,
            reset=reset,
            spikes=spikes,
            decay=int(random.integers(0, 4096)),
            threshold=threshold,
            subtract=(threshold + 1) if soft else np.zeros(count, np.int32),
            bias=(bias & -64 if stock and scale > 4 * STOCK_BIAS_MAX else bias).astype(np.int32),
        )

    def dense(name: str, source: str, outputs: int, inputs: int, graded: int = 1) -> IntegerPopulation:
        weight = random.integers(-127, 128, (outputs, inputs)).astype(np.int8)
        scale = int(12 * np.sqrt(inputs) * graded) << 6
        projection = IntegerProjection(source=source, weight=weight, exponent=6, bits=8)
        return IntegerPopulation(name=name, inputs=(projection,), neurons=neurons(outputs, scale))

    def one_to_one(name: str, source: str, unit: int = 1) -> IntegerPopulation:
        projection = IntegerProjection(source=source, weight=None, exponent=6, bits=0)
        if neuron_program == "stock" or source.endswith("/norm"):
            weight = random.integers(20, 128, size).astype(np.int8)
            projection = IntegerProjection(source=source, weight=weight, exponent=6, bits=8)
            return IntegerPopulation(name=name, inputs=(projection,), neurons=neurons(size, 40 * 64 * unit))
        return IntegerPopulation(name=name, inputs=(projection,), neurons=neurons(size, 40))

    def entered(part: str, residual: str) -> str:
        """What stands in front of a block's part; returns the name of its last node."""
        entry, unit = residual, units[residual]
        if norm:
            entry, unit = f"{part}/norm", 1 << NORM_BITS
            epsilon = int(random.integers(0, 100))
            nodes.append(
                IntegerNorm(
                    name=entry, source=residual, size=size, fraction_bits=NORM_BITS, root_bits=4, epsilon=epsilon
                )
            )
        if pre_spike:
            nodes.append(one_to_one(f"{part}/input", entry, unit))
            return f"{part}/input"
        units[entry] = unit
        return entry

    def joined(name: str, residual: str, source: str) -> IntegerJoin:
        shift = units[residual].bit_length() - 1
        units[name] = units[residual]
        ranges[name] = join_range((residual, source), (0, shift), {**ranges, source: spike_range})
        return IntegerJoin(
            name=name, inputs=(residual, source), exponents=(0, shift), size=size, maximum=ranges[name].magnitude
        )

    spike_range = SPIKE_RANGES[spikes]
    injection = IntegerInjection(
        name="input",
        token_table=_int16(random, (vocabulary, size)),
        position_table=_int16(random, (window, size)),
        step_gain=tuple(range(1, steps + 1)) if stream else (1,) * steps,
    )
    nodes: list[IntegerNode] = [injection]
    units, ranges = {"embed": 1}, {"embed": SPIKE_RANGES[spikes]}
    if stream:
        ranges["embed"] = injected_range(injection)
        units["embed"] = 1 << STREAM_BITS
        maximum = ranges["embed"].magnitude
        nodes.append(IntegerJoin(name="embed", inputs=("input",), exponents=(0,), size=size, maximum=maximum))
    else:
        projection = IntegerProjection(source="input", weight=None, exponent=6, bits=0)
        nodes.append(IntegerPopulation(name="embed", inputs=(projection,), neurons=neurons(size, 200 * 64)))
    for index in range(layers):
        block, residual = f"block_{index:02d}", nodes[-1].name
        attn = f"{block}/attn"
        entry = entered(attn, residual)
        graded = units.get(entry, 1)
        nodes += [dense(f"{attn}/{part}", entry, size, size, graded) for part in ("query", "key", "value")]
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
        nodes.append(joined(f"{attn}/sum", residual, f"{attn}/output"))
        residual = nodes[-1].name
        entry = entered(f"{block}/ffn", residual)
        nodes.append(dense(f"{block}/ffn/fc1", entry, inner, size, units.get(entry, 1)))
        if block_output:
            weight = random.integers(-127, 128, (size, inner)).astype(np.int8)
            own = random.integers(20, 128, size).astype(np.int8)
            exponent = STREAM_BITS if units[residual] > 1 and neuron_program == "bispik" else 6
            inputs = (
                IntegerProjection(source=residual, weight=own, exponent=6, bits=8),
                IntegerProjection(source=f"{block}/ffn/fc1", weight=weight, exponent=exponent, bits=8),
            )
            scale = 100 * 64 * units[residual]
            nodes.append(IntegerPopulation(name=f"{block}/sum", inputs=inputs, neurons=neurons(size, scale)))
            units[f"{block}/sum"], ranges[f"{block}/sum"] = 1, SPIKE_RANGES[spikes]
            continue
        nodes.append(dense(f"{block}/ffn/fc2", f"{block}/ffn/fc1", size, inner))
        nodes.append(joined(f"{block}/ffn/sum", residual, f"{block}/ffn/fc2"))
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
