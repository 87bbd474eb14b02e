"""Integers keep the network, and nothing overflows whatever the input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.sim import SimSession
from bispik.backends.verify import verify
from bispik.compiler.bounds import OutputRange, current_range, membrane_bound, output_ranges
from bispik.compiler.calibrate import Rows, largest_integer, rounded, row_scales
from bispik.compiler.fixed_point import MEMBRANE_MAX
from bispik.compiler.float_network import run_float
from bispik.compiler.graph import Neurons, Reset, Spikes, SpikingGraph
from bispik.compiler.lift import lift
from bispik.compiler.program import (
    IntegerJoin,
    IntegerNeurons,
    IntegerNorm,
    IntegerPopulation,
    NeuronProgram,
    QuantizedProgram,
)
from bispik.compiler.quantize import quantize
from bispik.compiler.quantize_neurons import integer_neurons
from bispik.compiler.quantize_options import QuantizeOptions
from bispik.models.errors import BispikError
from tests.checkpoints import random_checkpoint
from tests.neurons import run_neurons

WINDOW = 12


def network(seed: int = 0, **switches: Any) -> tuple[SpikingGraph, npt.NDArray[np.int64]]:
    graph = lift(random_checkpoint(seed, **switches))
    tokens = np.random.default_rng(seed).integers(0, 23, (3, WINDOW))
    return graph, tokens


def options(bits: int = 8, neurons: NeuronProgram = "bispik") -> QuantizeOptions:
    return QuantizeOptions(window=WINDOW, bits=bits, neuron_program=neurons)


THIRD_PARTY: dict[str, Any] = {
    "reset": "zero",
    "block_norm": "pre",
    "pre_spike": False,
    "attention_output_spike": True,
    "ffn_output_spike": False,
    "block_output_spike": True,
    "embedding_spike": False,
    "input_current": "ramp",
    "readout_scale": True,
}

SWITCHES = [
    pytest.param({"current_norm": "batch"}, "bispik", id="paper"),
    pytest.param({"current_norm": "batch", "reset": "zero"}, "stock", id="stock"),
    pytest.param({"reset": "zero", "input_current": "ramp", "input_scale": 3.0}, "bispik", id="ramp"),
    pytest.param(
        {"attention_output_spike": True, "ffn_output_spike": False, "block_output_spike": True, "reset": "zero"},
        "stock",
        id="block sum, stock",
    ),
    pytest.param(
        {"pre_spike": False, "ffn_output_spike": False, "block_output_spike": True, "attention_bias": True},
        "bispik",
        id="block sum, counts through weights",
    ),
    pytest.param(
        {"current_norm": "batch", "spikes": "ternary", "spike_amplitude": 0.8, "steps_per_token": 8},
        "bispik",
        id="ternary",
    ),
    pytest.param(
        {"spikes": "ternary", "reset": "zero", "pre_spike": False, "steps_per_token": 1, "current_norm": "batch"},
        "bispik",
        id="ternary, hard reset, counts through weights",
    ),
    pytest.param(
        {
            "spikes": "ternary",
            "spike_amplitude": 1.5,
            "ffn_output_spike": False,
            "block_output_spike": True,
            "attention_output_spike": True,
        },
        "bispik",
        id="ternary, block sum",
    ),
    pytest.param(THIRD_PARTY, "bispik", id="third party"),
    pytest.param({**THIRD_PARTY, "embedding_spike": True}, "stock", id="third party with spikes only, stock"),
    pytest.param(
        {"block_norm": "pre", "current_norm": "batch", "spikes": "ternary", "spike_amplitude": 0.7},
        "bispik",
        id="norms into neurons, ternary",
    ),
    pytest.param(
        {"embedding_spike": False, "input_current": "ramp", "block_norm": "pre", "pre_spike": False},
        "bispik",
        id="a real stream from the first block to the head",
    ),
]


@pytest.mark.parametrize(("switches", "neurons"), SWITCHES)
def test_no_input_can_drive_a_membrane_out_of_24_bits(switches: dict[str, Any], neurons: NeuronProgram) -> None:
    graph, text = network(**switches)
    program = quantize(graph, text, options(neurons=neurons))
    ranges = output_ranges(program.nodes, program.window)
    for population in program.of_kind(IntegerPopulation):
        if population.sources == (program.injection.name,):
            continue
        for sign in (1, -1):
            assert worst_case_saturations(population, ranges, sign, program) == 0, population.name


def worst_case_saturations(
    population: IntegerPopulation, ranges: Mapping[str, OutputRange], sign: int, program: QuantizedProgram
) -> int:
    """Drive every neuron as strongly as its sources ever could: each to the end of its range, norms along weights."""
    current = np.zeros(population.size)
    for projection in population.inputs:
        weight = np.ones((population.size, 1)) if projection.weight is None else projection.weight.astype(float)
        weight = weight.reshape(population.size, -1) * sign
        source = ranges[projection.source]
        driven = np.where(weight > 0, weight * source.high, weight * source.low).sum(axis=1)
        if source.length is not None:
            driven = np.minimum(driven, np.sqrt((weight**2).sum(axis=1)) * source.length)
        current += sign * driven * 2.0**projection.exponent
    return run_neurons(population.neurons, np.tile(current, (program.steps_per_token, 1)))[2]


@pytest.mark.parametrize(("switches", "neurons"), SWITCHES)
def test_eight_bits_keep_most_spikes_and_never_saturate(switches: dict[str, Any], neurons: NeuronProgram) -> None:
    graph, text = network(**switches)
    program = quantize(graph, text, options(neurons=neurons))
    tokens = np.random.default_rng(5).integers(0, 23, 3 * WINDOW + 1)
    assert verify(graph, program, tokens, 100).spike_agreement > 0.85
    assert not any(SimSession(program).feed(tokens[:WINDOW]).saturations.values())


def test_more_bits_agree_better_with_the_float_network() -> None:
    graph, text = network(current_norm="batch")
    tokens = np.random.default_rng(6).integers(0, 23, 5 * WINDOW + 1)
    agreement = [verify(graph, quantize(graph, text, options(bits)), tokens, 100).spike_agreement for bits in (8, 4, 2)]
    assert agreement == sorted(agreement, reverse=True)


@pytest.mark.parametrize("bits", range(1, 9))
def test_weights_stay_within_their_bits(bits: int) -> None:
    graph, text = network(current_norm="batch")
    program = quantize(graph, text, options(bits))
    dense = [
        projection.weight
        for population in program.of_kind(IntegerPopulation)
        for projection in population.inputs
        if projection.weight is not None
    ]
    assert dense
    for weight in [*dense, program.readout.weight]:
        assert np.abs(weight.astype(int)).max() == largest_integer(bits)
        assert bits > 1 or set(np.unique(weight)) <= {-1, 1}


def test_stock_neurons_share_one_threshold_that_lava_can_represent() -> None:
    graph, text = network(current_norm="batch", reset="zero")
    for population in quantize(graph, text, options(neurons="stock")).of_kind(IntegerPopulation):
        neurons = population.neurons
        assert len(set(neurons.threshold.tolist())) == 1
        assert neurons.threshold[0] % 64 == 0
        assert 0 < neurons.threshold[0] >> 6 < 1 << 17
        shift = min((value & -value).bit_length() - 1 for value in neurons.bias.tolist() if value)
        mantissas = neurons.bias >> shift
        assert np.abs(mantissas).max() < 1 << 12


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_stock_refuses_ternary_spikes(reset: str) -> None:
    graph, text = network(spikes="ternary", reset=reset)
    message = r"--neurons stock: .* only spikes 0 or 1, but 17 populations .* \(the first is embed\).*--neurons bispik"
    with pytest.raises(BispikError, match=message):
        quantize(graph, text, options(neurons="stock"))


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("steps", range(1, 9))
def test_ternary_networks_of_every_length_keep_their_spikes(reset: str, steps: int) -> None:
    # One layer: free-running networks drift apart from layer to layer.
    switches: dict[str, Any] = {"spikes": "ternary", "reset": reset, "steps_per_token": steps, "current_norm": "batch"}
    graph, text = network(num_layers=1, **switches)
    program = quantize(graph, text, options())
    tokens = np.random.default_rng(5).integers(0, 23, 3 * WINDOW + 1)
    found = verify(graph, program, tokens, 100)
    assert found.spike_agreement > 0.85
    assert min(p.spike_agreement for p in found.populations[:2]) > 0.97
    activity = SimSession(program).feed(tokens[:WINDOW])
    assert not any(activity.saturations.values())
    assert any(output.min() < 0 for output in activity.outputs.values())
    assert sum(int(np.count_nonzero(output)) for output in activity.outputs.values()) > 0


def test_stock_refuses_a_stream_that_its_shared_threshold_cannot_resolve() -> None:
    graph, text = network(**THIRD_PARTY)
    with pytest.raises(BispikError, match=r"block_00/sum: .* units too different .* --neurons bispik"):
        quantize(graph, text, options(neurons="stock"))


def test_a_stream_takes_the_finest_unit_that_all_its_readers_can_take() -> None:
    graph, text = network(**THIRD_PARTY)
    stream = quantize(graph, text, options()).node("stream")
    assert isinstance(stream, IntegerJoin)
    largest = np.abs(run_float(graph, np.random.default_rng(0).integers(0, 23, (3, WINDOW))).outputs["stream"]).max()
    assert 2**6 * largest < stream.maximum < 2**15


@pytest.mark.parametrize("bits", [8, 4])
def test_weights_behind_a_norm_use_all_their_bits(bits: int) -> None:
    """A norm's fractions are room enough: its readers' weights must not be cut down to make more."""
    graph, text = network(**THIRD_PARTY)
    program = quantize(graph, text, options(bits=bits))
    norms = {norm.name for norm in program.of_kind(IntegerNorm)}
    readers = [node for node in program.of_kind(IntegerPopulation) if norms & set(node.sources)]
    assert len(readers) == 8
    for node in readers:
        weight = node.inputs[0].weight
        assert weight is not None
        assert np.abs(weight.astype(int)).max(axis=1).min() > largest_integer(bits) / 2, node.name


def test_a_stream_that_spikes_would_push_past_16_bits_takes_a_coarser_unit() -> None:
    """The embedding alone fits units of 2^-10 by a hair; every block's spikes are worth 1,024 of them."""
    switches = {**THIRD_PARTY, "ffn_output_spike": True, "block_output_spike": False}
    graph, text = network(2, input_scale=16.05, **switches)
    program = quantize(graph, text, QuantizeOptions(window=WINDOW, head_on_chip=False))
    joins = program.of_kind(IntegerJoin)
    assert 2 * joins[0].maximum < 2**15 < 2 * joins[1].maximum
    assert joins[1].exponents == (0, 9)
    SimSession(program).feed(np.arange(WINDOW))


