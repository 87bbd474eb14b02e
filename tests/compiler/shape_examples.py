"""Shapes of spiking language models in the paper's form, of any size, without weights."""

from __future__ import annotations

from typing import TypedDict

from bispik.compiler.program import NeuronProgram
from bispik.compiler.shapes import InputShape, NetworkShape, NodeShape, network_shape


def dense(source: str, fan_in: int, bits: int) -> InputShape:
    return InputShape(source=source, fan_in=fan_in, one_to_one=False, bits=bits, host=False)


def one_to_one(source: str, *, host: bool = False) -> InputShape:
    return InputShape(source=source, fan_in=1, one_to_one=True, bits=0, host=host)


def language_model(
    *,
    layers: int = 4,
    hidden: int = 256,
    inner: int = 1024,
    heads: int = 4,
    vocabulary: int = 2048,
    steps: int = 4,
    window: int = 128,
    bits: int = 8,
    program: NeuronProgram = "bispik",
    head_on_chip: bool = True,
    norm: bool = False,
) -> NetworkShape:
    """The defaults are those of the example checkpoint; ``norm`` puts a norm in front of each part of a block."""

    def population(name: str, size: int, *inputs: InputShape) -> NodeShape:
        return NodeShape(name=name, kind="population", size=size, inputs=inputs, program=program)

    def join(name: str, *sources: str) -> NodeShape:
        inputs = tuple(one_to_one(source) for source in sources)
        return NodeShape(name=name, kind="join", size=hidden, inputs=inputs, program=program)

    def entered(part: str, residual: str) -> None:
        if norm:
            inputs = (one_to_one(residual),)
            nodes.append(NodeShape(name=f"{part}/norm", kind="norm", size=hidden, inputs=inputs, program=program))
        nodes.append(population(f"{part}/input", hidden, one_to_one(f"{part}/norm" if norm else residual)))

    nodes = [population("embed", hidden, one_to_one("input", host=True))]
    for index in range(layers):
        attn, ffn, residual = f"block_{index:02d}/attn", f"block_{index:02d}/ffn", nodes[-1].name
        parts = [f"{attn}/{part}" for part in ("query", "key", "value")]
        entered(attn, residual)
        nodes += [population(part, hidden, dense(f"{attn}/input", hidden, bits)) for part in parts]
        nodes.append(
            NodeShape(
                name=f"{attn}/attention",
                kind="attention",
                size=hidden,
                inputs=tuple(one_to_one(part) for part in parts),
                program=program,
                head_dim=hidden // heads,
            )
        )
        nodes.append(population(f"{attn}/output", hidden, dense(f"{attn}/attention", hidden, bits)))
        nodes.append(join(f"{attn}/sum", residual, f"{attn}/output"))
        entered(ffn, f"{attn}/sum")
        nodes.append(population(f"{ffn}/fc1", inner, dense(f"{ffn}/input", hidden, bits)))
        nodes.append(population(f"{ffn}/fc2", hidden, dense(f"{ffn}/fc1", inner, bits)))
        nodes.append(join(f"{ffn}/sum", f"{attn}/sum", f"{ffn}/fc2"))
    if head_on_chip:
        inputs = (dense(nodes[-1].name, hidden, bits),)
        nodes.append(NodeShape(name="head", kind="readout", size=vocabulary, inputs=inputs, program=program))
    return network_shape(nodes, steps_per_token=steps, window=window)


EXAMPLE = language_model()


class Sizes(TypedDict):
    layers: int
    hidden: int
    inner: int
    heads: int
    vocabulary: int


SIZES_125M = Sizes(layers=12, hidden=768, inner=3072, heads=12, vocabulary=50272)
SIZES_350M = Sizes(layers=24, hidden=1024, inner=4096, heads=16, vocabulary=50272)
SIZES_1_3B = Sizes(layers=24, hidden=2048, inner=8192, heads=32, vocabulary=50272)
OPT_125M = language_model(**SIZES_125M, window=1024)
