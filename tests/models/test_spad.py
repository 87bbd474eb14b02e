"""The terms of spike-aware alignment distillation against their equations, written out here once more."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.evaluate import recorded_rates
from bispik.models.bispikclm.model import BiSpikCLM, Observed
from bispik.models.bispikclm.run_config import Losses
from bispik.models.bispikclm.spad import Distillation, RateCode, TeacherSignals
from tests.checkpoints import recorded_spikes

CONFIG = BiSpikCLMConfig(
    vocab_size=11,
    hidden_size=8,
    intermediate_size=12,
    num_heads=2,
    num_layers=2,
    max_positions=6,
    steps_per_token=4,
    current_norm="batch",
)
WIDTH = 10
ALONE: dict[str, float] = dict.fromkeys(("embedding", "attention", "features", "soft_targets", "hard_targets"), 0.0)


def distillation(losses: Losses | None = None, **change: Any) -> Distillation:
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, **change)
    result = Distillation(BiSpikCLM(config), losses or Losses(embedding=0), WIDTH)
    with torch.no_grad():
        for name, parameter in result.student.named_parameters():
            if name.endswith("_spike.bias"):
                parameter.fill_(0.4)
    return result.double().eval()


def ids() -> Tensor:
    return torch.randint(0, 11, (3, 7), generator=torch.Generator().manual_seed(1))


def signals(width: int = WIDTH) -> TeacherSignals:
    torch.manual_seed(2)
    mask = torch.ones(6, 6, dtype=torch.bool).tril()
    scores = [torch.randn(3, 2, 6, 6, dtype=torch.float64).masked_fill(~mask, -torch.inf) for _ in range(2)]
    return TeacherSignals(
        logits=torch.randn(3, 6, 11, dtype=torch.float64),
        hidden=tuple(torch.randn(3, 6, width, dtype=torch.float64) for _ in range(3)),
        attentions=tuple(score.softmax(-1) for score in scores),
    )


def rate(value: float) -> float:
    """Firing rate of the neuron under a constant current, step by step."""
    membrane, fired, total = 0.0, 0.0, 0.0
    for _ in range(4):
        membrane = 0.9 * membrane + value - 0.7 * fired
        fired = float(membrane >= 0.7)
        total += fired
    return total / 4


def test_rate_code() -> None:
    values = torch.linspace(-1, 2, 31, dtype=torch.float64)
    coded = RateCode(CONFIG)(values)
    assert coded.tolist() == [rate(value) for value in values.tolist()]
    assert 0.0 < coded.mean() < 1.0


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_rate_code_of_ternary_neurons_has_a_sign(reset: Any) -> None:
    config = dataclasses.replace(CONFIG, spikes="ternary", spike_amplitude=0.5, reset=reset)
    values = torch.linspace(-2, 2, 31, dtype=torch.float64)
    coded = RateCode(config)(values)
    binary = RateCode(dataclasses.replace(config, spikes="binary", spike_amplitude=1.0))(values)
    # From a constant current of one sign only spikes of that sign come.
    assert torch.equal(coded, 0.5 * (binary - binary.flip(0)))
    assert 0.0 < coded.abs().mean() < 0.5


def test_a_firing_rate_target_counts_spikes_of_both_signs() -> None:
    switches = {"spikes": "ternary", "spike_amplitude": 0.5}
    module = distillation(Losses(**{**ALONE, "hard_targets": 1e-12, "rate": 1.0, "rate_target": 1e-3}), **switches)
    with torch.no_grad(), recorded_spikes(module.student) as spikes:
        module.student(ids()[:, :-1])
    assert any(bool((output < 0).any()) for outputs in spikes.values() for output in outputs)
    rates = [
        int(output.count_nonzero()) / (4 * 3 * 2 * 21 if "score" in name else output.numel())
        for name, (output,) in spikes.items()
    ]
    terms = module(ids(), signals())
    assert float(terms["mean_rate"]) == pytest.approx(sum(rates) / len(rates), rel=1e-5)
    terms["loss"].backward()
    trained = module.student.blocks[0].get_parameter("attention.query.weight").grad
    assert trained is not None
    assert float(trained.abs().max()) > 0


def test_every_term_is_its_equation() -> None:
    module, wanted = distillation(), signals()
    with torch.no_grad():
        terms = module(ids(), wanted)
        observed = Observed()
        with recorded_spikes(module.student) as spikes:
            logits = module.student(ids()[:, :-1], observed=observed)[0]
        attention, features = 0.0, 0.0
        for layer in range(2):
            (attention_map,) = spikes[f"blocks.{layer}.attention.score_spike"]
            found = attention_map.mean(0)
            assert torch.equal(observed.attention_maps[layer], found)
            pairs = [
                (float(found[b, h, i, j]), float(wanted.attentions[layer][b, h, i, j]))
                for b in range(3)
                for h in range(2)
                for i in range(6)
                for j in range(i + 1)
            ]
            attention += sum((a - rate(p)) ** 2 / 2 + (a - p) ** 2 / 2 for a, p in pairs) / len(pairs) / 2
            projected = module.projectors[layer](observed.residuals[layer + 1].mean(0)).flatten().tolist()
            hidden = wanted.hidden[layer + 1].flatten().tolist()
            squares = [(rate(f) - rate(h)) ** 2 / 2 + (f - h) ** 2 / 2 for f, h in zip(projected, hidden, strict=True)]
            features += sum(squares) / len(squares) / 2
        soft = wanted.logits.div(2).softmax(-1)
        divergence = (soft * (soft.log() - logits.div(2).log_softmax(-1))).sum(-1).mean() * 4
    assert float(terms["attention"]) == pytest.approx(attention)
    assert float(terms["features"]) == pytest.approx(features)
    assert float(terms["soft_targets"]) == pytest.approx(float(divergence), rel=1e-6)
    hard = functional.cross_entropy(logits.flatten(0, 1), ids()[:, 1:].flatten())
    assert float(terms["hard_targets"]) == pytest.approx(float(hard), rel=1e-6)
    total = 0.1 * attention + 0.1 * features + 0.3 * float(divergence) + 0.3 * float(hard)
    assert float(terms["loss"]) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("input_current", ["constant", "ramp"])
def test_embeddings_are_aligned_by_their_mean_current(input_current: Any) -> None:
    module = distillation(Losses(**{**ALONE, "embedding": 0.2, "hard_targets": 0.3}), input_current=input_current)
    wanted = signals(8)
    with torch.no_grad():
        found = module(ids(), wanted)["embedding"]
        tables = module.student.token_embedding(ids()[:, :-1]) + module.student.position_embedding(torch.arange(6))
    factor = 1.0 if input_current == "constant" else (1 + 2 + 3 + 4) / 16
    assert float(found) == pytest.approx(float(functional.mse_loss(factor * tables, wanted.hidden[0])), rel=1e-6)


@pytest.mark.parametrize("name", ["attention", "features", "soft_targets", "hard_targets"])
def test_a_term_that_is_off_is_neither_computed_nor_reported(name: str) -> None:
    off = {**dataclasses.asdict(Losses(embedding=0)), name: 0.0}
    module = distillation(Losses(**off))
    wanted = signals()
    if name == "attention":
        wanted = dataclasses.replace(wanted, attentions=())
    if name == "features":
        wanted = dataclasses.replace(wanted, hidden=())
    terms = module(ids(), wanted)
    assert name not in terms
    assert len(terms) == 3 + 2


def test_every_term_teaches_the_student() -> None:
    for name in ("attention", "features", "soft_targets", "hard_targets"):
        losses = Losses(**{**ALONE, "hard_targets": 1e-12, name: 1.0})
        module = distillation(losses)
        module.train()
        module(ids(), signals())["loss"].backward()
        trained = module.student.blocks[0].get_parameter("attention.query.weight").grad
        assert trained is not None
        assert float(trained.abs().max()) > 1e-9, name


def test_a_firing_rate_above_the_target_is_penalised_and_one_below_is_not() -> None:
    module = distillation()
    with torch.no_grad(), recorded_rates(module.student) as rates:
        module.student(ids()[:, :-1])
    mean = sum(rates.values()) / len(rates)
    assert mean > 0.05
    for target, penalty in ((mean / 2, 1.0), (mean * 1.01, 0.0)):
        aimed = distillation(Losses(embedding=0, rate=3.0, rate_target=target))
        with torch.no_grad():
            terms = aimed(ids(), signals())
        assert float(terms["rate"]) == pytest.approx(penalty, abs=1e-5)
        assert float(terms["mean_rate"]) == pytest.approx(mean, rel=1e-5)
        plain = sum(getattr(aimed.losses, name) * float(terms[name]) for name in terms.keys() & ALONE.keys())
        assert float(terms["loss"]) == pytest.approx(plain + 3 * penalty, rel=1e-4)
