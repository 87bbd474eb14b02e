"""Bits go where they matter, and what a population costs is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bispik.compiler.graph import Population, Readout
from bispik.compiler.lift import lift
from bispik.compiler.mixed_precision import ladder
from bispik.compiler.program import IntegerPopulation
from bispik.compiler.quantize import quantize
from bispik.compiler.quantize_options import QuantizeOptions
from bispik.compiler.sensitivity import losses_alone, matrix_nodes
from bispik.compiler.shapes import graph_shape, program_shape
from tests.checkpoints import random_checkpoint
from tests.compiler.test_quantize import THIRD_PARTY

IDS = np.random.default_rng(0).integers(0, 23, (3, 12))


def test_the_matrix_that_loses_least_per_byte_gives_up_bits_first() -> None:
    sizes = {"large": 1000, "small": 10, "precious": 1000}
    losses = {
        8: {"large": 0.0, "small": 0.0, "precious": 0.0},
        4: {"large": 0.1, "small": 0.01, "precious": 5.0},
        2: {"large": 0.5, "small": 0.005, "precious": 9.0},  # noise: 2 bits are taken to be no better than 4
    }
    steps = ladder(sizes, losses)
    order = [tuple(step.bits[name] for name in sizes) for step in steps]
    assert order == [(8, 8, 8), (4, 8, 8), (4, 2, 8), (2, 2, 8), (2, 2, 4), (2, 2, 2)]
    assert [step.weight_bytes for step in steps] == sorted((step.weight_bytes for step in steps), reverse=True)
    assert steps[0].weight_bytes == 2010
    assert steps[-1].predicted_loss == pytest.approx(0.5 + 0.01 + 9.0)


@pytest.mark.parametrize("form", [{"current_norm": "batch"}, THIRD_PARTY, {"spikes": "ternary"}])
def test_fewer_bits_of_one_population_cost_more(form: dict[str, Any]) -> None:
    graph = lift(random_checkpoint(0, **form))
    names = [node.name for node in graph.nodes if isinstance(node, Population | Readout)]
    totals: list[float] = []
    for bits in (8, 4, 1):
        program = quantize(graph, IDS, QuantizeOptions(window=12, bits=bits))
        losses = losses_alone(graph, program, IDS, names)
        assert list(losses) == names
        assert min(loss.divergence for loss in losses.values()) >= -1e-12
        totals.append(sum(losses[name].divergence for name in matrix_nodes(graph)))
    assert totals == sorted(totals)
    assert totals[0] < 0.2 * totals[-1]


def test_bits_by_node_are_those_of_the_program_and_of_its_plan() -> None:
    graph = lift(random_checkpoint(0, current_norm="batch"))
    wanted = {"block_00/attn/key": 2, "block_01/ffn/fc1": 4, "head": 3}
    program = quantize(graph, IDS, QuantizeOptions(window=12, node_bits=wanted))
    assert program.bits_by_node == {**dict.fromkeys(matrix_nodes(graph), 8), **wanted}
    key = program.node("block_00/attn/key")
    assert isinstance(key, IntegerPopulation)
    assert key.inputs[0].weight is not None
    assert np.abs(key.inputs[0].weight).max() == 1
    planned = graph_shape(graph, bits=8, window=12, node_bits=wanted)
    assert [node.inputs for node in planned.nodes] == [node.inputs for node in program_shape(program).nodes]
