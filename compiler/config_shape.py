"""Configuration to shape: what a network takes, told before there are weights.

The nodes are those that `lift` makes of a checkpoint; a test compares the two for every switch.
"""

from __future__ import annotations

from collections.abc import Iterator

from bispik.compiler.program import NeuronProgram
from bispik.compiler.shapes import STORED_BITS, InputShape, NetworkShape, NodeShape, network_shape
from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.errors import BispikError


def config_shape(
    config: BiSpikCLMConfig,
    *,
    bits: int,
    window: int,
    neuron_program: NeuronProgram = "bispik",
    head_on_chip: bool = True,
) -> NetworkShape:
    """Return the shape that a network of this configuration will have once it is quantised to ``bits`` per weight.

    Raises:
        BispikError: if such a network cannot be compiled; the message names the switch.
    """
    require_compilable(config)
    nodes = _Nodes(config, bits, neuron_program).all(head_on_chip=head_on_chip)
    return network_shape(nodes, steps_per_token=config.steps_per_token, window=window)


def require_compilable(config: BiSpikCLMConfig) -> None:
    """Check that there are graph nodes for all parts of a network.

    Raises:
        BispikError: if it has parts that are not compiled yet; the message names the switch.
    """
    if not (config.ffn_output_spike or config.block_output_spike):
        raise BispikError(
            "this network cannot be compiled: ffn_output_spike = false without block_output_spike adds a real current "
            "to the residual stream in every block; train it with one of the two"
        )


class _Nodes:
    """Methods are named after the parts of the network that they return, as in `lift`."""

    def __init__(self, config: BiSpikCLMConfig, bits: int, program: NeuronProgram) -> None:
        self.config, self.bits = config, bits
        self.program: NeuronProgram = program
        self.size = config.hidden_size

    def all(self, *, head_on_chip: bool) -> Iterator[NodeShape]:
        config = self.config
        from_host = InputShape(source="input", fan_in=1, one_to_one=True, bits=0, host=True)
        if config.embedding_spike:
            yield self.population("embed", self.size, from_host)
        else:
            yield self.join("stream", from_host)
        residual = "embed" if config.embedding_spike else "stream"
        for index in range(config.num_layers):
            block = f"block_{index:02d}"
            yield from self.attention(f"{block}/attn", residual)
            yield from self.ffn(block, f"{block}/attn/sum")
            residual = f"{block}/ffn/sum" if config.ffn_output_spike else f"{block}/sum"
            if config.ffn_output_spike and config.block_output_spike:
                yield self.population(f"{block}/output", self.size, self.one_to_one(residual))
                residual = f"{block}/output"
        if head_on_chip:
            yield NodeShape(
                name="head",
                kind="readout",
                size=config.vocab_size,
                inputs=(self.dense(residual, self.size),),
                program=self.program,
            )

    def attention(self, name: str, residual: str) -> Iterator[NodeShape]:
        config = self.config
        yield from self.entry(name, residual)
        entry = self.entered(name, residual)
        parts = tuple(f"{name}/{part}" for part in ("query", "key", "value"))
        for part in parts:
            yield self.population(part, self.size, self.dense(entry, self.size))
        yield NodeShape(
            name=f"{name}/attention",
            kind="attention",
            size=self.size,
            inputs=tuple(self.one_to_one(part) for part in parts),
            program=self.program,
            head_dim=config.head_dim,
            stored_bits=2 * STORED_BITS[config.spikes],
        )
        mixed = f"{name}/attention"
        if config.attention_output_spike:
            yield self.population(f"{name}/mixed", self.size, self.one_to_one(mixed))
            mixed = f"{name}/mixed"
        yield self.population(f"{name}/output", self.size, self.dense(mixed, self.size))
        yield self.join(f"{name}/sum", self.one_to_one(residual), self.one_to_one(f"{name}/output"))

    def ffn(self, block: str, residual: str) -> Iterator[NodeShape]:
        config, name, inner = self.config, f"{block}/ffn", self.config.intermediate_size
        yield from self.entry(name, residual)
        yield self.population(f"{name}/fc1", inner, self.dense(self.entered(name, residual), self.size))
        if not config.ffn_output_spike:
            inputs = (self.one_to_one(residual), self.dense(f"{name}/fc1", inner))
            yield self.population(f"{block}/sum", self.size, *inputs)
            return
        yield self.population(f"{name}/fc2", self.size, self.dense(f"{name}/fc1", inner))
        yield self.join(f"{name}/sum", self.one_to_one(residual), self.one_to_one(f"{name}/fc2"))

    def entry(self, name: str, residual: str) -> Iterator[NodeShape]:
        """What stands between the residual stream and a block's part: a norm, neurons, both or nothing."""
        has_norm = self.config.block_norm == "pre"
        if has_norm:
            inputs = (self.one_to_one(residual),)
            yield NodeShape(name=f"{name}/norm", kind="norm", size=self.size, inputs=inputs, program=self.program)
        if self.config.pre_spike:
            # Behind a norm there is one weight a channel: its gain.
            source = self.one_to_one(f"{name}/norm", self.bits) if has_norm else self.one_to_one(residual)
            yield self.population(f"{name}/input", self.size, source)

    def entered(self, name: str, residual: str) -> str:
        """Return the name of the last node of `entry`."""
        if self.config.pre_spike:
            return f"{name}/input"
        return f"{name}/norm" if self.config.block_norm == "pre" else residual

    def population(self, name: str, size: int, *inputs: InputShape) -> NodeShape:
        return NodeShape(name=name, kind="population", size=size, inputs=inputs, program=self.program)

    def join(self, name: str, *inputs: InputShape) -> NodeShape:
        return NodeShape(name=name, kind="join", size=self.size, inputs=inputs, program=self.program)

    def dense(self, source: str, fan_in: int) -> InputShape:
        return InputShape(source=source, fan_in=fan_in, one_to_one=False, bits=self.bits, host=False)

    def one_to_one(self, source: str, bits: int = 0) -> InputShape:
        return InputShape(source=source, fan_in=1, one_to_one=True, bits=bits, host=False)
