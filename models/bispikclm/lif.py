"""The leaky integrate-and-fire neuron of BiSpikCLM, binary or ternary, with its surrogate gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

SURROGATE_ALPHA = 2.0
"""Width of the arctan surrogate; arXiv:2605.13859 uses 2."""


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Type in which membranes and statistics are computed: at least float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _fired(membrane: Tensor, threshold: float, ternary: bool) -> Tensor:
    """Return the signs of the spikes: 0 or 1, or -1, 0 or 1."""
    above = (membrane >= threshold).to(membrane.dtype)
    return above - (membrane <= -threshold).to(membrane.dtype) if ternary else above


def _forward(
    current: Tensor, decay: float, threshold: float, subtract: bool, ternary: bool, amplitude: float
) -> tuple[Tensor, Tensor]:
    """Return spikes and the membranes that decided on them, both of the current's type."""
    currents = current.to(working_dtype(current.dtype))
    membrane = currents[0]
    membranes = [membrane]
    signs = [_fired(membrane, threshold, ternary)]
    for step in range(1, currents.shape[0]):
        if subtract:
            membrane = decay * membrane + currents[step] - threshold * signs[-1]
        else:
            membrane = decay * membrane * (1.0 - signs[-1].abs()) + currents[step]
        membranes.append(membrane)
        signs.append(_fired(membrane, threshold, ternary))
    spikes = torch.stack(signs)
    if amplitude != 1.0:
        spikes = amplitude * spikes
    return spikes.to(current.dtype), torch.stack(membranes).to(current.dtype)


def _slope(distance: Tensor) -> Tensor:
    """Derivative of the arctan that stands in for a step at distance 0."""
    return SURROGATE_ALPHA / 2 / (1 + (math.pi / 2 * SURROGATE_ALPHA * distance) ** 2)


def backward_through_time(
    grad: Tensor,
    spikes: Tensor,
    membranes: Tensor,
    decay: float,
    threshold: float,
    subtract: bool,
    ternary: bool = False,
    amplitude: float = 1.0,
) -> Tensor:
    """Back-propagate through time; the gradient also flows through the reset.

    A spike's sign is p - n and its magnitude p + n, with p a step at U - threshold and n one at -U - threshold (0 if
    binary): a soft reset follows the sign, a hard reset the magnitude.

    Args:
        grad: gradient of the spikes, (time steps, ...).
        spikes: what the forward pass emitted.
        membranes: what decided on the spikes, in units of the threshold's.
        decay: factor per time step.
        threshold: firing threshold.
        subtract: soft reset.
        ternary: spikes have a sign.
        amplitude: of a spike.

    Returns:
        Gradient of the current, of the type of ``grad``.
    """
    work = working_dtype(grad.dtype)
    following = torch.zeros_like(grad[0], dtype=work)
    grads: list[Tensor] = []
    for step in range(grad.shape[0] - 1, -1, -1):
        membrane = membranes[step].to(work)
        sign_slope = magnitude_slope = _slope(membrane - threshold)
        if ternary:
            below = _slope(membrane + threshold)  # even, so the slope at -U - threshold
            sign_slope, magnitude_slope = sign_slope + below, sign_slope - below
        arriving = grad[step].to(work) if amplitude == 1.0 else amplitude * grad[step].to(work)
        if subtract:
            following = (arriving - threshold * following) * sign_slope + decay * following
        else:
            silent = (spikes[step] == 0).to(work)
            through_reset = decay * membrane * following * magnitude_slope
            following = arriving * sign_slope - through_reset + decay * silent * following
        grads.append(following)
    return torch.stack(grads[::-1]).to(grad.dtype)


class _LIF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, current: Tensor, decay: float, threshold: float, subtract: bool, ternary: bool, amplitude: float
    ) -> Tensor:
        spikes, membranes = _forward(current, decay, threshold, subtract, ternary, amplitude)
        # A stored bfloat16 membrane may have been rounded across the threshold: the spikes are kept, not derived again.
        ctx.save_for_backward(spikes, membranes)
        ctx.constants = (decay, threshold, subtract, ternary, amplitude)
        return spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        spikes, membranes = ctx.saved_tensors
        gradient = backward_through_time(grads[0], spikes, membranes, *ctx.constants)
        return gradient, None, None, None, None, None


def lif(
    current: Tensor, decay: float, threshold: float, *, subtract: bool, ternary: bool = False, amplitude: float = 1.0
) -> Tensor:
    """Spikes of leaky integrate-and-fire neurons that start at rest.

    subtract:  U[t] = decay * U[t-1] + I[t] - threshold * s[t-1]
    otherwise: U[t] = decay * U[t-1] * (1 - |s[t-1]|) + I[t]
    binary:    s[t] = 1 if U[t] >= threshold else 0
    ternary:   s[t] = 1 if U[t] >= threshold, -1 if U[t] <= -threshold, else 0
    all:       S[t] = amplitude * s[t],  U[-1] = s[-1] = 0

    The gradient is that of an arctan for every step from one value to the next:
    ds/dU = g(U - threshold), or g(U - threshold) + g(-U - threshold) if ternary, with
    g(x) = alpha/2 / (1 + (pi/2 alpha x)^2).

    Args:
        current: I, of shape (time steps, ...).
        decay: factor per time step, 0 to 1.
        threshold: firing threshold, positive, in units of the current.
        subtract: soft reset (subtract the threshold) instead of hard reset to zero.
        ternary: spikes below the negative threshold too.
        amplitude: size of a spike, positive; it takes no part in the reset.

    Returns:
        Spikes S of the current's shape and dtype; membranes are computed in float32, or float64 for a float64 current.
    """
    return _LIF.apply(current, decay, threshold, subtract, ternary, amplitude)  # type: ignore[no-any-return, no-untyped-call]