def test_a_stream_that_no_unit_brings_into_16_bits_is_refused() -> None:
    graph, text = network(0, input_scale=800.0, **THIRD_PARTY)
    with pytest.raises(BispikError, match=r"stream: the residual stream reaches [\d.]+, .* 2\^-4; .* input_scale"):
        quantize(graph, text, options())


def test_stock_refuses_a_soft_reset() -> None:
    graph, text = network()
    with pytest.raises(BispikError, match=r"--neurons stock.*use --neurons bispik"):
        quantize(graph, text, options(neurons="stock"))


@pytest.mark.parametrize(("window", "bits", "message"), [(13, 8, "--window 13.*12 positions"), (12, 9, "--bits 9")])
def test_impossible_options_are_refused(window: int, bits: int, message: str) -> None:
    graph, text = network()
    with pytest.raises(BispikError, match=message):
        quantize(graph, text, QuantizeOptions(window=window, bits=bits))


@given(
    threshold=st.floats(0.01, 50.0),
    scale=st.floats(0.5, 5000.0),
    membrane=st.integers(-300_000, 300_000),
    fire=st.sampled_from(["ge", "gt"]),
)
def test_the_integer_threshold_decides_exactly_as_the_real_one(
    threshold: float, scale: float, membrane: int, fire: str
) -> None:
    neurons = Neurons(
        decay=0.9, threshold=np.array([threshold]), bias=np.zeros(1), reset="soft", fire="ge" if fire == "ge" else "gt"
    )
    strict = int(integer_neurons(neurons, np.array([scale]), "bispik").threshold[0])
    exact = min(threshold * scale, float(MEMBRANE_MAX))
    assert strict >= 0  # so that a ternary neuron never reaches both thresholds
    for v in (membrane, -membrane):
        assert (v > strict) == (v >= exact if fire == "ge" else v > exact)


