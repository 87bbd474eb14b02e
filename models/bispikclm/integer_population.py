"""One population of a network in integers, made from its current parameters as the compiler makes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bispik.models.bispikclm.integer_arithmetic import NeuronConstants
from bispik.models.bispikclm.integer_scales import IntegerScales, PopulationScale, SharedThreshold
from bispik.models.bispikclm.model import SpikingNeurons


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """What drives a population."""

    size: int
    """Neurons; heads for attention's scores."""
    projection: nn.Linear | None = None
    one_to_one: bool = False
    """There is a one-to-one input: the residual stream, attention's counts or scores, or the embedding."""
    scores: bool = False
    """The one-to-one input is attention's scores, (time steps, batch, heads, queries, keys)."""
    table: bool = False
    """The one-to-one input is the embedding's tables, which are in the population's units already."""

    @property
    def folds_gain(self) -> bool:
        """Whether the normalisation's gain goes into the weights; else it divides threshold and bias."""
        return not self.one_to_one


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PopulationNow:
    """A population with the parameters of the moment."""

    constants: NeuronConstants
    slope: Tensor
    """Normalised current per integer unit of the current, shaped to act on it, float64, with gradient."""
    bias: Tensor
    """Normalised current that flows in every step, likewise."""
    one_to_one: Tensor
    """(n,) float64: weight of the one-to-one input; times 2^exponent it is an integer."""


class IntegerPopulation:
    """Formulas of ``bispik.compiler.lift`` and ``bispik.compiler.quantize_neurons`` on a network's parameters."""

    def __init__(self, neurons: SpikingNeurons, drive: Drive, scale: PopulationScale, scales: IntegerScales) -> None:
        self.neurons, self.drive, self.scale = neurons, drive, scale
        self.limits, self.keep = scales.limits, scales.keep
        self.threshold, self.soft = neurons.config.threshold, neurons.config.reset == "subtract"
        parameter = next(neurons.parameters(), None)
        self.device = torch.device("cpu") if parameter is None else parameter.device
        self.exponent = scale.exponent if not isinstance(scale, SharedThreshold) else scales.limits.stock_exponent

    def affine(self) -> tuple[Tensor, Tensor]:
        """Gain and bias on the current, (n,) float64, with the running statistics."""
        neurons = self.neurons
        if not (neurons.channels or neurons.heads):
            ones = self._full(1.0)
            return ones, torch.zeros_like(ones)
        gain, bias = neurons.log_gain.double().exp(), neurons.bias.double()
        if neurons.heads:
            return gain, bias
        gain = gain / (neurons.running_var.double() + neurons.epsilon).sqrt()
        return gain, bias - gain * neurons.running_mean.double()

    def weight_gain(self) -> Tensor:
        """What the weights of the projection are multiplied by, (n,) float64."""
        return self.affine()[0] if self.drive.folds_gain else self._full(1.0)

    @torch.no_grad()
    def units(self) -> Tensor:
        """Integer units of the current, before the exponent, per unit of current: (n,) float64."""
        if isinstance(self.scale, SharedThreshold):
            return (self.scale.threshold + 0.5) * (1.0 / self._threshold(self.affine()[0]))
        return torch.from_numpy(self.scale.units).to(self.device)

    def now(self) -> PopulationNow:
        """Return the integer neurons of the current parameters, and what their gradients need."""
        gain, bias = self.affine()
        projection, units = self.drive.projection, self.units()
        parameters = {} if projection is None else dict(projection.named_parameters())
        linear_bias = parameters["bias"].double() if "bias" in parameters else None
        if self.drive.folds_gain:
            bias = bias if linear_bias is None else gain * linear_bias + bias
            slope, normalised_bias = 1.0 / units, bias
        else:
            bias = bias / gain if linear_bias is None else bias / gain + linear_bias
            slope, normalised_bias = gain / units, gain * bias
        with torch.no_grad():
            one_to_one = self._one_to_one(units)
            alone = one_to_one if projection is None else torch.ones_like(units)
            constants = self._constants(gain, bias, units, alone)
        return PopulationNow(
            constants=constants,
            slope=self._shaped(slope * alone),
            bias=self._shaped(normalised_bias),
            one_to_one=one_to_one,
        )

    def _constants(self, gain: Tensor, bias: Tensor, units: Tensor, one_to_one: Tensor) -> NeuronConstants:
        limits = self.limits
        scale = units * float(1 << self.exponent)
        exact = self._threshold(gain) * scale
        strict, bias = exact.ceil() - 1, (bias * scale).round()
        if isinstance(self.scale, SharedThreshold):
            grain = float(1 << limits.stock_exponent)
            strict, bias = (exact / grain).floor() * grain, _mantissa_rounded(bias, limits.stock_bias)
        subtracts = (strict < limits.membrane) & self.soft
        normal = (1.0 if self.drive.folds_gain else gain) / scale
        return NeuronConstants(
            multiplier=self._shaped(one_to_one * float(1 << self.exponent)),
            threshold=self._shaped(strict.clamp(max=limits.membrane)),
            subtract=self._shaped(torch.where(subtracts, exact.round(), 0.0)),
            bias=self._shaped(bias.clamp(-limits.membrane, limits.membrane)),
            normal=self._shaped(normal),
            keep=self.keep,
            membrane_max=limits.membrane,
        )

    def _threshold(self, gain: Tensor) -> Tensor:
        return self._full(self.threshold) if self.drive.folds_gain else self.threshold / gain

    def _one_to_one(self, units: Tensor) -> Tensor:
        if self.drive.table or not self.drive.one_to_one:
            return torch.ones_like(units)
        if isinstance(self.scale, SharedThreshold):
            return units.round().clamp(max=self.limits.one_to_one)
        return torch.from_numpy(self.scale.one_to_one).to(self.device)

    def _full(self, value: float) -> Tensor:
        return torch.full((self.drive.size,), value, dtype=torch.float64, device=self.device)

    def _shaped(self, values: Tensor) -> Tensor:
        """Heads stand in front of queries and keys, channels stand last."""
        return values.view(-1, 1, 1) if self.drive.scores else values


def _mantissa_rounded(bias: Tensor, largest: int) -> Tensor:
    """Round to the least common power of two whose multiples up to ``largest`` reach every value."""
    powers = 2.0 ** torch.arange(32, dtype=torch.float64, device=bias.device)
    grain = 2.0 ** (bias.abs().max() > largest * powers).sum().double()
    return (bias / grain).round().clamp(-largest, largest) * grain
