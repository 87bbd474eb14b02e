"""Integer products and integer neurons of a compiled program, with gradients.

The forward pass computes the equations of ``bispik.compiler.program`` exactly. Integers travel as floating-point
numbers: in float32 where sums stay below 2^24, which the compiler proves for every product that it accepts, and in
float64 inside neurons, where a 24-bit membrane meets a 12-bit decay. Backward, rounding counts as the identity and a
spike's derivative is the surrogate's of `lif`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from bispik.models.bispikclm.lif import backward_through_time
from bispik.models.bispikclm.model import fuse

P = ParamSpec("P")
R = TypeVar("R")


def integer_weight(weight: Tensor, gain: Tensor, units: Tensor, limit: int, binary: bool) -> Tensor:
    """Round gain * weight * units, by row, to int8; halves go to the even neighbour and ``binary`` has no zero.

    Args:
        weight: (neurons, inputs); gain * weight is rounded to its type first.
        gain: (neurons,), float64: what the normalisation behind the projection multiplies by.
        units: (neurons,), float64: integer units per unit of current.
        limit: largest magnitude.
        binary: one bit, -1 or +1.
    """
    folded = (gain[:, None] * weight.double()).to(weight.dtype)  # rounded as in the compiler's graph
    scaled = folded.double() * units[:, None]
    integers = torch.where(scaled >= 0, 1.0, -1.0) if binary else scaled.round().clamp(-limit, limit)
    return integers.to(torch.int8)


def product(inputs: Tensor, weight: Tensor, largest_input: int, limit: int) -> Tensor:
    """Return inputs @ weight.T in exact integers, as float32.

    Args:
        inputs: (..., inputs): integers 0 to ``largest_input`` of any floating type.
        weight: (outputs, inputs), int8.
        largest_input: bound on the inputs.
        limit: bound on the weights.
    """
    # Processors without 8-bit dot products add pairs of products in 16 bits.
    fits = largest_input <= torch.iinfo(torch.uint8).max and 2 * largest_input * limit <= torch.iinfo(torch.int16).max
    if fits and inputs.device.type == "cpu":
        flat = inputs.reshape(-1, inputs.shape[-1]).to(torch.uint8)
        sums = torch._int_mm(flat, weight.t())  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        return sums.float().view(*inputs.shape[:-1], weight.shape[0])
    return functional.linear(inputs.float(), weight.float())


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, gain: Tensor, units: Tensor, synapses: IntegerSynapses
    ) -> Tensor:
        integers = _fused(integer_weight, synapses.compiled)(weight, gain, units, synapses.limit, synapses.binary)
        ctx.save_for_backward(inputs, weight, gain, units, integers)
        ctx.gradient_dtype = synapses.gradient_dtype
        return product(inputs, integers, synapses.largest_input, synapses.limit)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        inputs, weight, gain, units, integers = ctx.saved_tensors
        grad = grads[0].to(ctx.gradient_dtype)
        to_inputs = to_weight = to_gain = None
        if ctx.needs_input_grad[0]:
            to_inputs = (grad @ integers.to(grad.dtype)).to(inputs.dtype)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            seen = inputs.to(grad.dtype).reshape(-1, inputs.shape[-1])
            to_folded = (grad.reshape(-1, grad.shape[-1]).t() @ seen).to(weight.dtype) * units.to(weight.dtype)[:, None]
            to_weight = to_folded * gain.to(weight.dtype)[:, None]
            to_gain = (to_folded * weight).sum(1).to(gain.dtype)
        return to_inputs, to_weight, to_gain, None, None


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerSynapses:
    """How a projection computes."""

    limit: int
    """Largest magnitude of a weight."""
    binary: bool
    """Weights of one bit: -1 or +1."""
    largest_input: int
    """Bound on what the source emits."""
    gradient_dtype: torch.dtype
    """Type of the backward pass's products, which need no exactness."""
    compiled: bool


def project(inputs: Tensor, weight: Tensor, gain: Tensor, units: Tensor, synapses: IntegerSynapses) -> Tensor:
    """Integer currents W @ inputs before the exponent, with W = `integer_weight` of the current parameters.

    Args:
        inputs: (..., inputs): spikes or counts.
        weight: (neurons, inputs).
        gain: (neurons,), float64.
        units: (neurons,), float64; no gradient flows to it.
        synapses: how to compute.

    Returns:
        (..., neurons), float32 that hold integers.
    """
    return _Projection.apply(inputs, weight, gain, units, synapses)  # type: ignore[no-any-return, no-untyped-call]


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, values: Tensor, limit: int) -> Tensor:
        return values.round().clamp(-limit, limit)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        del ctx
        return grads[0], None


