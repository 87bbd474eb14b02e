"""The neuron against norse, and its gradient against autograd."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bispik.models.bispikclm.lif import SURROGATE_ALPHA, lif


def norse_spikes(current: Tensor, decay: float, threshold: float, *, subtract: bool) -> tuple[Tensor, Tensor]:
    """Spikes and membranes (in our units) of norse's box LIF.

    With leak rate 1 - decay its membrane is ours times (1 - decay). It resets behind the spike and then decays, so that
    our undecayed subtraction of theta one step later is a subtraction of theta / decay there.
    """
    from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters, lif_box_feed_forward_step
    from norse.torch.functional.reset import reset_value

    def subtract_before_decay(z: Tensor, v: Tensor, _reset: Tensor, th: Tensor) -> Tensor:
        return v - z * th / decay

    parameters = LIFBoxParameters(
        tau_mem_inv=torch.tensor(1.0 - decay, dtype=torch.float64),
        v_th=torch.tensor((1.0 - decay) * threshold, dtype=torch.float64),
        method="heaviside",
        reset_method=subtract_before_decay if subtract else reset_value,
    )
    state = LIFBoxFeedForwardState(v=torch.zeros_like(current[0]))
    spikes: list[Tensor] = []
    membranes: list[Tensor] = []
    for step in current:
        deciding = state.v + (1.0 - decay) * (step - state.v)
        spike, state = lif_box_feed_forward_step(step, state, parameters, dt=1.0)
        spikes.append(spike)
        membranes.append(deciding / (1.0 - decay))
    return torch.stack(spikes), torch.stack(membranes)


@pytest.mark.parametrize("subtract", [True, False])
@settings(max_examples=40)
@given(
    decay=st.floats(0.05, 0.95),
    threshold=st.floats(0.1, 3.0),
    scale=st.floats(0.1, 5.0),
    steps=st.integers(1, 8),
    seed=st.integers(0, 2**31),
)
def test_spikes_are_norses(decay: float, threshold: float, scale: float, steps: int, seed: int, subtract: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    current = scale * torch.randn(steps, 64, generator=generator, dtype=torch.float64) + 0.3
    expected, membranes = norse_spikes(current, decay, threshold, subtract=subtract)
    away_from_ties = ((membranes - threshold).abs() > 1e-9).all(0)
    spikes = lif(current, decay, threshold, subtract=subtract)
    assert torch.equal(spikes[:, away_from_ties], expected[:, away_from_ties])


@pytest.mark.parametrize("subtract", [True, False])
def test_a_membrane_at_the_threshold_spikes(subtract: bool) -> None:
    current = torch.tensor([[0.5], [0.25], [0.0]], dtype=torch.float64)
    assert lif(current, 0.5, 0.5, subtract=subtract).flatten().tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("subtract", [True, False])
@settings(max_examples=40)
@given(
    decay=st.floats(0.05, 0.95),
    threshold=st.floats(0.1, 3.0),
    amplitude=st.floats(0.1, 3.0),
    steps=st.integers(1, 8),
    seed=st.integers(0, 2**31),
)
def test_ternary_spikes_of_positive_currents_are_norses(
    decay: float, threshold: float, amplitude: float, steps: int, seed: int, subtract: bool
) -> None:
    """No membrane falls to -threshold then: a reset takes threshold from at least that."""
    generator = torch.Generator().manual_seed(seed)
    current = 2 * torch.rand(steps, 64, generator=generator, dtype=torch.float64)
    expected, membranes = norse_spikes(current, decay, threshold, subtract=subtract)
    away_from_ties = ((membranes - threshold).abs() > 1e-9).all(0)
    for sign in (1, -1):
        spikes = lif(sign * current, decay, threshold, subtract=subtract, ternary=True, amplitude=amplitude)
        assert torch.equal(spikes[:, away_from_ties], sign * amplitude * expected[:, away_from_ties])


@pytest.mark.parametrize("subtract", [True, False])
@settings(max_examples=40)
@given(
    currents=st.lists(st.integers(-12, 12), min_size=1, max_size=8),
    threshold=st.integers(1, 8),
    amplitude=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_ternary_spikes_follow_their_equations(
    currents: list[int], threshold: int, amplitude: float, subtract: bool
) -> None:
    """Sums of quarters: membranes meet the thresholds exactly."""
    membrane, spike = 0.0, 0
    expected: list[float] = []
    for quarters in currents:
        kept = 0.5 * membrane if subtract or spike == 0 else 0.0
        membrane = kept + quarters / 4 - (threshold / 4 * spike if subtract else 0.0)
        spike = 1 if membrane >= threshold / 4 else -1 if membrane <= -threshold / 4 else 0
        expected.append(amplitude * spike)
    current = torch.tensor(currents, dtype=torch.float64)[:, None] / 4
    spikes = lif(current, 0.5, threshold / 4, subtract=subtract, ternary=True, amplitude=amplitude)
    assert spikes.flatten().tolist() == expected


class _Spike(torch.autograd.Function):
    """A step whose gradient is that of an arctan."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor) -> Tensor:
        ctx.save_for_backward(distance)
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (distance,) = ctx.saved_tensors
        slope: Tensor = SURROGATE_ALPHA / 2 / (1 + (math.pi / 2 * SURROGATE_ALPHA * distance) ** 2)
        return grads[0] * slope


