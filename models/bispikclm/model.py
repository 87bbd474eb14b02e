"""The BiSpikCLM network on one page.

    x_i      = token_embedding[id_i] + position_embedding[i]       a real vector, held as current for T steps
    r        = SN(x)                                               binary
    block:     r <- r + SFSA(SN(r));   r <- r + SFFN(SN(r))        r counts spikes: 0, 1, 2, ...
    logits_i = W_head LayerNorm(mean over t of r_i(t))             W_head is tied to token_embedding

SN is a layer of LIF neurons (`lif.lif`) that start at rest for every token: nothing but the keys
and values of earlier tokens reaches a later one. Tensors are (time steps, batch, tokens, channels).
With ternary spikes every SN gives -a, 0 or a instead of 0 or 1, the attention map too.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import MethodType
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.lif import lif, working_dtype
from bispik.models.errors import BispikError

P = ParamSpec("P")
R = TypeVar("R")


class SpikingNeurons(nn.Module):
    """SN: LIF neurons, optionally behind a BatchNorm (``channels``) or a gain and bias per head (``heads``).

    Both keep a positive gain, exp(log_gain), so that they fold into thresholds and biases at export.
    """

    def __init__(self, config: BiSpikCLMConfig, *, channels: int = 0, heads: int = 0) -> None:
        super().__init__()
        self.config = config
        self.channels, self.heads = (channels, heads) if config.current_norm == "batch" else (0, 0)
        if self.channels or self.heads:
            self.log_gain = nn.Parameter(torch.zeros(self.channels or self.heads))
            self.bias = nn.Parameter(torch.zeros(self.channels or self.heads))
        if self.channels:
            self.register_buffer("running_mean", torch.zeros(channels))
            self.register_buffer("running_var", torch.ones(channels))

    running_mean: Tensor
    running_var: Tensor
    epsilon = 1e-5
    momentum = 0.1
    """Weight of a training batch in the running statistics."""

    def affine(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gain and the bias that act on the current, each (channels,) or (heads,)."""
        gain = self.log_gain.exp()
        if self.heads:
            return gain, self.bias
        if self.training:
            variance, mean = self.moments(current)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance, self.momentum)
        else:
            mean, variance = self.running_mean, self.running_var
        gain = gain * torch.rsqrt(variance + self.epsilon)
        return gain, self.bias - gain * mean

    @staticmethod
    def moments(current: Tensor) -> tuple[Tensor, Tensor]:
        """Return variance and mean of each channel over a batch; `processes` puts its own in the place of this."""
        current = current.to(working_dtype(current.dtype))
        return torch.var_mean(current, dim=tuple(range(current.dim() - 1)), correction=0)

    def forward(self, current: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map currents to spikes; attention scores are (time steps, batch, heads, queries, keys).

        Where ``mask`` is false there is no neuron, and no spike.
        """
        if self.channels or self.heads:
            gain, bias = self.affine(current)
            shape = (-1, 1, 1) if self.heads else (-1,)
            current = current * gain.view(shape) + bias.view(shape)
        config = self.config
        spikes = lif(
            current,
            config.decay,
            config.threshold,
            subtract=config.reset == "subtract",
            ternary=config.spikes == "ternary",
            amplitude=config.spike_amplitude,
        )
        return spikes if mask is None else spikes * mask


def compile_neurons(model: nn.Module) -> None:
    """Fuse normalisation and neuron loops of one network with ``torch.compile``.

    On a CPU this makes a training step more than twice as fast; the first steps wait for the compiler.

    Raises:
        BispikError: if there is no C++ compiler, which ``torch.compile`` needs on a CPU.
    """
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    fused = fuse(SpikingNeurons.forward, on_cpu=on_cpu)
    for module in model.modules():
        if isinstance(module, SpikingNeurons):
            module.forward = MethodType(fused, module)  # type: ignore[method-assign]


def fuse(function: Callable[P, R], *, on_cpu: bool = True) -> Callable[P, R]:
    """Return a function as one kernel made by ``torch.compile``.

    Raises:
        BispikError: if there is no C++ compiler, which ``torch.compile`` needs on a CPU.
    """
    compiler = os.environ.get("CXX", "g++")
    if on_cpu and shutil.which(compiler) is None:
        raise BispikError(
            f"torch.compile needs a C++ compiler and '{compiler}' is not there; install one, name one in CXX, or set "
            "compile = false in the run (slower)"
        )
    # One graph a shape and mode. Past this limit, which is the process's, dynamo would silently fall back to eager.
    limits = torch._dynamo.config  # pyright: ignore[reportPrivateUsage]
    limits.cache_size_limit = max(256, limits.cache_size_limit)
    return torch.compile(function, dynamic=False)


@dataclass
class LayerCache:
    """Keys and values of the tokens so far, each (time steps, batch, heads, tokens, head_dim)."""

    keys: Tensor
    values: Tensor


class SpikingAttention(nn.Module):
    """SFSA: A = SN(Q K^T) masked, out = SN(W_o (A V)); every factor is a spike."""

    def __init__(self, config: BiSpikCLMConfig) -> None:
        super().__init__()
        self.config = config
        size, bias = config.hidden_size, config.attention_bias
        self.norm = nn.LayerNorm(size) if config.block_norm == "pre" else nn.Identity()
        self.input_spike = SpikingNeurons(config, channels=size) if config.pre_spike else nn.Identity()
        self.query, self.key, self.value, self.output = (nn.Linear(size, size, bias=bias) for _ in range(4))
        self.query_spike, self.key_spike, self.value_spike, self.output_spike = (
            SpikingNeurons(config, channels=size) for _ in range(4)
        )
        self.score_spike = SpikingNeurons(config, heads=config.num_heads)
        self.mixed_spike = SpikingNeurons(config, channels=size) if config.attention_output_spike else nn.Identity()

    def forward(self, residual: Tensor, past: LayerCache | None = None) -> tuple[Tensor, LayerCache, Tensor]:
        """Return the spikes, the keys and values including this call's tokens, and the mean over time of A.

        That is (batch, heads, queries, keys), at least float32, 0 where the causal mask stops it.
        """
        heads = (*residual.shape[:3], self.config.num_heads, self.config.head_dim)
        spikes = self.input_spike(self.norm(residual))
        query, key, value = (
            neurons(projection(spikes)).view(heads).transpose(2, 3)
            for neurons, projection in (
                (self.query_spike, self.query),
                (self.key_spike, self.key),
                (self.value_spike, self.value),
            )
        )
        if past is not None:
            key, value = torch.cat([past.keys, key], dim=3), torch.cat([past.values, value], dim=3)
        queries, keys = query.shape[3], key.shape[3]
        mask = torch.ones(queries, keys, dtype=torch.bool, device=key.device).tril(keys - queries)
        attention_map = self.score_spike(query @ key.transpose(3, 4), mask).to(value.dtype)
        mixed = self.mixed_spike((attention_map @ value).transpose(2, 3).reshape(residual.shape))
        mean_map = attention_map.mean(0, dtype=working_dtype(attention_map.dtype))
        return self.output_spike(self.output(mixed)), LayerCache(key, value), mean_map


class SpikingFeedForward(nn.Module):
    """SFFN: SN(W_2 SN(W_1 a + b_1) + b_2)."""

    def __init__(self, config: BiSpikCLMConfig) -> None:
        super().__init__()
        size, inner, bias = config.hidden_size, config.intermediate_size, config.ffn_bias
        self.norm = nn.LayerNorm(size) if config.block_norm == "pre" else nn.Identity()
        self.input_spike = SpikingNeurons(config, channels=size) if config.pre_spike else nn.Identity()
        self.fc1, self.fc2 = nn.Linear(size, inner, bias=bias), nn.Linear(inner, size, bias=bias)
        self.fc1_spike = SpikingNeurons(config, channels=inner)
        self.fc2_spike = SpikingNeurons(config, channels=size) if config.ffn_output_spike else nn.Identity()

    def forward(self, residual: Tensor) -> Tensor:
        """Map the residual stream to what is added to it."""
        spikes = self.input_spike(self.norm(residual))
        change: Tensor = self.fc2_spike(self.fc2(self.fc1_spike(self.fc1(spikes))))
        return change


class Block(nn.Module):
    """r <- r + SFSA(r); r <- r + SFFN(r)."""

    def __init__(self, config: BiSpikCLMConfig) -> None:
        super().__init__()
        self.attention = SpikingAttention(config)
        self.ffn = SpikingFeedForward(config)
        channels = config.hidden_size
        self.output_spike = SpikingNeurons(config, channels=channels) if config.block_output_spike else nn.Identity()

    def forward(self, residual: Tensor, past: LayerCache | None = None) -> tuple[Tensor, LayerCache, Tensor]:
        """Return the residual stream behind this block, its keys and values, and the mean over time of A."""
        attended, cache, mean_map = self.attention(residual, past)
        residual = residual + attended
        return self.joined(residual, self.ffn(residual)), cache, mean_map

    def joined(self, residual: Tensor, change: Tensor) -> Tensor:
        """Add the feed-forward part's change to the residual stream."""
        joined: Tensor = self.output_spike(residual + change)
        return joined


def _checkpointed(block: nn.Module, residual: Tensor) -> tuple[Tensor, Tensor]:
    """Run a block of which only input and outputs stay in memory; returns residual stream and mean attention map."""
    residual, _, mean_map = checkpoint(
        block,
        residual,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), _kept_buffers(block)),
    )
    return residual, mean_map


