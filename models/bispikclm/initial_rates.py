"""Where training starts: every population fires at a chosen rate."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from bispik.models.bispikclm.evaluate import count_spikes
from bispik.models.bispikclm.model import BiSpikCLM, SpikingNeurons

_BIAS_BOUND = 20.0
"""Biases are sought within this many standard deviations of the current."""

_LOG_GAIN_BOUND = 8.0
"""Logarithms of gains are sought within this of 0."""

_HALVINGS = 24


@torch.no_grad()
def set_initial_rates(model: BiSpikCLM, token_ids: Tensor, rate: float, score_rate: float) -> None:
    """Choose each population's bias, in forward order, so that it fires at a given rate on a batch.

    A ternary population fires least without a bias, and more for one of either sign: there the bias stays 0 and the
    gain is chosen. A rate that no bias or gain gives is come near to: scores are whole numbers, and cross in jumps.
    Without this a network without norms starts silent and gives no gradient. Acts on populations behind a
    normalisation (``current_norm = "batch"``), whose running statistics become those of the batch.

    Args:
        model: the network; biases or gains, and running statistics, are changed in place.
        token_ids: (batch, tokens).
        rate: spikes per neuron and time step.
        score_rate: the same for attention scores, over pairs that the causal mask lets through.
    """

    def hook(module: SpikingNeurons, inputs: tuple[Tensor, ...]) -> None:
        sought, bound = (module.log_gain, _LOG_GAIN_BOUND) if ternary else (module.bias, _BIAS_BOUND)
        low, high = -bound, bound
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            sought.fill_(middle)
            spikes, places = count_spikes(module.forward(*inputs), model.config)
            wanted = score_rate if module.heads else rate
            low, high = (middle, high) if float(spikes) / places < wanted else (low, middle)

    ternary = model.config.spikes == "ternary"
    populations = [m for m in model.modules() if isinstance(m, SpikingNeurons) and (m.channels or m.heads)]
    was_training = model.training
    handles = [population.register_forward_pre_hook(hook) for population in populations]
    try:
        with _statistics_of_last_batch(populations):
            model.train()
            model(token_ids)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()


@contextmanager
def _statistics_of_last_batch(populations: Sequence[SpikingNeurons]) -> Generator[None]:
    """Inside the block, running statistics take over a batch's in full."""
    for population in populations:
        population.momentum = 1.0
    try:
        yield
    finally:
        for population in populations:
            del population.momentum  # the class's value shows again
