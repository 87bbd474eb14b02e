"""How good a network is and how much it fires, on a text."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.data import TokenText
from bispik.models.bispikclm.model import BiSpikCLM, SpikingNeurons


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Bits per byte of a text, and the mean firing rate (spikes per neuron and time step) by population."""

    bits_per_byte: float
    tokens: int
    firing_rates: dict[str, float]

    @property
    def mean_rate(self) -> float:
        """Mean of the populations' firing rates, each population counted once."""
        return sum(self.firing_rates.values()) / max(1, len(self.firing_rates))


def count_spikes(output: Tensor, config: BiSpikCLMConfig) -> tuple[Tensor, int]:
    """Return how many spikes of either sign a population's output holds, and how many there could be.

    The number has a gradient: that of the outputs, and of the magnitudes of ternary ones, where silence has none.
    Attention scores are (time steps, batch, heads, queries, keys); only pairs that the causal mask lets through exist.
    """
    if config.spikes == "ternary":
        output = output.abs() / config.spike_amplitude
    spikes = output.sum(dtype=torch.float32)
    if output.dim() < 5:
        return spikes, output.numel()
    queries, keys = output.shape[3:]
    pairs = queries * (keys - queries) + queries * (queries + 1) // 2
    return spikes, math.prod(output.shape[:3]) * pairs


@contextmanager
def hooked_spikes(model: nn.Module, receive: Callable[[str, Tensor], None]) -> Generator[None]:
    """Inside the block, ``receive`` is called with the name and the spikes of every population that runs."""

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _inputs, output: receive(name, output)

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if isinstance(module, SpikingNeurons)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def recorded_rates(model: BiSpikCLM) -> Generator[dict[str, float]]:
    """Inside the block, count spikes of every population; on leaving, the dict holds mean firing rates."""
    spikes: dict[str, float] = {}
    places: dict[str, int] = {}

    def add(name: str, output: Tensor) -> None:
        fired, possible = count_spikes(output.detach(), model.config)
        spikes[name] = spikes.get(name, 0.0) + float(fired)
        places[name] = places.get(name, 0) + possible

    rates: dict[str, float] = {}
    with hooked_spikes(model, add):
        yield rates
    rates.update({name: spikes[name] / places[name] for name in spikes})


def bits_per_byte(logits_of: Callable[[Tensor], Tensor], text: TokenText, context: int, batch: int = 8) -> float:
    """Cross-entropy of every token but the first, over all bytes of the text: bits per byte.

    Args:
        logits_of: maps token ids (batch, tokens) to logits (batch, tokens, vocabulary).
        text: what to predict.
        context: tokens per window; windows do not overlap and begin with the last token of the one before.
        batch: windows per call.
    """
    windows = [torch.from_numpy(window) for window in text.windows(context)]
    whole = [window for window in windows if len(window) == context + 1]
    batches = [torch.stack(whole[start : start + batch]) for start in range(0, len(whole), batch)]
    batches += [window[None] for window in windows[len(whole) :]]  # the last one may be shorter
    nats = 0.0
    for ids in batches:
        logits = logits_of(ids[:, :-1]).float()
        targets = ids[:, 1:].flatten().to(logits.device)
        nats += float(functional.cross_entropy(logits.flatten(0, 1), targets, reduction="sum"))
    return nats / math.log(2) / text.num_bytes


@torch.no_grad()
def evaluate(model: BiSpikCLM, text: TokenText) -> Evaluation:
    """Evaluate a float network on a text, over windows of its full context."""
    was_training = model.training
    model.eval()
    try:
        with recorded_rates(model) as rates:
            device = model.token_embedding.weight.device
            bits = bits_per_byte(lambda ids: model(ids.to(device))[0], text, model.config.max_positions)
    finally:
        model.train(was_training)
    return Evaluation(bits_per_byte=bits, tokens=len(text.ids) - 1, firing_rates=rates)
