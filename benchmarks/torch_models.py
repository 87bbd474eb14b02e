"""The same work in PyTorch: float32 weights, spikes as 0.0 and 1.0, eager neurons; and a dense OPT in 8 bits."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import linear

from benchmarks.measure import Turn
from benchmarks.shapes import Shape

Layer: TypeAlias = Callable[[Tensor], Tensor]

DECAY, THRESHOLD = 0.9, 0.7
SCORE_THRESHOLD = 3.0


class FloatStack:
    """Linear layers, neurons and the head of a spiking network, fed random spikes of a rate."""

    def __init__(self, shape: Shape, steps: int, *, blocks: int = -1, head: bool = True) -> None:
        self.steps = steps
        count = shape.layers if blocks < 0 else blocks
        self.layers = [torch.randn(size, inputs) for _ in range(count) for inputs, size in shape.matrices]
        self.head = torch.randn(shape.vocabulary, shape.hidden) if head else None
        self.sizes = {shape.hidden, shape.ffn}

    def spikes(self, tokens: int, rate: float) -> dict[int, Tensor]:
        """By layer input size: (steps, tokens, size)."""
        return {size: (torch.rand(self.steps, tokens, size) < rate).float() for size in self.sizes}

    def step_by_step(self, spikes: dict[int, Tensor]) -> None:
        """The whole network at one time step, then at the next: each step reads all weights."""
        state = [(torch.zeros(1), torch.zeros(1)) for _ in self.layers]
        for step in range(self.steps):
            for index, weight in enumerate(self.layers):
                state[index] = _lif(linear(spikes[weight.shape[1]][step], weight), *state[index])
        self._read_out(spikes)

    def layer_by_layer(self, spikes: dict[int, Tensor]) -> None:
        """All time steps of a layer, one by one, then the next layer: weights that fit a cache are read once."""
        for weight in self.layers:
            state = (torch.zeros(1), torch.zeros(1))
            for current in spikes[weight.shape[1]]:
                state = _lif(linear(current, weight), *state)
        self._read_out(spikes)

    def steps_as_batch(self, spikes: dict[int, Tensor]) -> None:
        """One product per layer for all time steps and tokens, as `bispik.models.bispikclm` computes."""
        for weight in self.layers:
            state = (torch.zeros(1), torch.zeros(1))
            for current in linear(spikes[weight.shape[1]], weight):
                state = _lif(current, *state)
        self._read_out(spikes)

    def _read_out(self, spikes: dict[int, Tensor]) -> None:
        if self.head is not None:
            linear(spikes[self.head.shape[1]].sum(dim=0), self.head)


def attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Scores, neurons and values step by step; (steps, heads, tokens, head_dim) each, the mask (tokens, tokens)."""
    membrane, fired = torch.zeros(1), torch.zeros(1)
    outputs: list[Tensor] = []
    for query, key, value in zip(queries, keys, values, strict=True):
        scores = (query @ key.transpose(1, 2)) * mask
        membrane, fired = _lif(scores, membrane, fired, SCORE_THRESHOLD)
        outputs.append(fired @ value)
    return torch.stack(outputs)


class FloatStream:
    """Layers one after the other, each with neurons whose state is kept from step to step."""

    def __init__(self, layers: Sequence[Layer], thresholds: Sequence[float]) -> None:
        self.layers = list(zip(layers, thresholds, strict=True))

    def run(self, spikes: Tensor) -> None:
        """Run a sequence, (steps, ...), every step through all layers."""
        state = [(torch.zeros(1), torch.zeros(1)) for _ in self.layers]
        for given in spikes:
            sent = given
            for index, (layer, threshold) in enumerate(self.layers):
                state[index] = _lif(layer(sent), *state[index], threshold)
                sent = state[index][1]


class DenseInt8:
    """Hugging Face's OPT of a shape, random weights, every linear layer and the head in dynamic int8; one new token."""

    def __init__(self, shape: Shape, context: int) -> None:
        from transformers import OPTConfig, OPTForCausalLM

        config = OPTConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden,
            word_embed_proj_dim=shape.hidden,
            ffn_dim=shape.ffn,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            max_position_embeddings=2048,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is announced for removal, and what a user of PyTorch has until then
            make: Any = OPTForCausalLM  # some versions of transformers give it no types
            dense = make(config)
            quantization: Any = torch.ao.quantization
            self.model = quantization.quantize_dynamic(dense.eval(), {torch.nn.Linear}, dtype=torch.qint8)
        self.past = self.model(torch.ones(1, context, dtype=torch.long), use_cache=True).past_key_values

    def turn(self) -> Turn:
        """Return a turn that runs one token behind the context."""
        token = torch.ones(1, 1, dtype=torch.long)

        def run() -> float:
            started = time.perf_counter()
            self.model(token, past_key_values=self.past, use_cache=True)
            seconds = time.perf_counter() - started
            self.past.crop(-1)
            return seconds

        return run


def _lif(current: Tensor, membrane: Tensor, fired: Tensor, threshold: float = THRESHOLD) -> tuple[Tensor, Tensor]:
    """Membrane and spikes of the next step; zeros of any shape before the first."""
    membrane = membrane * DECAY + current - threshold * fired
    return membrane, (membrane >= threshold).float()
