"""The network over whole sequences, token by token, and in pieces; causality."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from bispik.models.bispikclm.model import BiSpikCLM, LayerCache, Observed, SpikingNeurons, compile_neurons
from bispik.models.errors import BispikError
from tests.checkpoints import random_checkpoint, recorded_spikes

SWITCHES: dict[str, tuple[Any, Any]] = {
    "embedding_spike": (True, False),
    "input_current": ("constant", "ramp"),
    "block_norm": ("none", "pre"),
    "pre_spike": (True, False),
    "attention_output_spike": (False, True),
    "ffn_output_spike": (True, False),
    "block_output_spike": (False, True),
}
BIASES = {"attention_bias": True, "ffn_bias": False, "final_norm_bias": False, "readout_scale": True}


def combinations() -> Iterator[dict[str, Any]]:
    """Every combination of the switches that change the order of operations.

    What happens inside a neuron, and the biases, takes turns: each value meets each pair of the others.
    """
    for number, values in enumerate(itertools.product(*SWITCHES.values())):
        turn = number + number.bit_count()
        inner = {"reset": ("subtract", "zero")[turn // 2 % 2], "current_norm": ("batch", "none")[turn % 2]}
        ternary = {"spikes": "ternary", "spike_amplitude": 0.75} if turn // 4 % 2 else {}
        yield {**dict(zip(SWITCHES, values, strict=True)), **inner, **ternary, **(BIASES if number % 3 else {})}


def network(**switches: Any) -> BiSpikCLM:
    small = {"num_layers": 1, "hidden_size": 8, "intermediate_size": 12, "max_positions": 5, "steps_per_token": 2}
    return random_checkpoint(norm_batches=1, **{**small, **switches}).network(torch.float64)


def tokens(model: BiSpikCLM, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, model.config.vocab_size, (2, model.config.max_positions), generator=generator)


def in_pieces(model: BiSpikCLM, ids: Tensor, lengths: Sequence[int]) -> tuple[dict[str, Tensor], Tensor]:
    """Spikes of every population over the sequence, and logits, from calls with so many tokens each."""
    past: list[LayerCache] | None = None
    logits: list[Tensor] = []
    with torch.no_grad(), recorded_spikes(model) as spikes:
        for piece in torch.split(ids, list(lengths), dim=1):
            result, past = model(piece, past)
            logits.append(result)
    total = ids.shape[1]
    joined: dict[str, Tensor] = {}
    for name, pieces in spikes.items():
        if pieces[0].dim() == 5:  # scores: a piece sees the keys so far
            padded = [torch.nn.functional.pad(piece, (0, total - piece.shape[4])) for piece in pieces]
            joined[name] = torch.cat(padded, dim=3).tril()
        else:
            joined[name] = torch.cat(pieces, dim=2)
    return joined, torch.cat(logits, dim=1)


def test_every_combination_is_causal_and_takes_a_sequence_in_pieces() -> None:
    fired = 0.0
    for switches in combinations():
        model = network(**switches)
        ids = tokens(model)
        spikes, logits = in_pieces(model, ids, [5])
        size = switches.get("spike_amplitude", 1.0)
        values = {value for spike in spikes.values() for value in spike.flatten().tolist()}
        assert values <= ({0.0, 1.0} if size == 1.0 else {-size, 0.0, size})
        fired += sum(float(value.abs().sum()) for value in spikes.values())

        others, other_logits = in_pieces(model, ids, [1, 3, 1])
        assert spikes.keys() == others.keys()
        for name, value in spikes.items():
            assert torch.equal(value, others[name]), (switches, name)
        torch.testing.assert_close(logits, other_logits, rtol=1e-9, atol=1e-9)

        changed = ids.clone()
        changed[:, 3:] = (changed[:, 3:] + 7) % model.config.vocab_size
        others, other_logits = in_pieces(model, changed, [5])
        for name, value in spikes.items():
            assert torch.equal(value.narrow(-2, 0, 3), others[name].narrow(-2, 0, 3)), (switches, name)
        assert torch.equal(logits[:, :3], other_logits[:, :3])
        assert not torch.equal(logits[:, 3:], other_logits[:, 3:])
    assert fired > 0


def test_token_by_token_over_the_whole_context() -> None:
    model = random_checkpoint(current_norm="batch").network(torch.float64)
    ids = tokens(model)
    spikes, logits = in_pieces(model, ids, [12])
    for lengths in ([1] * 12, [5, 1, 6]):
        others, other_logits = in_pieces(model, ids, lengths)
        assert all(torch.equal(value, others[name]) for name, value in spikes.items())
        torch.testing.assert_close(logits, other_logits, rtol=1e-9, atol=1e-9)


def test_paper_form_is_binary_and_its_residual_counts_spikes() -> None:
    model = random_checkpoint(current_norm="batch").network()
    observed = Observed()
    with torch.no_grad(), recorded_spikes(model) as spikes:
        model(tokens(model), observed=observed)
    hidden = observed.residuals
    assert all(set(value.flatten().tolist()) <= {0.0, 1.0} for values in spikes.values() for value in values)
    assert [float(value.max()) <= 1 + 2 * index for index, value in enumerate(hidden)] == [True] * 3
    assert all(torch.equal(value, value.round()) for value in hidden)
    assert all(value[0].mean() > 0.02 for value in spikes.values())


def test_training_follows_the_batch_and_evaluation_the_running_statistics() -> None:
    model = random_checkpoint(current_norm="batch").network(torch.float64)
    neurons = model.embedding_spike
    assert isinstance(neurons, SpikingNeurons)
    current = 3 + 2 * torch.randn(4, 50, 16, dtype=torch.float64)
    mean, variance = neurons.running_mean.clone(), neurons.running_var.clone()
    neurons.train()
    gain, bias = neurons.affine(current)
    normal = (current * gain + bias - neurons.bias) / neurons.log_gain.exp()
    torch.testing.assert_close(normal.mean((0, 1)), torch.zeros(16, dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(neurons.running_mean, 0.9 * mean + 0.1 * current.mean((0, 1)))
    torch.testing.assert_close(neurons.running_var, 0.9 * variance + 0.1 * current.var((0, 1), correction=0))
    neurons.eval()
    gain, _ = neurons.affine(current)
    torch.testing.assert_close(gain, neurons.log_gain.exp() / (neurons.running_var + 1e-5).sqrt())


def test_compiling_without_a_compiler_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BispikError, match="compile = false"):
        compile_neurons(network())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("switches", [{}, {"spikes": "ternary", "spike_amplitude": 0.8, "reset": "zero"}])
def test_compiled_neurons_spike_the_same_and_touch_no_other_network(switches: dict[str, Any]) -> None:
    checkpoint = random_checkpoint(current_norm="batch", **switches)
    plain, fused = checkpoint.network(), checkpoint.network()
    compile_neurons(fused)
    assert "forward" not in vars(plain.embedding_spike)
    ids = tokens(plain)
    with recorded_spikes(plain) as expected, recorded_spikes(fused) as found:
        plain(ids)[0].sum().backward()
        fused(ids)[0].sum().backward()
    assert all(torch.equal(expected[name][0], found[name][0]) for name in expected)
    gradients = [dict(model.named_parameters())["blocks.0.ffn.fc1.weight"].grad for model in (plain, fused)]
    torch.testing.assert_close(gradients[0], gradients[1])