def rounded(values: Tensor, limit: int) -> Tensor:
    """Round to integers within +-limit; the gradient passes as if nothing had happened."""
    return _Rounded.apply(values, limit)  # type: ignore[no-any-return, no-untyped-call]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NeuronConstants:
    """Integer neurons of one population; tensors are float64 and hold integers, shaped to act on the current."""

    multiplier: Tensor
    """One-to-one weight times 2^exponent."""
    threshold: Tensor
    """Spike if v > threshold."""
    subtract: Tensor
    """Taken from the membrane one step after a spike; 0 for a hard reset."""
    bias: Tensor
    normal: Tensor
    """Unit of the network's normalised membrane per membrane unit: v * normal is held against the float threshold."""
    keep: float
    membrane_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronModel:
    """What stays the same from forward pass to forward pass."""

    decay: float
    threshold: float
    """Of the normalised membrane."""
    soft: bool
    spike_dtype: torch.dtype
    compiled: bool


def run_neurons(
    current: Tensor,
    multiplier: Tensor,
    threshold: Tensor,
    subtract: Tensor,
    bias: Tensor,
    normal: Tensor,
    keep: float,
    membrane_max: int,
    soft: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Return spikes, and the membranes that decided on them in units of the network's, both of ``dtype``."""
    membrane = current[0].double() * multiplier + bias
    spikes: list[Tensor] = []
    membranes: list[Tensor] = []
    for step in range(current.shape[0]):
        if step:
            # The product is exact, so truncation toward zero is the shift in sign-magnitude.
            membrane = (membrane * keep).trunc() + current[step].double() * multiplier + bias
            if soft:
                membrane = membrane - subtract * spikes[-1]
        membrane = membrane.clamp(-membrane_max, membrane_max)
        spikes.append((membrane > threshold).to(membrane.dtype))
        membranes.append(membrane * normal)
        if not soft:
            membrane = membrane * (1.0 - spikes[-1])
    return torch.stack(spikes).to(dtype), torch.stack(membranes).to(dtype)


def neuron_gradients(
    grad: Tensor,
    spikes: Tensor,
    membranes: Tensor,
    slope: Tensor,
    current: Tensor | None,
    decay: float,
    threshold: float,
    soft: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of current, bias and (where the current is given) slope, see `integer_neurons`."""
    normalised = backward_through_time(grad, spikes, membranes, decay, threshold, soft).float()
    to_current = normalised * slope.float()
    to_slope = None if current is None else (normalised * current.float()).sum_to_size(slope.shape).to(slope.dtype)
    return to_current, normalised.sum_to_size(slope.shape).to(slope.dtype), to_slope


class _Neurons(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, current: Tensor, slope: Tensor, bias: Tensor, constants: NeuronConstants, model: NeuronModel
    ) -> Tensor:
        del bias  # the constants hold it in integers; here it only receives its gradient
        spikes, membranes = _fused(run_neurons, model.compiled)(
            current,
            constants.multiplier,
            constants.threshold,
            constants.subtract,
            constants.bias,
            constants.normal,
            constants.keep,
            constants.membrane_max,
            model.soft,
            model.spike_dtype,
        )
        ctx.save_for_backward(spikes, membranes, slope, current if ctx.needs_input_grad[1] else None)
        ctx.current_dtype, ctx.model = current.dtype, model
        return spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor, None, None]:
        spikes, membranes, slope, current = ctx.saved_tensors
        model: NeuronModel = ctx.model
        to_current, to_bias, to_slope = _fused(neuron_gradients, model.compiled)(
            grads[0], spikes, membranes, slope, current, model.decay, model.threshold, model.soft
        )
        return to_current.to(ctx.current_dtype), to_slope, to_bias, None, None


def integer_neurons(
    current: Tensor, slope: Tensor, bias: Tensor, constants: NeuronConstants, model: NeuronModel
) -> Tensor:
    """Spikes of integer neurons that start at rest.

    They are those of ``constants``. The gradient is that of float neurons on the current slope * current + bias, with
    the integer neurons' membranes and spikes.

    Args:
        current: (time steps, ...): integers once multiplied, in any floating type that holds them.
        slope: float64, shaped to act on the current: normalised current per integer unit.
        bias: float64, of the same shape: normalised current that flows in every step.
        constants: the neurons in integers.
        model: the neurons in real numbers, for the gradient.
    """
    return _Neurons.apply(current, slope, bias, constants, model)  # type: ignore[no-any-return, no-untyped-call]


_fuse_once = cache(fuse)


def fuse_kernels() -> None:
    """Make the fused kernels known; each is compiled when first used.

    Raises:
        BispikError: if there is no C++ compiler.
    """
    for kernel in (integer_weight, run_neurons, neuron_gradients):
        _fuse_once(kernel)


def _fused(function: Callable[P, R], compiled: bool) -> Callable[P, R]:
    return _fuse_once(function) if compiled else function
