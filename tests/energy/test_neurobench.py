"""NeuroBench's effective operations, activation sparsity and footprint of the projections are ours.

It counts neither attention nor embeddings, and leaves out zero weights, which a neurocore stores and reads: they are
made 1 here.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from neurobench.hooks.layer import LayerHook
from neurobench.hooks.neuron import NeuronHook
from neurobench.metrics.static.footprint import Footprint
from neurobench.metrics.workload.activation_sparsity import ActivationSparsity
from neurobench.metrics.workload.synaptic_operations import SynapticOperations

from bispik.backends.activity import Activity
from bispik.backends.counts import count_events
from bispik.backends.reference import ReferenceSession
from bispik.compiler.program import IntegerPopulation, QuantizedProgram
from bispik.energy.activity_views import rate_table
from bispik.energy.baselines import dense_weights
from tests.mappings import scattered
from tests.networks import random_program, random_tokens

FORMS: tuple[dict[str, Any], ...] = (
    {},
    {"pre_spike": False},
    {"mixed_spike": True, "block_output": True},
    {"norm": True, "stream": True},
    {"spikes": "ternary"},
)


def layers(program: QuantizedProgram) -> dict[str, tuple[str, torch.nn.Linear]]:
    """By name: what each dense projection and the head read, and their weights."""
    found = {
        f"{population.name}_{index}": (projection.source, projection.weight)
        for population in program.of_kind(IntegerPopulation)
        for index, projection in enumerate(population.inputs)
        if projection.weight is not None and projection.weight.ndim == 2
    }
    found["head"] = (program.readout.source, program.readout.weight)
    return {name: (source, linear(weight)) for name, (source, weight) in found.items()}


def linear(weight: np.ndarray[Any, Any]) -> torch.nn.Linear:
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = torch.nn.Parameter(torch.from_numpy(np.where(weight == 0, 1, weight).astype(np.float32)))
    return layer


def sent(activity: Activity, source: str) -> torch.Tensor:
    """(tokens times steps, size)"""
    outputs = activity.outputs[source]
    return torch.from_numpy(outputs.reshape(-1, outputs.shape[2]).astype(np.float32))


def operations(activity: Activity, read: list[tuple[str, torch.nn.Linear]]) -> dict[str, float]:
    """Over all samples: a sample is a time step."""
    hooks = []
    for source, layer in read:
        hooks.append(LayerHook(layer))
        layer(sent(activity, source))
    steps = len(sent(activity, read[0][0]))
    data = (torch.zeros(steps, 1), None)
    metric: Any = SynapticOperations()  # asks for a model of its own, of which it reads the hooks
    found: dict[str, float] = metric(SimpleNamespace(connection_hooks=hooks), None, data)
    return {name: number * steps for name, number in found.items()}


@given(st.integers(0, 50), st.sampled_from(FORMS))
@settings(max_examples=15, deadline=None)
def test_operations_of_the_projections(seed: int, form: dict[str, Any]) -> None:
    program = random_program(seed, heads=2, **form)
    activity = ReferenceSession(program).feed(random_tokens(program, seed))
    counts = count_events(scattered(program, seed), activity)
    populations = {population.name for population in program.of_kind(IntegerPopulation)}
    read = layers(program).values()
    spiking = operations(activity, [entry for entry in read if entry[0] in populations])
    synops, graded = counts.total("synop_dense", "synop_readout"), counts.total("graded_dense", "graded_readout")
    assert spiking["Effective_ACs"] == synops - graded
    assert spiking["Effective_MACs"] == 0
    if numbers := [entry for entry in read if entry[0] not in populations]:
        found = operations(activity, numbers)
        assert found["Effective_ACs"] + found["Effective_MACs"] == graded  # ACs where no number was larger than 1
    assert operations(activity, list(read))["Dense"] == dense_weights(program) * counts.steps


@pytest.mark.parametrize("seed", range(3))
def test_activation_sparsity(seed: int) -> None:
    program = random_program(seed, heads=2)
    activity = ReferenceSession(program).feed(random_tokens(program, seed))
    hooks = []
    for population in program.of_kind(IntegerPopulation):
        neurons = torch.nn.Identity()
        hooks.append(NeuronHook(neurons))
        neurons(sent(activity, population.name))
    metric: Any = ActivationSparsity()
    sparsity = metric(SimpleNamespace(activation_hooks=hooks), None, None)
    counts = count_events(scattered(program, seed), activity)
    assert sparsity == pytest.approx(1 - rate_table(program, counts).mean)


def test_footprint() -> None:
    program = random_program(1, heads=2)
    net = torch.nn.ModuleList(layer.to(torch.bfloat16) for _, layer in layers(program).values())
    metric: Any = Footprint()
    assert metric(SimpleNamespace(__net__=lambda: net)) == 2 * dense_weights(program)
