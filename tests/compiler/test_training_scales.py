"""In training's integer mode a network spikes as the program that the compiler makes of it, bit for bit."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recomputed

from bispik.backends.activity import Activity, reading_of
from bispik.backends.host import logits as host_logits
from bispik.backends.sim import SimSession
from bispik.compiler.calibrate import rounded
from bispik.compiler.deferred import numbers
from bispik.compiler.graph import Population
from bispik.compiler.lift import lift
from bispik.compiler.program import IntegerAttention, IntegerPopulation, NeuronProgram, QuantizedProgram
from bispik.compiler.quantize import quantize
from bispik.compiler.quantize_neurons import integer_neurons
from bispik.compiler.quantize_options import QuantizeOptions
from bispik.compiler.training_scales import module_name, scales_of, training_scales
from bispik.models.bispikclm.checkpoint import Checkpoint
from bispik.models.bispikclm.integer_arithmetic import integer_weight
from bispik.models.bispikclm.integer_forward import integer_forward, population_drives, put_on_lattice
from bispik.models.bispikclm.integer_population import IntegerPopulation as TrainedPopulation
from bispik.models.bispikclm.model import SpikingNeurons
from bispik.models.errors import BispikError
from tests.checkpoints import random_checkpoint, recorded_spikes

CALIBRATION = torch.randint(0, 23, (2, 12), generator=torch.Generator().manual_seed(0)).numpy()
IDS = torch.randint(0, 23, (3, 12), generator=torch.Generator().manual_seed(1))

switches = st.fixed_dictionaries(
    {
        "reset": st.sampled_from(["subtract", "zero"]),
        "steps_per_token": st.integers(1, 8),
        "decay": st.sampled_from([0.0, 0.5, 0.9, 0.99]),
        "current_norm": st.sampled_from(["batch", "batch", "none"]),
        "input_current": st.sampled_from(["constant", "ramp"]),
        "input_scale": st.sampled_from([1.0, 1.5]),
        "pre_spike": st.booleans(),
        "attention_output_spike": st.booleans(),
        "residual": st.sampled_from([(True, False), (True, True), (False, True)]),
        "attention_bias": st.booleans(),
        "ffn_bias": st.booleans(),
        "final_norm_bias": st.booleans(),
        "readout_scale": st.booleans(),
    }
)


def checkpoint_of(form: dict[str, Any], seed: int) -> Checkpoint:
    ffn_output, block_output = form["residual"]
    rest = {name: value for name, value in form.items() if name != "residual"}
    return random_checkpoint(seed, norm_batches=3, **rest, ffn_output_spike=ffn_output, block_output_spike=block_output)


def assert_same(
    program: QuantizedProgram, number: int, spikes: dict[str, list[Tensor]], logits: Tensor, activity: Activity
) -> None:
    for node in program.nodes:
        if isinstance(node, IntegerPopulation):
            found = spikes[module_name(node.name)][0][:, number].transpose(0, 1)
            np.testing.assert_array_equal(found.float().numpy(), activity.outputs[node.name], err_msg=node.name)
        if isinstance(node, IntegerAttention):
            scores = spikes[module_name(node.name)][0][:, number].tril().permute(2, 0, 1, 3)
            np.testing.assert_array_equal(scores.float().numpy(), activity.score_spikes[node.name], err_msg=node.name)
    np.testing.assert_allclose(
        logits[number].numpy(), host_logits(program, reading_of(program, activity)), rtol=2e-5, atol=2e-5
    )


@settings(max_examples=60, deadline=None)
@given(
    form=switches,
    stock=st.booleans(),
    bits=st.sampled_from([8, 6, 4, 2, 1]),
    bfloat16=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_spikes_and_logits_are_those_of_the_compiled_program(
    form: dict[str, Any], stock: bool, bits: int, bfloat16: bool, seed: int
) -> None:
    torch.set_num_threads(1)
    stock = stock and form["reset"] == "zero"
    checkpoint = checkpoint_of(form, seed)
    options = QuantizeOptions(bits=bits, neuron_program="stock" if stock else "bispik", window=12, rounding="nearest")
    graph = lift(checkpoint)
    program = quantize(graph, CALIBRATION, options)
    model = checkpoint.network().train()
    with (
        recorded_spikes(model) as spikes,
        torch.no_grad(),
        torch.autocast("cpu", torch.bfloat16, enabled=bfloat16),
        integer_forward(model, scales_of(program, checkpoint)),
    ):
        logits, _ = model(IDS)
    for number, ids in enumerate(IDS.numpy()):
        assert_same(program, number, spikes, logits, SimSession(program).feed(ids))


@pytest.mark.parametrize("stock", [False, True])
def test_scales_stay_while_the_parameters_move(stock: bool) -> None:
    """Thresholds, biases and weights of moved parameters are the compiler's for them, at the units of before."""
    checkpoint = random_checkpoint(
        5,
        reset="zero",
        current_norm="batch",
        attention_bias=True,
        ffn_output_spike=False,
        block_output_spike=True,
        attention_output_spike=True,
    )
    program_name: NeuronProgram = "stock" if stock else "bispik"
    options = QuantizeOptions(bits=4, neuron_program=program_name, window=12, rounding="nearest")
    before = quantize(lift(checkpoint), CALIBRATION, options)
    scales = scales_of(before, checkpoint)
    generator = torch.Generator().manual_seed(3)
    moved = dataclasses.replace(
        checkpoint,
        tensors={
            name: tensor if "running" in name else tensor + 0.05 * torch.randn(tensor.shape, generator=generator)
            for name, tensor in checkpoint.tensors.items()
        },
    )
    graph, model = lift(moved), moved.network()
    drives = population_drives(model)
    for node in graph.of_kind(Population):
        name = module_name(node.name)
        neurons = model.get_submodule(name)
        assert isinstance(neurons, SpikingNeurons)
        population = TrainedPopulation(neurons, drives[name], scales.populations[name], scales)
        found = population.now().constants
        if stock:  # units follow the gain, so that one threshold goes on to serve all neurons
            assert set(found.threshold.tolist()) == {float(threshold_of(before, node.name))}
            scale = (threshold_of(before, node.name) + 32) / node.neurons.threshold
        else:
            scale = before.membrane_scale[node.name]
        wanted = integer_neurons(node.neurons, scale, program_name)
        for field in ("threshold", "subtract", "bias"):
            np.testing.assert_array_equal(getattr(found, field).detach(), getattr(wanted, field), err_msg=node.name)
        projection = drives[name].projection
        for weight in (projection.weight for projection in node.inputs if projection.weight is not None):
            assert projection is not None
            units = population.units()
            integers = integer_weight(projection.weight, population.weight_gain(), units, 7, False)
            np.testing.assert_array_equal(integers, rounded(numbers(weight).astype(np.float64), units.numpy(), 4))


