"""Training's integer products and neurons against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bispik.compiler.calibrate import largest_integer, rounded
from bispik.compiler.fixed_point import DECAY_ONE, MEMBRANE_MAX
from bispik.compiler.program import IntegerNeurons
from bispik.models.bispikclm.integer_arithmetic import (
    IntegerSynapses,
    integer_weight,
    product,
    project,
    run_neurons,
)
from tests import neurons as program_neurons

BITS = (1, 2, 4, 6, 8)


@pytest.mark.parametrize("largest_input", [1, 128, 129, 300])
@pytest.mark.parametrize("limit", [1, 7, 127])
def test_products_are_exact_at_their_bounds(largest_input: int, limit: int) -> None:
    generator = torch.Generator().manual_seed(limit)
    inputs = torch.randint(0, largest_input + 1, (2, 3, 5, 70), generator=generator)
    weight = torch.randint(-limit, limit + 1, (9, 70), generator=generator)
    inputs[0, 0, 0], weight[0], weight[1] = largest_input, limit, -limit
    found = product(inputs.float(), weight.to(torch.int8), largest_input, limit)
    assert torch.equal(found, (inputs @ weight.t()).float())


@pytest.mark.parametrize("bits", BITS)
def test_weights_are_rounded_as_by_the_compiler(bits: int) -> None:
    generator = torch.Generator().manual_seed(bits)
    weight = torch.randn(6, 50, generator=generator)
    weight[0] = torch.arange(50) / 2 - 12  # halves, and zero
    gain = torch.rand(6, generator=generator, dtype=torch.float64) + 0.5
    units = torch.rand(6, generator=generator, dtype=torch.float64) * 2 ** (bits - 1)
    gain[0] = units[0] = 1.0
    found = integer_weight(weight, gain, units, largest_integer(bits), bits == 1)
    graph = (gain[:, None] * weight).float().double()
    np.testing.assert_array_equal(found, rounded(graph.numpy(), units.numpy(), bits))


def constants(seed: int, reset: str) -> IntegerNeurons:
    random = np.random.default_rng(seed)
    threshold = random.integers(-5, MEMBRANE_MAX, 40).astype(np.int32)
    threshold[:3] = MEMBRANE_MAX, MEMBRANE_MAX - 1, 0
    subtract = random.integers(0, MEMBRANE_MAX, 40).astype(np.int32) * (reset == "soft")
    return IntegerNeurons(
        program="bispik",
        reset="soft" if reset == "soft" else "hard",
        decay=int(random.integers(0, DECAY_ONE)),
        threshold=threshold,
        subtract=subtract.astype(np.int32),
        bias=random.integers(-MEMBRANE_MAX, MEMBRANE_MAX, 40).astype(np.int32),
    )


def run(neurons: IntegerNeurons, current: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    threshold, subtract, bias = (
        torch.from_numpy(values).double() for values in (neurons.threshold, neurons.subtract, neurons.bias)
    )
    ones = torch.ones_like(bias)
    keep = (DECAY_ONE - neurons.decay) / DECAY_ONE
    soft = neurons.reset == "soft"
    return run_neurons(current, 8 * ones, threshold, subtract, bias, ones, keep, MEMBRANE_MAX, soft, torch.float32)


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_neurons_saturate_and_decay_as_in_the_simulator(reset: str) -> None:
    saturations = 0
    for seed in range(10):
        neurons = constants(seed, reset)
        current = torch.randint(-(2**20), 2**20, (8, 30, 40), generator=torch.Generator().manual_seed(seed)).float()
        wanted_spikes, wanted_membranes, saturated = program_neurons.run_neurons(neurons, 8 * current.long().numpy())
        spikes, membranes = run(neurons, current)
        np.testing.assert_array_equal(spikes, wanted_spikes)
        stored = membranes * (1 - spikes) if reset == "hard" else membranes
        np.testing.assert_array_equal(stored, wanted_membranes)
        saturations += saturated
    assert saturations > 100


def test_gradient_of_a_projection_passes_straight_through_the_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = (torch.rand(3, 20, 12, generator=generator) < 0.3).float().requires_grad_()
    weight = torch.randn(5, 12, generator=generator).requires_grad_()
    gain = (torch.rand(5, generator=generator, dtype=torch.float64) + 0.5).requires_grad_()
    units = torch.full((5,), 9.0, dtype=torch.float64)
    seen = torch.randn(3, 20, 5, generator=generator)
    synapses = IntegerSynapses(limit=127, binary=False, largest_input=1, gradient_dtype=torch.float32, compiled=False)
    found = torch.autograd.grad((project(inputs, weight, gain, units, synapses) * seen).sum(), (inputs, weight, gain))
    folded = gain[:, None] * weight * units[:, None]
    held = folded + (folded.round() - folded).detach()
    wanted = torch.autograd.grad(((inputs.double() @ held.t()) * seen).sum(), (inputs, weight, gain))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