@given(
    weight=st.lists(st.integers(-127, 127), min_size=1, max_size=6),
    outputs=st.tuples(st.integers(-5, 0), st.integers(0, 5)),
    data=st.data(),
)
def test_no_inputs_leave_the_range_of_a_current(
    weight: list[int], outputs: tuple[int, int], data: st.DataObject
) -> None:
    rows = np.array([weight], float)
    low, high = current_range(rows, OutputRange(*outputs))
    inputs = data.draw(st.lists(st.integers(*outputs), min_size=len(weight), max_size=len(weight)))
    assert low[0] <= (rows @ inputs)[0] <= high[0]
    extremes = [[outputs[int(w > 0)] for w in weight], [outputs[int(w <= 0)] for w in weight]]
    assert [(rows @ extreme)[0] for extreme in extremes] == [high[0], low[0]]


@settings(max_examples=200)
@given(
    currents=st.lists(st.integers(-50, 50), min_size=1, max_size=8),
    decay=st.integers(0, 4095),
    threshold=st.integers(0, 60),
    subtract=st.integers(0, 80),
    bias=st.integers(-20, 20),
    spikes=st.sampled_from(["binary", "ternary"]),
    reset=st.sampled_from(["soft", "hard"]),
)
def test_no_membrane_leaves_its_bound(
    currents: list[int], decay: int, threshold: int, subtract: int, bias: int, spikes: Spikes, reset: Reset
) -> None:
    one = np.ones(1, np.int32)
    subtract = subtract if reset == "soft" else 0
    neurons = IntegerNeurons(
        program="bispik",
        reset=reset,
        spikes=spikes,
        decay=decay,
        threshold=threshold * one,
        subtract=subtract * one,
        bias=bias * one,
    )
    _, membranes, _ = run_neurons(neurons, np.array(currents)[:, None])
    low, high = np.full(1, float(min(currents))), np.full(1, float(max(currents)))
    bound = membrane_bound(
        low, high, np.full(1, float(bias)), np.full(1, float(subtract)), spikes, decay, len(currents)
    )
    assert np.abs(membranes).max() <= bound[0]


