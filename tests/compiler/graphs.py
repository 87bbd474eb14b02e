"""Small spiking graphs with random numbers, of every form that a model lifts to, and their comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bispik.compiler.deferred import Deferred, FloatArray, numbers
from bispik.compiler.graph import (
    Attention,
    Fire,
    Injection,
    Join,
    Neurons,
    Node,
    Norm,
    Population,
    Projection,
    Readout,
    Reset,
    Spikes,
    SpikingGraph,
)


@dataclass(frozen=True, kw_only=True)
class Form:
    """Sizes and switches of a graph."""

    layers: int = 2
    heads: int = 2
    head_dim: int = 3
    inner: int = 10
    vocabulary: int = 7
    positions: int = 5
    steps: int = 3
    reset: Reset = "soft"
    fire: Fire = "ge"
    spikes: Spikes = "binary"
    decay: float = 0.9
    pre_spike: bool = True
    mixed_spike: bool = False
    fc2_spike: bool = True
    norm: bool = False
    """LayerNorms in front of the blocks' parts."""
    stream: bool = False
    """The first block takes the embedding's current itself."""
    block_spike: bool = False
    """Behind the block's sum; it is one population with the sum where there are no neurons behind fc2."""
    tied: bool = True
    double: bool = False
    """Whether thresholds and biases are float64; weights are float32."""


PAPER = Form()
FORMS = {
    "paper": PAPER,
    "hard reset, strict": Form(reset="hard", fire="gt", double=True),
    "third party": Form(
        pre_spike=False, mixed_spike=True, fc2_spike=False, reset="hard", norm=True, stream=True, steps=4
    ),
    "norms and neurons": Form(norm=True, block_spike=True, spikes="ternary"),
    "a real stream": Form(stream=True, pre_spike=False),
    "neurons behind everything": Form(mixed_spike=True, block_spike=True, decay=0.0),
    "ternary": Form(spikes="ternary", steps=8),
    "ternary, hard reset, strict": Form(spikes="ternary", reset="hard", fire="gt", fc2_spike=False, steps=1),
    "own token table": Form(tied=False, layers=1, heads=1, steps=1),
}


