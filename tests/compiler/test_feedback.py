"""Few bits keep the network: feedback between weights, choices by spikes, and integers that training chose."""

from __future__ import annotations

import numpy as np
import pytest

from bispik.backends.verify import verify
from bispik.compiler import feedback
from bispik.compiler.calibrate import Rows, largest_integer, rounded
from bispik.compiler.feedback import Feedback
from bispik.compiler.graph import Neurons
from bispik.compiler.lift import lift
from bispik.compiler.matching import Match, wanted
from bispik.compiler.program import IntegerPopulation, QuantizedProgram
from bispik.compiler.quantize import quantize
from bispik.compiler.quantize_options import QuantizeOptions, Rounding
from tests.checkpoints import random_checkpoint


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("together", [64, 1024])
def test_currents_change_less_than_with_each_weight_to_the_nearest(
    bits: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "COLUMNS_TOGETHER", together)
    random = np.random.default_rng(0)
    common = random.random((600, 8)) @ random.random((8, 160))  # inputs that come together
    inputs = (common > np.quantile(common, 0.8)).astype(np.float32)
    weight = random.normal(size=(20, 160))
    scale = largest_integer(bits) / np.abs(weight).max(axis=1) if bits > 1 else 1 / np.abs(weight).mean(axis=1)

    def error(integers: np.ndarray) -> float:
        return float(np.square((integers / scale[:, None] - weight) @ inputs.T).sum())

    found = Feedback(inputs).rounded(Rows.of(weight), scale, bits)
    assert np.abs(found).max() <= largest_integer(bits)
    assert error(found) < 0.5 * error(rounded(weight, scale, bits))


def test_a_drive_that_is_too_weak_is_made_up_for_by_bias_and_threshold() -> None:
    random = np.random.default_rng(1)
    neurons = Neurons(decay=0.9, threshold=np.ones(6), bias=np.full(6, 0.1), reset="soft", fire="ge")
    drive = random.normal(0.25, 0.5, (4, 3, 100, 6))
    membranes, spikes = np.zeros_like(drive), np.zeros_like(drive)
    membrane, spike = np.zeros(drive.shape[1:]), np.zeros(drive.shape[1:])
    for step in range(4):
        membrane = 0.9 * membrane + drive[step] - spike
        spike = (membrane >= 1).astype(float)
        membranes[step], spikes[step] = membrane, spike
    found = wanted(neurons, spikes, membranes)
    np.testing.assert_allclose(found.drive, drive.reshape(4, 300, 6), atol=1e-5)
    match = Match(neurons, found, {}, {})
    lacking = found.drive - np.float32(0.2)
    moves = match.placed(lacking)
    assert match.errors(lacking, moves).sum() < 0.2 * match.errors(lacking, match.still()).sum()
    same = match.placed(found.drive)  # nothing helps where nothing is wrong
    assert not same.bias.any()
    assert not same.threshold.any()


def program_of(seed: int, bits: int, rounding: Rounding) -> tuple[QuantizedProgram, float]:
    graph = lift(random_checkpoint(seed, current_norm="batch", hidden_size=32, intermediate_size=64))
    random = np.random.default_rng(seed)
    options = QuantizeOptions(window=12, bits=bits, rounding=rounding)
    program = quantize(graph, random.integers(0, 23, (24, 12)), options)
    return program, verify(graph, program, random.integers(0, 23, 200), 100).spike_agreement


@pytest.mark.parametrize("bits", [2, 3])
def test_spikes_agree_best_where_spikes_chose_and_worst_with_one_scale(bits: int) -> None:
    roundings: list[Rounding] = ["spikes", "nearest", "naive"]
    agreement = [np.mean([program_of(seed, bits, rounding)[1] for seed in range(2)]) for rounding in roundings]
    assert agreement == sorted(agreement, reverse=True)


def test_one_scale_a_matrix_is_one_scale_a_matrix() -> None:
    program, _ = program_of(0, 4, "naive")
    for node in program.of_kind(IntegerPopulation):
        if any(entry.weight is not None and entry.weight.ndim == 2 for entry in node.inputs):
            assert len(set(program.membrane_scale[node.name].tolist())) == 1


def test_the_same_text_gives_the_same_integers() -> None:
    one, two = (program_of(3, 3, "spikes")[0] for _ in range(2))
    for first, second in zip(one.of_kind(IntegerPopulation), two.of_kind(IntegerPopulation), strict=True):
        np.testing.assert_array_equal(first.neurons.bias, second.neurons.bias)
        np.testing.assert_array_equal(first.neurons.threshold, second.neurons.threshold)
        for left, right in zip(first.inputs, second.inputs, strict=True):
            assert (left.weight is None) == (right.weight is None)
            if left.weight is not None:
                np.testing.assert_array_equal(left.weight, right.weight)
    np.testing.assert_array_equal(one.readout.weight, two.readout.weight)