def test_calibration_finds_a_scale_at_least_as_good_as_the_largest_weight() -> None:
    random = np.random.default_rng(0)
    weight, inputs = random.standard_t(2, (6, 40)), (random.random((200, 40)) < 0.2).astype(float)

    def error(scale: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        squares: npt.NDArray[np.float64] = (
            ((rounded(weight, scale, 4) / scale[:, None] - weight) @ inputs.T) ** 2
        ).sum(axis=1)
        return squares

    plain = largest_integer(4) / np.abs(weight).max(axis=1)
    chosen = row_scales(Rows.of(weight), inputs, 4, per_row=True)
    assert np.all(error(chosen) <= error(plain))
    assert error(chosen).sum() < 0.8 * error(plain).sum()


@pytest.mark.parametrize("factor", [0.0, 1e-8, 1e-5, 1e-3])
@pytest.mark.parametrize(("switches", "neurons"), SWITCHES)
def test_a_row_with_hardly_any_weight_changes_nothing_for_the_others(
    switches: dict[str, Any], neurons: NeuronProgram, factor: float
) -> None:
    checkpoint = random_checkpoint(0, **switches)
    for name in ("blocks.0.ffn.fc1.weight", "blocks.0.ffn.fc2.weight"):
        checkpoint.tensors[name][0] *= factor
    graph = lift(checkpoint)
    tokens = np.random.default_rng(0).integers(0, 23, (3, WINDOW))
    program = quantize(graph, tokens, options(neurons=neurons))
    found = verify(graph, program, np.random.default_rng(5).integers(0, 23, 3 * WINDOW + 1), 100)
    assert min(p.spike_agreement for p in found.populations if p.name.startswith("block_00")) > 0.8


def test_a_neuron_that_its_norm_silenced_stays_silent() -> None:
    checkpoint = random_checkpoint(0, current_norm="batch")
    checkpoint.tensors["blocks.0.attention.input_spike.log_gain"][0] = -12.0
    checkpoint.tensors["blocks.0.attention.input_spike.bias"][0] = 0.0
    graph = lift(checkpoint)
    tokens = np.random.default_rng(0).integers(0, 23, (3, WINDOW))
    program = quantize(graph, tokens, options())
    assert not SimSession(program).feed(tokens[0]).outputs["block_00/attn/input"][:, :, 0].any()


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_stock_neurons_take_few_bits_too(bits: int) -> None:
    graph, text = network(current_norm="batch", reset="zero")
    assert quantize(graph, text, options(bits, "stock")).bits == bits


def test_a_head_whose_accumulators_could_overflow_is_written_coarser() -> None:
    sizes = {"hidden_size": 256, "num_layers": 24, "steps_per_token": 8}
    checkpoint = random_checkpoint(0, norm_batches=1, current_norm="batch", **sizes)
    table = checkpoint.tensors["token_embedding.weight"]
    checkpoint.tensors["final_norm.weight"].fill_(1)
    table.copy_(table.sign())  # all as large as the largest: a row can reach 127 * 256 * 8 steps * 49 spikes
    graph = lift(checkpoint)
    text = np.zeros((1, 4), np.int64)
    on_chip, on_host = (
        quantize(graph, text, QuantizeOptions(window=WINDOW, head_on_chip=head)).readout for head in (True, False)
    )
    reached = np.abs(on_chip.weight.astype(np.int64)).sum(axis=1).max() * 8 * 49
    assert 0.95 * MEMBRANE_MAX < reached <= MEMBRANE_MAX
    assert np.abs(on_host.weight.astype(np.int64)).sum(axis=1).max() * 8 * 49 > MEMBRANE_MAX
    assert on_chip.scale > on_host.scale