@contextmanager
def _kept_buffers(module: nn.Module) -> Generator[None]:
    """Leave a module's running statistics as they were: its second run on a batch is not to count."""
    before = [buffer.clone() for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(module.buffers(), before, strict=True):
                buffer.copy_(value)


@dataclass
class Observed:
    """What a training compares with a teacher; ``BiSpikCLM.forward`` fills it."""

    residuals: list[Tensor] = field(default_factory=list[Tensor])
    """The residual stream behind the embedding and behind each block, each (time steps, batch, tokens, hidden)."""
    attention_maps: list[Tensor] = field(default_factory=list[Tensor])
    """By block: the mean of A over the time steps, (batch, heads, queries, keys), at least float32."""


class BiSpikCLM(nn.Module):
    """A spiking causal language model; see the module's docstring for its equations."""

    def __init__(self, config: BiSpikCLMConfig) -> None:
        super().__init__()
        self.config = config
        size = config.hidden_size
        self.token_embedding = nn.Embedding(config.vocab_size, size)
        self.position_embedding = nn.Embedding(config.max_positions, size)
        self.embedding_spike = SpikingNeurons(config, channels=size) if config.embedding_spike else nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = nn.LayerNorm(size, bias=config.final_norm_bias)
        if config.readout_scale:
            self.readout_log_scale = nn.Parameter(torch.zeros(()))
        self.initialise()

    checkpoint_activations = False
    """Whether training keeps a block's input and outputs alone, and runs the block once more in the backward pass."""

    def initialise(self) -> None:
        """Draw weights: embeddings with standard deviation 0.02, projections 1/sqrt(fan-in), biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            elif isinstance(module, nn.Linear):
                for name, parameter in module.named_parameters():
                    if name == "bias":
                        nn.init.zeros_(parameter)
                    else:
                        nn.init.normal_(parameter, std=1 / math.sqrt(module.in_features))

    def currents(self, token_ids: Tensor, first_position: int = 0) -> Tensor:
        """Injected current x of token ids (batch, tokens), shape (time steps, batch, tokens, hidden)."""
        config = self.config
        positions = torch.arange(first_position, first_position + token_ids.shape[1], device=token_ids.device)
        x: Tensor = (self.token_embedding(token_ids) + self.position_embedding(positions)) * config.input_scale
        steps = torch.ones(config.steps_per_token, dtype=x.dtype, device=x.device)
        if config.input_current == "ramp":
            steps = steps.cumsum(0) / config.steps_per_token
        return steps.view(-1, 1, 1, 1) * x

    def forward(
        self, token_ids: Tensor, past: list[LayerCache] | None = None, *, observed: Observed | None = None
    ) -> tuple[Tensor, list[LayerCache]]:
        """Logits (batch, tokens, vocabulary), and the cache that the next call takes as ``past``.

        With ``checkpoint_activations`` there is no cache in training.

        Args:
            token_ids: (batch, tokens), int64.
            past: cache of the tokens before these; a sequence fed in pieces gives the same spikes as at once.
            observed: if given, receives the residual streams and attention maps on the way.
        """
        first = 0 if past is None else past[0].keys.shape[3]
        residual = self.embedding_spike(self.currents(token_ids, first))
        if observed is not None:
            observed.residuals.append(residual)
        caches: list[LayerCache] = []
        for index, block in enumerate(self.blocks):
            if self.checkpoint_activations and self.training and past is None:
                residual, mean_map = _checkpointed(block, residual)
            else:
                residual, cache, mean_map = block(residual, None if past is None else past[index])
                caches.append(cache)
            if observed is not None:
                observed.residuals.append(residual)
                observed.attention_maps.append(mean_map)
        return self.readout(residual), caches

    def readout(self, residual: Tensor) -> Tensor:
        """Logits (batch, tokens, vocabulary) of the last residual stream."""
        logits = functional.linear(self.final_norm(residual.mean(0)), self.token_embedding.weight)
        if self.config.readout_scale:
            logits = logits * self.readout_log_scale.exp()
        return logits
