"""Checkpoint to spiking graph: the only module of the compiler that touches PyTorch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bispik.compiler.config_shape import require_compilable
from bispik.compiler.deferred import Deferred
from bispik.compiler.graph import (
    Attention,
    Injection,
    Join,
    Neurons,
    Node,
    Norm,
    Population,
    Projection,
    Readout,
    Reset,
    SpikingGraph,
)
from bispik.models.bispikclm.checkpoint import Checkpoint
from bispik.models.bispikclm.model import SpikingNeurons

NIR_TIME_STEP = 1e-4
"""Seconds per time step in the exported NIR; the value that snnTorch assumes, so that it reads the file right."""


NORM_EPSILON = 1e-5
"""The default of torch.nn.LayerNorm."""


def lift(checkpoint: Checkpoint, tokenizer: str = "") -> SpikingGraph:
    """Return the network as a spiking graph, with every BatchNorm on a current folded away.

    Its matrices are made when they are looked at (`Deferred`), one by one, and never lie in memory together.

    A normalised current g * (I - mean) + b against a threshold is, for a gain g > 0, the current I + (b/g - mean)
    against threshold / g. In front of a projection g goes into the weights instead, and the threshold stays.

    The graph's spikes are 1, or -1 and 1, whatever the network's amplitude a: a node whose output in the network is u
    times what it is here has the unit u, which is a for spikes and sums of spikes and a^2 for A V. Weights behind it
    are multiplied by u; what enters neurons one-to-one has no weight, so their threshold and bias are divided by u, as
    are those of scores by a^2 and the final norm's epsilon by a^2.

    Args:
        checkpoint: the trained network.
        tokenizer: text of its ``tokenizer.json``.

    Raises:
        BispikError: if the network has parts that are not compiled yet; the message names the switch.
    """
    return _Lift(checkpoint).graph(tokenizer)


class _Lift:
    """Reads one checkpoint's tensors; methods are named after the parts of the network that they return."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.config = checkpoint.config
        self.tensors = checkpoint.tensors
        self.release = checkpoint.release
        self.tokens = self.matrix("token_embedding.weight")
        self.amplitude = checkpoint.config.spike_amplitude
        self.pair = self.amplitude**2
        """Unit of a product of two spikes."""
        require_compilable(self.config)

    def graph(self, tokenizer: str) -> SpikingGraph:
        config = self.config
        nodes: list[Node] = [self.injection(), self.stream()]
        for index in range(config.num_layers):
            nodes += self.attention_nodes(index, nodes[-1].name)
            nodes += self.ffn_nodes(index, nodes[-1].name)
        nodes.append(self.readout(nodes[-1].name))
        return SpikingGraph(
            nodes=tuple(nodes),
            steps_per_token=config.steps_per_token,
            max_positions=config.max_positions,
            dt=NIR_TIME_STEP,
            hyperparameters={**config.to_dict(), "parameters": self.parameters()},
            tokenizer=tokenizer,
        )

    def parameters(self) -> int:
        """Number of trained values; a norm's running statistics are none."""
        return sum(tensor.numel() for name, tensor in self.tensors.items() if "running_" not in name)

    def injection(self) -> Injection:
        config, steps = self.config, self.config.steps_per_token
        # A stream of real numbers is of the same unit as the spikes that join it.
        unit = 1.0 if config.embedding_spike else self.amplitude
        gains = [(t + 1) / steps if config.input_current == "ramp" else 1.0 for t in range(steps)]
        return Injection(
            name="input",
            token_table=self.tokens,
            position_table=self.matrix("position_embedding.weight"),
            step_gain=tuple(config.input_scale * gain / unit for gain in gains),
        )

    def stream(self) -> Node:
        """Where the residual stream begins: spikes on the embedding, or its current itself."""
        size = self.config.hidden_size
        if not self.config.embedding_spike:
            return Join(name="stream", inputs=("input",), size=size)
        neurons = self.neurons("embedding_spike", size, unit=1.0)
        return Population(name="embed", inputs=(Projection(source="input", weight=None),), neurons=neurons)

    def attention_nodes(self, index: int, residual: str) -> list[Node]:
        config, name, key = self.config, f"block_{index:02d}/attn", f"blocks.{index}.attention"
        nodes = self.entry_nodes(name, residual, key)
        entry = nodes[-1].name if nodes else residual
        norm = f"{key}.norm" if config.block_norm == "pre" and not config.pre_spike else ""
        nodes += [
            self.dense(f"{name}/{part}", entry, f"{key}.{part}", f"{key}.{part}_spike", unit=self.amplitude, norm=norm)
            for part in ("query", "key", "value")
        ]
        attention = Attention(
            name=f"{name}/attention",
            query=f"{name}/query",
            key=f"{name}/key",
            value=f"{name}/value",
            heads=config.num_heads,
            head_dim=config.head_dim,
            neurons=self.neurons(f"{key}.score_spike", config.num_heads, unit=self.pair),
        )
        nodes.append(attention)
        unit = self.pair
        if config.attention_output_spike:
            nodes.append(self.one_to_one(f"{name}/mixed", attention.name, f"{key}.mixed_spike", unit=unit))
            unit = self.amplitude
        output = self.dense(f"{name}/output", nodes[-1].name, f"{key}.output", f"{key}.output_spike", unit=unit)
        return [*nodes, output, Join(name=f"{name}/sum", inputs=(residual, output.name), size=config.hidden_size)]

    def ffn_nodes(self, index: int, residual: str) -> list[Node]:
        config, name, key = self.config, f"block_{index:02d}/ffn", f"blocks.{index}.ffn"
        nodes = self.entry_nodes(name, residual, key)
        entry = nodes[-1].name if nodes else residual
        norm = f"{key}.norm" if config.block_norm == "pre" and not config.pre_spike else ""
        fc1 = self.dense(f"{name}/fc1", entry, f"{key}.fc1", f"{key}.fc1_spike", unit=self.amplitude, norm=norm)
        nodes.append(fc1)
        if not config.ffn_output_spike:
            return [*nodes, self.residual_neurons(index, residual, fc1.name)]
        fc2 = self.dense(f"{name}/fc2", fc1.name, f"{key}.fc2", f"{key}.fc2_spike", unit=self.amplitude)
        nodes += [fc2, Join(name=f"{name}/sum", inputs=(residual, fc2.name), size=config.hidden_size)]
        if config.block_output_spike:
            output = f"block_{index:02d}/output"
            nodes.append(self.on_residual(output, nodes[-1].name, f"blocks.{index}.output_spike"))
        return nodes

    def entry_nodes(self, name: str, residual: str, key: str) -> list[Node]:
        """What stands between the residual stream and a block's part: a norm, neurons, both or nothing."""
        size = self.config.hidden_size
        nodes: list[Node] = []
        if self.config.block_norm == "pre":
            nodes.append(Norm(name=f"{name}/norm", source=residual, size=size, epsilon=NORM_EPSILON / self.pair))
        if not self.config.pre_spike:
            return nodes
        if not nodes:
            return [self.on_residual(f"{name}/input", residual, f"{key}.input_spike")]
        # Gain and bias of the norm are those of the neurons' current.
        neurons = self.neurons(f"{key}.input_spike", size, unit=1.0)
        weight = self.array(f"{key}.norm.weight")
        neurons = dataclasses.replace(neurons, bias=neurons.bias + self.optional(f"{key}.norm.bias", size))
        projection = Projection(source=nodes[-1].name, weight=weight)
        return [*nodes, Population(name=f"{name}/input", inputs=(projection,), neurons=neurons)]

    def residual_neurons(self, index: int, residual: str, fc1: str) -> Population:
        """Neurons on residual + W_2 a + b_2: a real current joins the residual only inside their membranes."""
        key = f"blocks.{index}"
        # Both inputs have the same unit, so the weights stay as they are.
        neurons = self.neurons(f"{key}.output_spike", self.config.hidden_size, unit=self.amplitude)
        linear_bias = self.optional(f"{key}.ffn.fc2.bias", self.config.hidden_size) / self.amplitude
        return Population(
            name=f"block_{index:02d}/sum",
            inputs=(
                Projection(source=residual, weight=None),
                Projection(source=fc1, weight=self.matrix(f"{key}.ffn.fc2.weight")),
            ),
            neurons=dataclasses.replace(neurons, bias=neurons.bias + linear_bias),
        )

    def readout(self, source: str) -> Readout:
        log_scale = self.tensors.get("readout_log_scale")
        return Readout(
            name="head",
            source=source,
            weight=self.tokens,
            gamma=self.array("final_norm.weight"),
            beta=self.optional("final_norm.bias", self.config.hidden_size).astype(np.float32),
            epsilon=NORM_EPSILON / self.pair,
            scale=float(np.exp(log_scale.item())) if log_scale is not None else 1.0,
        )

    def on_residual(self, name: str, residual: str, spike: str) -> Population:
        """Neurons on the residual stream, a sum of spikes."""
        return self.one_to_one(name, residual, spike, unit=self.amplitude)

    def one_to_one(self, name: str, source: str, spike: str, *, unit: float) -> Population:
        """Neurons on a source of that unit."""
        neurons = self.neurons(spike, self.config.hidden_size, unit=unit)
        return Population(name=name, inputs=(Projection(source=source, weight=None),), neurons=neurons)

    def dense(self, name: str, source: str, linear: str, spike: str, *, unit: float, norm: str = "") -> Population:
        """Neurons behind a matrix on a source of that unit, or on a norm, whose gain and bias fold into it."""
        size, inputs = self.tensors[f"{linear}.weight"].shape
        gain, bias = self.affine(spike, size)
        linear_bias, columns = self.optional(f"{linear}.bias", size), None
        if norm:
            unit = 1.0
            columns = self.array(f"{norm}.weight")
            linear_bias = linear_bias + self.array(f"{linear}.weight").astype(np.float64) @ self.optional(
                f"{norm}.bias", inputs
            )

        def fold(stored: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            weight = stored.astype(np.float64)
            if columns is not None:
                weight *= columns
            weight *= gain[:, None]
            weight *= unit
            return weight.astype(np.float32)

        weight = self.deferred(f"{linear}.weight", fold)
        return Population(
            name=name,
            inputs=(Projection(source=source, weight=weight),),
            neurons=self.plain_neurons(np.full(size, self.config.threshold), gain * linear_bias + bias),
        )

    def neurons(self, spike: str, size: int, *, unit: float) -> Neurons:
        """Neurons whose normalisation, and the unit of what enters them, fold into threshold and bias."""
        gain, bias = self.affine(spike, size)
        return self.plain_neurons(self.config.threshold / (gain * unit), bias / (gain * unit))

    def plain_neurons(self, threshold: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]) -> Neurons:
        reset: Reset = "soft" if self.config.reset == "subtract" else "hard"
        return Neurons(
            decay=self.config.decay,
            threshold=threshold,
            bias=bias,
            reset=reset,
            fire="ge",
            spikes=self.config.spikes,
        )

    def affine(self, spike: str, size: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Gain and bias that the normalisation in front of a population applies to its current."""
        log_gain = self.tensors.get(f"{spike}.log_gain")
        if log_gain is None:
            return np.ones(size), np.zeros(size)
        gain = np.exp(_float64(log_gain))
        bias = _float64(self.tensors[f"{spike}.bias"])
        if f"{spike}.running_mean" not in self.tensors:
            return gain, bias
        gain = gain / np.sqrt(_float64(self.tensors[f"{spike}.running_var"]) + SpikingNeurons.epsilon)
        return gain, bias - gain * _float64(self.tensors[f"{spike}.running_mean"])

    def matrix(self, name: str) -> Deferred:
        """A tensor as it is."""
        return self.deferred(name, lambda weight: weight)

    def deferred(self, name: str, fold: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]) -> Deferred:
        """A tensor in which something is folded, (rows, columns) as before, once it is looked at."""
        return Deferred(
            shape=tuple(self.tensors[name].shape), dtype=np.dtype(np.float32), make=lambda: fold(self.array(name))
        )

    def array(self, name: str) -> npt.NDArray[np.float32]:
        """A tensor's numbers, in memory."""
        result: npt.NDArray[np.float32] = self.tensors[name].float().numpy()
        if result.size and self.tensors[name].dtype == torch.float32:
            result = result.copy()  # or it would keep the checkpoint's pages in memory
        self.release()
        return result

    def optional(self, name: str, size: int) -> npt.NDArray[np.float64]:
        return _float64(self.tensors[name]) if name in self.tensors else np.zeros(size)


def _float64(tensor: Tensor) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = tensor.double().numpy()
    return result
