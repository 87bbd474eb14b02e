"""The leaky integrate-and-fire neuron of BiSpikCLM, with its surrogate gradient."""

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


def _forward(current: Tensor, decay: float, threshold: float, subtract: bool) -> tuple[Tensor, Tensor]:
    """Return spikes and the membranes that decided on them, both of the current's type."""
    currents = current.to(working_dtype(current.dtype))
    membrane = currents[0]
    membranes = [membrane]
    spikes = [(membrane >= threshold).to(currents.dtype)]
    for step in range(1, currents.shape[0]):
        if subtract:
            membrane = decay * membrane + currents[step] - threshold * spikes[-1]
        else:
            membrane = decay * membrane * (1.0 - spikes[-1]) + currents[step]
        membranes.append(membrane)
        spikes.append((membrane >= threshold).to(currents.dtype))
    return torch.stack(spikes).to(current.dtype), torch.stack(membranes).to(current.dtype)


def backward_through_time(
    grad: Tensor, spikes: Tensor, membranes: Tensor, decay: float, threshold: float, subtract: bool
) -> Tensor:
    """Back-propagate through time; the gradient also flows through the reset.

    Args:
        grad: gradient of the spikes, (time steps, ...).
        spikes: what the forward pass emitted.
        membranes: what decided on the spikes, in units of the threshold's.
        decay: factor per time step.
        threshold: firing threshold.
        subtract: soft reset.

    Returns:
        Gradient of the current, of the type of ``grad``.
    """
    work = working_dtype(grad.dtype)
    following = torch.zeros_like(grad[0], dtype=work)
    grads: list[Tensor] = []
    for step in range(grad.shape[0] - 1, -1, -1):
        membrane = membranes[step].to(work)
        slope = SURROGATE_ALPHA / 2 / (1 + (math.pi / 2 * SURROGATE_ALPHA * (membrane - threshold)) ** 2)
        if subtract:
            through_spike = grad[step].to(work) - threshold * following
            following = through_spike * slope + decay * following
        else:
            through_spike = grad[step].to(work) - decay * membrane * following
            following = through_spike * slope + decay * (1.0 - spikes[step].to(work)) * following
        grads.append(following)
    return torch.stack(grads[::-1]).to(grad.dtype)


class _LIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, decay: float, threshold: float, subtract: bool) -> Tensor:
        spikes, membranes = _forward(current, decay, threshold, subtract)
        # A stored bfloat16 membrane may have been rounded across the threshold: the spikes are kept, not derived again.
        ctx.save_for_backward(spikes, membranes)
        ctx.constants = (decay, threshold, subtract)
        return spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        spikes, membranes = ctx.saved_tensors
        return backward_through_time(grads[0], spikes, membranes, *ctx.constants), None, None, None


def lif(current: Tensor, decay: float, threshold: float, *, subtract: bool) -> Tensor:
    """Binary spikes of leaky integrate-and-fire neurons that start at rest.

    subtract:  U[t] = decay * U[t-1] + I[t] - threshold * S[t-1]
    otherwise: U[t] = decay * U[t-1] * (1 - S[t-1]) + I[t]
    both:      S[t] = 1 if U[t] >= threshold else 0,  U[-1] = S[-1] = 0

    The gradient is that of an arctan: dS/dU = alpha/2 / (1 + (pi/2 alpha (U - threshold))^2).

    Args:
        current: I, of shape (time steps, ...).
        decay: factor per time step, 0 to 1.
        threshold: firing threshold, in units of the current.
        subtract: soft reset (subtract the threshold) instead of hard reset to zero.

    Returns:
        Spikes 0.0 or 1.0 of the current's shape and dtype; membranes are computed in float32, or float64 for a float64
        current.
    """
    return _LIF.apply(current, decay, threshold, subtract)  # type: ignore[no-any-return, no-untyped-call]
