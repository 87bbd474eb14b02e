"""A program of an OPT shape with random weights, on neurocores."""

from __future__ import annotations

import numpy as np

from benchmarks.shapes import Model, Weights
from bispik.compiler.mapping import MappedProgram, Neurocore
from bispik.compiler.partition import partition
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNeurons,
    IntegerNode,
    IntegerPopulation,
    IntegerProjection,
    IntegerReadout,
    QuantizedProgram,
)
from bispik.compiler.schedule import skews
from bispik.compiler.shapes import program_shape
from bispik.compiler.target import load_target

DECAY, EXPONENT = 410, 6
EMBEDDING_THRESHOLD = 9000
UNIT_THRESHOLD = 1 << EXPONENT - 1
"""Below one spike."""
SCORE_THRESHOLD = 3 << EXPONENT
"""Three common spikes of query and key."""
TYPICAL_WEIGHT, TYPICAL_RATE = 73, 0.2
"""Root mean square of the weights, and roughly how many inputs spike: a current of that many random weights decides."""


def synthetic_program(model: Model, steps: int, window: int, rng: np.random.Generator) -> QuantizedProgram:
    """A whole network around the weights of a model."""
    shape = model.shape
    tables = (
        rng.integers(-150, 151, (rows, shape.hidden), np.int64).astype(np.int16) for rows in (shape.vocabulary, window)
    )
    tokens, positions = tables
    nodes: list[IntegerNode] = [
        IntegerInjection(name="input", token_table=tokens, position_table=positions, step_gain=(1,) * steps),
        _population("embed", "input", None, shape.hidden, EMBEDDING_THRESHOLD),
    ]
    stream, largest = "embed", 1
    for index, (query, key, value, output, fc1, fc2) in enumerate(model.blocks):
        block = f"block_{index:02d}"
        entry = f"{block}/attn/input"
        nodes.append(_population(entry, stream, None, shape.hidden))
        for name, weights in (("query", query), ("key", key), ("value", value)):
            nodes.append(_population(f"{block}/attn/{name}", entry, weights, shape.hidden))
        nodes += [
            IntegerAttention(
                name=f"{block}/attn/attention",
                query=f"{block}/attn/query",
                key=f"{block}/attn/key",
                value=f"{block}/attn/value",
                heads=shape.heads,
                head_dim=shape.hidden // shape.heads,
                exponent=EXPONENT,
                neurons=_neurons(shape.heads, SCORE_THRESHOLD),
            ),
            _population(f"{block}/attn/output", f"{block}/attn/attention", output, shape.hidden),
            _join(f"{block}/attn/sum", (stream, f"{block}/attn/output"), shape.hidden, largest + 1),
            _population(f"{block}/ffn/input", f"{block}/attn/sum", None, shape.hidden),
            _population(f"{block}/ffn/fc1", f"{block}/ffn/input", fc1, shape.ffn),
            _population(f"{block}/ffn/fc2", f"{block}/ffn/fc1", fc2, shape.hidden),
            _join(f"{block}/ffn/sum", (f"{block}/attn/sum", f"{block}/ffn/fc2"), shape.hidden, largest + 2),
        ]
        stream, largest = f"{block}/ffn/sum", largest + 2
    bias = np.zeros(shape.vocabulary, np.float32)
    head = IntegerReadout(
        name="head", source=stream, weight=model.head.T, bits=8, on_chip=True, scale=0.01, epsilon=1e-5, bias=bias
    )
    populations = [node for node in nodes if isinstance(node, IntegerPopulation)]
    return QuantizedProgram(
        nodes=(*nodes, head),
        steps_per_token=steps,
        window=window,
        bits=8,
        neuron_program="bispik",
        membrane_scale={population.name: np.ones(population.size) for population in populations},
        hyperparameters={},
        tokenizer="",
    )


def spread(program: QuantizedProgram) -> MappedProgram:
    """Put a program on neurocores in the order of the network; not placed well, but as large as a file with it is."""
    target = load_target("loihi2")
    places = enumerate(partition(program_shape(program), target))
    cores = tuple(Neurocore(index=i, chip=i // 120, x=0, y=0, slices=slices) for i, slices in places)
    return MappedProgram(
        program=program,
        target=target,
        system=target.system("hala-point"),
        neurocores=cores,
        resources=(),
        skew=skews(program),
    )


def _population(
    name: str, source: str, weights: Weights | None, size: int, threshold: int = UNIT_THRESHOLD
) -> IntegerPopulation:
    stored = None if weights is None else weights.T
    if stored is not None:
        threshold = int(TYPICAL_WEIGHT * (TYPICAL_RATE * stored.shape[1]) ** 0.5) << EXPONENT
    projection = IntegerProjection(source=source, weight=stored, exponent=EXPONENT, bits=0 if stored is None else 8)
    return IntegerPopulation(name=name, inputs=(projection,), neurons=_neurons(size, threshold))


def _join(name: str, inputs: tuple[str, str], size: int, maximum: int) -> IntegerJoin:
    return IntegerJoin(name=name, inputs=inputs, exponents=(0, 0), size=size, maximum=maximum)


def _neurons(size: int, threshold: int) -> IntegerNeurons:
    return IntegerNeurons(
        program="bispik",
        reset="soft",
        decay=DECAY,
        threshold=np.full(size, threshold, np.int32),
        subtract=np.full(size, threshold + 1, np.int32),
        bias=np.zeros(size, np.int32),
    )
