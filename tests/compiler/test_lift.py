"""The lifted graph spikes as the network does, with every normalisation folded away."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from bispik.compiler.float_network import run_float
from bispik.compiler.graph import Attention, Population
from bispik.compiler.lift import lift
from bispik.models.errors import BispikError
from tests.checkpoints import random_checkpoint, recorded_spikes

RESIDUALS = (
    {"ffn_output_spike": True, "block_output_spike": False},
    {"ffn_output_spike": True, "block_output_spike": True},
    {"ffn_output_spike": False, "block_output_spike": True},
)
COMBINATIONS: list[dict[str, Any]] = [
    {"reset": reset, "pre_spike": pre_spike, "attention_output_spike": mixed, "input_current": current, **residual}
    for reset, pre_spike, mixed, current, residual in itertools.product(
        ("subtract", "zero"), (True, False), (False, True), ("constant", "ramp"), RESIDUALS
    )
]
TERNARY: list[dict[str, Any]] = [{}, {"spikes": "ternary", "spike_amplitude": 0.8}, {"spikes": "ternary"}]
STREAMS: list[dict[str, Any]] = [
    {},
    {"block_norm": "pre"},
    {"block_norm": "pre", "embedding_spike": False},
    {"embedding_spike": False},
]
BIASES: list[dict[str, Any]] = [
    {"attention_bias": True, "final_norm_bias": False, "readout_scale": True, "input_scale": 1.5},
    {"ffn_bias": False},
    {},
]


def module_name(node: str) -> str:
    """The network's module behind a population of the graph."""
    if node == "embed":
        return "embedding_spike"
    block, *part = node.split("/")
    name = f"blocks.{int(block.removeprefix('block_'))}"
    if part in (["sum"], ["output"]):
        return f"{name}.output_spike"
    return f"{name}.{'attention' if part[0] == 'attn' else 'ffn'}.{part[1]}_spike"


def mixed_values(spikes: dict[str, list[Tensor]], node: Attention) -> npt.NDArray[np.float64]:
    """A V, from the spikes of scores and values."""
    score = spikes[module_name(node.name.replace("/attention", "/score"))][0].tril()
    value = spikes[module_name(node.value)][0]
    value = value.view(*value.shape[:3], node.heads, node.head_dim).transpose(2, 3)
    result: npt.NDArray[np.float64] = (score @ value).transpose(2, 3).flatten(3).numpy()
    return result


@pytest.mark.parametrize(("current_norm", "combinations"), [("batch", COMBINATIONS), ("none", COMBINATIONS[::5])])
def test_every_population_spikes_as_in_the_network(current_norm: str, combinations: list[dict[str, Any]]) -> None:
    torch.set_num_threads(1)
    rates: list[float] = []
    for number, switches in enumerate(combinations):
        # Not the number alone: it would give a residual form the same biases every time.
        everything: dict[str, Any] = {
            "current_norm": current_norm,
            "steps_per_token": 1 + number % 8,
            **switches,
            **BIASES[(number + number // 3) % 3],
            **TERNARY[(number + number // 3 + number // 9) % 3],
            **STREAMS[(number + number // 4 + number // 16) % 4],
        }
        size = everything.get("spike_amplitude", 1.0)
        checkpoint = random_checkpoint(number, norm_batches=3, **everything)
        network = checkpoint.network(torch.float64)
        ids = torch.randint(0, 23, (2, 12), generator=torch.Generator().manual_seed(number))
        with torch.no_grad(), recorded_spikes(network) as spikes:
            logits, _ = network(ids)
        graph = lift(checkpoint)
        activity = run_float(graph, ids.numpy())
        for node in graph.of_kind(Population):
            expected = spikes[module_name(node.name)][0].sign().numpy()
            assert np.array_equal(activity.outputs[node.name], expected), (everything, node.name)
            rates.append(np.abs(expected).mean())
        for attention in graph.of_kind(Attention):
            mixed = np.rint(mixed_values(spikes, attention) / size**2)
            assert np.array_equal(activity.outputs[attention.name], mixed)
        names = {module_name(node.name) for node in graph.of_kind(Population)}
        assert {name for name in spikes if "score" not in name} == names
        np.testing.assert_allclose(activity.logits, logits.numpy(), rtol=1e-6, atol=1e-6)
    assert 0.1 < np.mean(rates) < 0.8


def test_nothing_of_a_normalisation_is_left() -> None:
    checkpoint = random_checkpoint(current_norm="batch")
    graph = lift(checkpoint, tokenizer="text")
    assert graph.tokenizer == "text"
    assert graph.hyperparameters.items() >= checkpoint.config.to_dict().items()
    for node in graph.of_kind(Population):
        thresholds = node.neurons.threshold
        if node.inputs[0].weight is not None:  # the gain is in the weights, so that one threshold serves all neurons
            assert np.all(thresholds == checkpoint.config.threshold)
        assert np.all(thresholds > 0)
        assert np.all(np.isfinite(node.neurons.bias))


def test_a_residual_stream_that_collects_real_currents_is_refused() -> None:
    with pytest.raises(BispikError, match="ffn_output_spike = false"):
        lift(random_checkpoint(norm_batches=0, ffn_output_spike=False))