class _Random:
    """Draws the parts of one graph."""

    def __init__(self, form: Form, seed: int) -> None:
        self.form = form
        self.draw = np.random.default_rng(seed)
        self.sizes: dict[str, int] = {}

    def array(self, *shape: int) -> FloatArray:
        return self.draw.standard_normal(shape).astype(np.float32)

    def cast(self, values: npt.NDArray[np.float64]) -> FloatArray:
        return values if self.form.double else values.astype(np.float32)

    def neurons(self, size: int) -> Neurons:
        form = self.form
        return Neurons(
            decay=form.decay,
            threshold=self.cast(self.draw.uniform(0.1, 2, size)),
            bias=self.cast(self.draw.standard_normal(size)),
            reset=form.reset,
            fire=form.fire,
            spikes=form.spikes,
        )

    def one_to_one(self, name: str, source: str, size: int) -> Population:
        return Population(name=name, inputs=(Projection(source=source, weight=None),), neurons=self.neurons(size))

    def dense(self, name: str, source: str, size: int, inputs: int) -> Population:
        weight = self.array(size, inputs)
        return Population(name=name, inputs=(Projection(source=source, weight=weight),), neurons=self.neurons(size))

    def block(self, block: str, residual: str) -> list[Node]:
        form, attn, ffn = self.form, f"{block}/attn", f"{block}/ffn"
        size = form.heads * form.head_dim
        nodes: list[Node] = []

        def spikes(name: str, source: str, wanted: bool) -> str:
            if wanted:
                nodes.append(self.one_to_one(name, source, size))
            return name if wanted else source

        def entered(part: str, source: str) -> str:
            if not form.norm:
                return spikes(f"{part}/input", source, form.pre_spike)
            nodes.append(Norm(name=f"{part}/norm", source=source, size=size, epsilon=1e-5))
            if not form.pre_spike:
                return f"{part}/norm"
            projection = Projection(source=f"{part}/norm", weight=self.array(size))
            nodes.append(Population(name=f"{part}/input", inputs=(projection,), neurons=self.neurons(size)))
            return f"{part}/input"

        entry = entered(attn, residual)
        nodes += [self.dense(f"{attn}/{part}", entry, size, size) for part in ("query", "key", "value")]
        query, key, value = (node.name for node in nodes[-3:])
        nodes.append(
            Attention(
                name=f"{attn}/attention",
                query=query,
                key=key,
                value=value,
                heads=form.heads,
                head_dim=form.head_dim,
                neurons=self.neurons(form.heads),
            )
        )
        mixed = spikes(f"{attn}/mixed", f"{attn}/attention", form.mixed_spike)
        nodes.append(self.dense(f"{attn}/output", mixed, size, size))
        nodes.append(Join(name=f"{attn}/sum", inputs=(residual, f"{attn}/output"), size=size))
        residual = f"{attn}/sum"
        entry = entered(ffn, residual)
        nodes.append(self.dense(f"{ffn}/fc1", entry, form.inner, size))
        fc2 = self.dense(f"{ffn}/fc2", f"{ffn}/fc1", size, form.inner)
        if not form.fc2_spike:
            inputs = (Projection(source=residual, weight=None), *fc2.inputs)
            return [*nodes, Population(name=f"{block}/sum", inputs=inputs, neurons=fc2.neurons)]
        nodes += [fc2, Join(name=f"{ffn}/sum", inputs=(residual, f"{ffn}/fc2"), size=size)]
        spikes(f"{block}/output", f"{ffn}/sum", form.block_spike)
        return nodes


def random_graph(form: Form = PAPER, seed: int = 0) -> SpikingGraph:
    """A graph of one form with random weights, thresholds and biases."""
    random = _Random(form, seed)
    size = form.heads * form.head_dim
    head = random.array(form.vocabulary, size)
    injection = Injection(
        name="input",
        token_table=head if form.tied else random.array(form.vocabulary, size),
        position_table=random.array(form.positions, size),
        step_gain=tuple(random.draw.standard_normal(form.steps).tolist()),
    )
    stream = Join(name="stream", inputs=("input",), size=size)
    nodes: list[Node] = [injection, stream if form.stream else random.one_to_one("embed", "input", size)]
    for number in range(form.layers):
        nodes += random.block(f"block_{number:02d}", nodes[-1].name)
    readout = Readout(
        name="head",
        source=nodes[-1].name,
        weight=head,
        gamma=random.array(size),
        beta=random.array(size),
        epsilon=1e-5,
        scale=1.7,
    )
    return SpikingGraph(
        nodes=(*nodes, readout),
        steps_per_token=form.steps,
        max_positions=form.positions,
        dt=1e-4,
        hyperparameters={"hidden_size": size, "threshold": 0.7, "reset": "subtract", "pre_spike": form.pre_spike},
        tokenizer='{"version": "1.0", "model": "grüße ▁"}',
    )


def assert_same(found: Any, expected: Any, where: str = "graph") -> None:
    """Two graphs, or parts of graphs, are equal: types, names, order, and every bit of every array."""
    if isinstance(expected, Mapping):
        assert dict(found) == dict(expected), where
        return
    found, expected = (numbers(value) if isinstance(value, Deferred) else value for value in (found, expected))
    assert type(found) is type(expected), where
    if is_dataclass(expected):
        for field in fields(expected):
            assert_same(getattr(found, field.name), getattr(expected, field.name), f"{where}.{field.name}")
    elif isinstance(expected, tuple):
        assert len(found) == len(expected), where
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{where}[{index}]")
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), where
        assert found.tobytes() == expected.tobytes(), where
    else:
        assert found == expected, where