def plain_lif(
    current: Tensor, decay: float, threshold: float, *, subtract: bool, ternary: bool = False, amplitude: float = 1.0
) -> Tensor:
    membrane = above = below = torch.zeros_like(current[0])
    spikes: list[Tensor] = []
    for step in current:
        kept = membrane if subtract else membrane * (1 - (above + below))
        membrane = decay * kept + step - (threshold * (above - below) if subtract else 0.0)
        above = _Spike.apply(membrane - threshold)  # type: ignore[no-untyped-call]
        if ternary:
            below = _Spike.apply(-membrane - threshold)  # type: ignore[no-untyped-call]
        spikes.append(amplitude * (above - below))
    return torch.stack(spikes)


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("ternary", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_gradient_is_autograds_through_a_plain_loop(subtract: bool, ternary: bool, steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    values = torch.randn(steps, 3, 50, generator=generator, dtype=torch.float64)
    weights = torch.randn(values.shape, generator=generator, dtype=torch.float64)
    results: list[tuple[Tensor, Tensor]] = []
    for neurons in (lif, plain_lif):
        current = values.clone().requires_grad_()
        spikes = neurons(current, 0.9, 0.7, subtract=subtract, ternary=ternary, amplitude=0.8 if ternary else 1.0)
        (gradient,) = torch.autograd.grad((spikes * weights).sum(), current)
        results.append((spikes, gradient))
    assert torch.equal(results[0][0], results[1][0])
    assert 0.05 < float((results[0][0].detach() > 0).double().mean()) < 0.6
    assert bool((results[0][0] < 0).any()) == ternary
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-12, atol=1e-14)


def test_hard_reset_gradient_follows_the_spikes_not_the_rounded_membranes() -> None:
    # The second membrane is 0.70195: below the threshold, but its nearest bfloat16 is 0.703125, above.
    values, threshold = torch.tensor([[0.5], [0.251953125], [0.0]]), 0.7025
    gradients: list[Tensor] = []
    for dtype in (torch.bfloat16, torch.float64):
        current = values.to(dtype).requires_grad_()
        spikes = lif(current, 0.9, threshold, subtract=False)
        assert not spikes.detach().any()
        gradients += torch.autograd.grad(spikes[2].sum(), current)
    torch.testing.assert_close(gradients[0].double(), gradients[1], rtol=0.02, atol=0.0)


@pytest.mark.parametrize("ternary", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_type_of_the_current_is_kept(dtype: torch.dtype, ternary: bool) -> None:
    current = torch.ones(2, 3, dtype=dtype).requires_grad_()
    spikes = lif(current, 0.9, 0.7, subtract=True, ternary=ternary)
    spikes.sum().backward()  # type: ignore[no-untyped-call]
    assert spikes.dtype == dtype
    assert current.grad is not None
    assert current.grad.dtype == dtype
