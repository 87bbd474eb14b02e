"""Spike-aware alignment distillation (SpAD, arXiv:2605.13859): how a spiking student learns from an ANN teacher.

With the weights of `run_config.Losses`, and m(x) the mean over the T time steps:

    loss = 0.2 EA + 0.1 SAA + 0.1 SFA + 0.3 STA + 0.3 HTA
    EA   = MSE(m(injected current), teacher's hidden state 0)
    SAA  = 1/2 MSE(m(A), rate(P)) + 1/2 MSE(m(A), P)      P: the teacher's attention map
    SFA  = 1/2 MSE(rate(F), rate(H)) + 1/2 MSE(F, H)      F = LayerNorm(MLP(m(residual))), H: the teacher's hidden state
    STA  = temperature^2 KL(teacher || student at that temperature)
    HTA  = cross-entropy of the next token
    rate = max(0, mean firing rate / target - 1)              ours; the mean of all populations, each counted once

``rate(x)`` codes a value as a firing rate: it is held as a constant current for T steps of the student's own LIF
neuron, whose mean output it is; if its spikes are ternary, of either sign and at most their amplitude. SAA and SFA are
means over the layers, SAA over the pairs that the causal mask passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.evaluate import count_spikes, hooked_spikes
from bispik.models.bispikclm.model import BiSpikCLM, Observed, SpikingNeurons
from bispik.models.bispikclm.processes import Processes
from bispik.models.bispikclm.run_config import Losses

_ALONE = Processes()


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherSignals:
    """What the frozen teacher says about a batch."""

    logits: Tensor
    """(batch, tokens, vocabulary)."""
    hidden: tuple[Tensor, ...] = ()
    """Hidden states behind the embedding and behind each layer, each (batch, tokens, channels)."""
    attentions: tuple[Tensor, ...] = ()
    """Attention maps by layer, each (batch, heads, tokens, tokens)."""


class RateCode(nn.Module):
    """rate(x): the firing rate that a constant current x causes in the student's neuron within a token."""

    def __init__(self, config: BiSpikCLMConfig) -> None:
        super().__init__()
        self.steps = config.steps_per_token
        self.neurons = SpikingNeurons(config)  # without a normalisation of its own

    def forward(self, current: Tensor) -> Tensor:
        """Map values of any shape to firing rates of that shape."""
        rate: Tensor = self.neurons(current.expand(self.steps, *current.shape)).mean(0)
        return rate


class FeatureProjector(nn.Module):
    """F = LayerNorm(MLP(x)): the student's residual stream as a teacher's hidden state."""

    def __init__(self, size: int, teacher_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(size, size), nn.GELU(), nn.Linear(size, teacher_size), nn.LayerNorm(teacher_size)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, tokens, size) to (batch, tokens, teacher size)."""
        projected: Tensor = self.layers(x)
        return projected


class Distillation(nn.Module):
    """The student with what is trained beside it; its output are the terms of the loss.

    The projectors serve the training alone and are no part of a checkpoint.
    """

    def __init__(self, student: BiSpikCLM, losses: Losses, teacher_size: int, processes: Processes = _ALONE) -> None:
        super().__init__()
        config = student.config
        self.student, self.losses, self.processes = student, losses, processes
        self.rate_code = RateCode(config)
        projectors = config.num_layers if losses.features else 0
        self.projectors = nn.ModuleList(FeatureProjector(config.hidden_size, teacher_size) for _ in range(projectors))

    def forward(self, token_ids: Tensor, signals: TeacherSignals) -> dict[str, Tensor]:
        """Return the terms that are switched on, the mean firing rate, and ``loss``, their weighted sum.

        Args:
            token_ids: (batch, tokens + 1), int64; the last token is only predicted.
            signals: the teacher's, for all tokens but the last.
        """
        observed = Observed()
        rates: dict[str, Tensor] = {}

        def receive(name: str, spikes: Tensor) -> None:
            fired, possible = count_spikes(spikes, self.student.config)
            rates[name] = fired / possible

        with hooked_spikes(self.student, receive):
            logits = self.student(token_ids[:, :-1], observed=observed)[0]
        # Of all processes: the rate's term is no mean over a batch, and could not be averaged afterwards.
        mean_rate = self.processes.gathered(torch.stack(list(rates.values())).mean()).mean()
        terms = self._terms(logits, token_ids, observed, signals)
        if self.losses.rate and self.losses.rate_target is not None:
            terms["rate"] = functional.relu(mean_rate / self.losses.rate_target - 1)
        return {"loss": weighted_sum(terms, self.losses), **terms, "mean_rate": mean_rate.detach()}

    def _terms(
        self, logits: Tensor, token_ids: Tensor, observed: Observed, signals: TeacherSignals
    ) -> dict[str, Tensor]:
        losses, targets = self.losses, token_ids[:, 1:]
        terms: dict[str, Tensor] = {}
        if losses.embedding:
            # The class's method: real numbers, also where `integer_forward` has replaced the network's own.
            currents = BiSpikCLM.currents(self.student, token_ids[:, :-1])
            terms["embedding"] = functional.mse_loss(currents.float().mean(0), signals.hidden[0].float())
        if losses.attention:
            maps = zip(observed.attention_maps, signals.attentions, strict=True)
            terms["attention"] = torch.stack([self._attention_kept_small(*pair) for pair in maps]).mean()
        if losses.features:
            layers = zip(self.projectors, observed.residuals[1:], signals.hidden[1:], strict=True)
            terms["features"] = torch.stack([self._features(*layer) for layer in layers]).mean()
        if losses.soft_targets:
            terms["soft_targets"] = soft_target_loss(logits, signals.logits, losses.temperature)
        if losses.hard_targets:
            terms["hard_targets"] = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        return terms

    def _attention_kept_small(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Return one layer's SAA; with activation checkpointing no more than the two maps stay in memory."""
        if not (self.student.checkpoint_activations and self.training):
            return self._attention(found, wanted)
        result: Tensor = checkpoint(self._attention, found, wanted, use_reentrant=False, preserve_rng_state=False)
        return result

    def _attention(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Return SAA of a layer from m(A) and P, each (batch, heads, tokens, tokens)."""
        found, wanted, tokens = found.float(), wanted.float(), wanted.shape[-1]
        with torch.no_grad():
            coded = self.rate_code(wanted)
        # All are 0 above the diagonal, where no pair exists: the squares are summed over all and divided by the rest.
        squares = (found - coded) ** 2 + (found - wanted) ** 2
        pairs = wanted[..., 0, 0].numel() * tokens * (tokens + 1) / 2
        result: Tensor = squares.sum() / (2 * pairs)
        return result

    def _features(self, projector: nn.Module, residual: Tensor, wanted: Tensor) -> Tensor:
        found = projector(residual.mean(0)).float()
        wanted = wanted.float()
        with torch.no_grad():
            coded = self.rate_code(wanted)
        return (functional.mse_loss(self.rate_code(found), coded) + functional.mse_loss(found, wanted)) / 2


def soft_target_loss(logits: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """STA, in nats per token; both logits are (batch, tokens, vocabulary)."""
    divergence = functional.kl_div(
        functional.log_softmax(logits.float().flatten(0, 1) / temperature, -1),
        functional.log_softmax(wanted.float().flatten(0, 1) / temperature, -1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * divergence


def weighted_sum(terms: Mapping[str, Tensor], losses: Losses) -> Tensor:
    """Return the loss; each term is named after its weight."""
    return torch.stack([getattr(losses, name) * term for name, term in terms.items()]).sum()
