"""Bits per byte and firing rates against what they are defined as."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bispik.models.bispikclm.data import TokenText
from bispik.models.bispikclm.evaluate import bits_per_byte, evaluate, recorded_rates
from bispik.models.bispikclm.sample import continuation
from tests.checkpoints import random_checkpoint, recorded_spikes


@pytest.mark.parametrize("count", [2, 9, 13, 14, 15, 100])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_uniform_guess_costs_the_logarithm_of_the_vocabulary(count: int, batch: int) -> None:
    text = TokenText(ids=np.zeros(count, np.int64), num_bytes=3 * count)

    def uniform(ids: Tensor) -> Tensor:
        assert ids.shape[0] <= batch
        assert ids.shape[1] <= 6
        return torch.zeros(*ids.shape, 16)

    assert bits_per_byte(uniform, text, 6, batch) == pytest.approx(4 * (count - 1) / (3 * count))


def test_bits_per_byte_of_a_network() -> None:
    network = random_checkpoint(current_norm="batch").network()
    ids = np.random.default_rng(0).integers(0, 23, 30)
    text = TokenText(ids=ids, num_bytes=50)
    nats = 0.0
    with torch.no_grad():
        for start in (0, 12, 24):
            window = torch.from_numpy(ids[start : start + 13])
            chances = network(window[None, :-1])[0][0].log_softmax(-1)
            nats -= float(chances.gather(1, window[1:, None]).sum())
    network.train()
    result = evaluate(network, text)
    assert network.training
    assert result.tokens == 29
    assert result.bits_per_byte == pytest.approx(nats / math.log(2) / 50, rel=1e-5)
    assert 0 < result.mean_rate < 1


@pytest.mark.parametrize("switches", [{}, {"spikes": "ternary", "spike_amplitude": 0.5}])
def test_rates_count_only_score_pairs_that_exist(switches: dict[str, Any]) -> None:
    network = random_checkpoint(current_norm="batch", **switches).network()
    ids = torch.randint(0, 23, (2, 10), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), recorded_spikes(network) as spikes, recorded_rates(network) as rates:
        _, cache = network(ids[:, :4])
        network(ids[:, 4:], cache)
    assert rates.keys() == spikes.keys()
    first, second = spikes["blocks.1.attention.score_spike"]
    pairs = 3 * 2 * 2 * (10 * 11 / 2)
    fired = int(first.tril().count_nonzero() + second.tril(4).count_nonzero())
    assert rates["blocks.1.attention.score_spike"] == pytest.approx(fired / pairs)
    whole = torch.cat(spikes["blocks.0.ffn.fc1_spike"], dim=2)
    assert rates["blocks.0.ffn.fc1_spike"] == pytest.approx(float((whole != 0).float().mean()))


def test_continuation_is_reproducible_and_runs_past_the_context() -> None:
    network = random_checkpoint(current_norm="batch").network()
    prompt = torch.tensor([1, 2, 3])
    drawn = continuation(network, prompt, 30, temperature=1.0, seed=7)
    assert drawn == continuation(network, prompt, 30, temperature=1.0, seed=7)
    assert drawn != continuation(network, prompt, 30, temperature=1.0, seed=8)
    assert len(drawn) == 30
    assert set(drawn) <= set(range(23))


def test_a_cold_continuation_takes_the_likeliest_token() -> None:
    network = random_checkpoint(current_norm="batch").network()
    ids = [1, 2, 3]
    drawn = continuation(network, torch.tensor(ids), 8, temperature=1e-6, seed=0)
    with torch.no_grad():
        logits, _ = network(torch.tensor([ids + drawn]))
    assert logits[0, 2:-1].argmax(-1).tolist() == drawn