def threshold_of(program: QuantizedProgram, name: str) -> int:
    node = program.node(name)
    assert isinstance(node, IntegerPopulation)
    return int(node.neurons.threshold[0])


FORMS: list[dict[str, Any]] = [
    {"current_norm": "batch", "attention_bias": True, "readout_scale": True},
    {"current_norm": "batch", "reset": "zero", "input_current": "ramp", "final_norm_bias": False},
    {"current_norm": "none", "reset": "zero", "pre_spike": False},
    {
        "current_norm": "batch",
        "attention_output_spike": True,
        "ffn_output_spike": False,
        "block_output_spike": True,
    },
]


def on_the_lattice(checkpoint: Checkpoint, program: QuantizedProgram) -> Checkpoint:
    """Move every projection's weights to the nearest that its integers can hold."""
    tensors = dict(checkpoint.tensors)
    graph = lift(checkpoint)
    for node in graph.of_kind(Population):
        integers = program.node(node.name)
        assert isinstance(integers, IntegerPopulation)
        name = module_name(node.name).removesuffix("_spike") + ".weight"
        name = name.replace("output.weight", "ffn.fc2.weight") if name.count(".") == 3 else name
        for projection, integer in zip(node.inputs, integers.inputs, strict=True):
            if projection.weight is not None and integer.weight is not None:
                units = program.membrane_scale[node.name] / (1 << integer.exponent)
                share = torch.from_numpy(integer.weight / units[:, None] / numbers(projection.weight))
                tensors[name] = (tensors[name] * share).float()
    return dataclasses.replace(checkpoint, tensors=tensors)


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize(("form", "stock"), [*((form, False) for form in FORMS), (FORMS[2], True)])
def test_gradients_are_those_of_the_float_network(form: dict[str, Any], stock: bool, bfloat16: bool) -> None:
    """Weights are on the integers' lattice, so that both networks spike alike but for a few places."""
    checkpoint = random_checkpoint(3, hidden_size=64, intermediate_size=96, **form)
    options = QuantizeOptions(bits=8, neuron_program="stock" if stock else "bispik", window=12, rounding="nearest")
    graph = lift(checkpoint)
    program = quantize(graph, CALIBRATION, options)
    model = on_the_lattice(checkpoint, program).network().requires_grad_(True)
    gradients: list[dict[str, Tensor]] = []
    for mode in (nullcontext(), integer_forward(model, scales_of(program, checkpoint))):
        model.zero_grad()
        with mode:
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16 and len(gradients) == 1):
                logits, _ = model(IDS[:, :-1])
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), IDS[:, 1:].flatten())
            loss.backward()  # type: ignore[no-untyped-call]
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    exact, found = gradients
    assert found.keys() == exact.keys() == dict(model.named_parameters()).keys()
    # Lava's own neurons share a coarse threshold, so more of their spikes differ.
    least, least_of_all = (0.4, 0.8) if stock else (0.8, 0.95)
    for name, gradient in found.items():
        assert cosine(gradient, exact[name]) > least, name
    one, other = (torch.cat([gradient.flatten() for gradient in side.values()]) for side in gradients)
    assert cosine(one, other) > least_of_all
    assert 0.8 < float(one.norm() / other.norm()) < 1.25


def cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


def test_scales_of_another_network_are_refused_and_nothing_stays_replaced() -> None:
    checkpoint = random_checkpoint(current_norm="batch")
    options = QuantizeOptions(window=12)
    scales = training_scales(checkpoint, CALIBRATION, options)
    model = checkpoint.network()
    wanted, _ = model(IDS)
    other = random_checkpoint(pre_spike=False).network()
    with pytest.raises(BispikError, match=r"another network.*input_spike"), integer_forward(other, scales):
        pass
    with integer_forward(model, scales):
        assert not torch.equal(model(IDS)[0], wanted)
        with pytest.raises(IndexError):
            model(IDS + 100)
    assert torch.equal(model(IDS)[0], wanted)


def test_a_sequence_fed_in_pieces_spikes_as_at_once() -> None:
    checkpoint = random_checkpoint(current_norm="batch")
    model = checkpoint.network()
    with torch.no_grad(), integer_forward(model, training_scales(checkpoint, CALIBRATION, QuantizeOptions(window=12))):
        whole, _ = model(IDS)
        first, cache = model(IDS[:, :5])
        second, _ = model(IDS[:, 5:], cache)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-6, atol=1e-6)


def test_statistics_of_a_normalisation_stay_as_they_are() -> None:
    checkpoint = random_checkpoint(current_norm="batch")
    model = checkpoint.network().train()
    with integer_forward(model, training_scales(checkpoint, CALIBRATION, QuantizeOptions(window=12))):
        model(IDS)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, checkpoint.tensors[name]), name


def test_activation_checkpointing_changes_nothing() -> None:
    checkpoint = random_checkpoint(current_norm="batch")
    model = checkpoint.network().requires_grad_(True)
    scales = training_scales(checkpoint, CALIBRATION, QuantizeOptions(window=12))
    gradients: list[list[Tensor]] = []
    for _ in range(2):
        with integer_forward(model, scales):
            with torch.autocast("cpu", torch.bfloat16):
                logits, _ = model(IDS)
            gradients.append(list(torch.autograd.grad(logits.square().sum(), list(model.parameters()))))
        for block in model.blocks:
            block.forward = partial(recomputed, block.forward, use_reentrant=False)
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("form", FORMS[:3])
def test_fused_kernels_spike_the_same(form: dict[str, Any]) -> None:
    checkpoint = random_checkpoint(**form)
    model = checkpoint.network().requires_grad_(True)
    scales = training_scales(checkpoint, CALIBRATION, QuantizeOptions(bits=4, window=12))
    spikes: list[dict[str, list[Tensor]]] = []
    gradients: list[dict[str, Tensor]] = []
    for compiled in (False, True):
        model.zero_grad()
        with recorded_spikes(model) as found, integer_forward(model, scales, compiled=compiled):
            model(IDS)[0].square().sum().backward()
        spikes.append(found)
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    for name, (expected,) in spikes[0].items():
        assert torch.equal(spikes[1][name][0], expected), name
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.sampled_from([1, 2, 4, 8]), st.booleans())
def test_weights_put_on_the_lattice_are_found_again_on_any_text(seed: int, bits: int, half: bool) -> None:
    checkpoint = random_checkpoint(seed, current_norm="batch")
    options = QuantizeOptions(window=12, bits=bits)
    text, other = (np.random.default_rng(seed + number).integers(0, 23, (3, 12)) for number in range(2))
    model, scales = checkpoint.network(), training_scales(checkpoint, text, options)
    put_on_lattice(model, scales)
    stored = Checkpoint.of(model)
    if half:
        tensors = {name: t.half().float() if t.dim() > 1 else t for name, t in stored.tensors.items()}
        stored = Checkpoint(config=stored.config, tensors=tensors)
    before = quantize(lift(checkpoint), text, dataclasses.replace(options, rounding="nearest"))
    after = quantize(lift(stored), other, options)
    for one, two in zip(before.of_kind(IntegerPopulation), after.of_kind(IntegerPopulation), strict=True):
        for trained, found in zip(one.inputs, two.inputs, strict=True):
            if trained.weight is None or found.weight is None:
                continue
            # A row whose integers have a common factor may be found without it.
            factor = np.abs(trained.weight).max(axis=1) / np.abs(found.weight).max(axis=1)
            np.testing.assert_array_equal(trained.weight, found.weight * factor[:, None])
