"""A configuration alone has the shape of the network that is lifted and quantised."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from bispik.compiler.config_shape import config_shape
from bispik.compiler.lift import lift
from bispik.compiler.program import NeuronProgram
from bispik.compiler.shapes import graph_shape
from bispik.models.errors import BispikError
from tests.checkpoints import random_checkpoint

RESIDUALS = (
    {"ffn_output_spike": True, "block_output_spike": False},
    {"ffn_output_spike": True, "block_output_spike": True},
    {"ffn_output_spike": False, "block_output_spike": True},
)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_it_is_the_shape_of_the_lifted_checkpoint(residual: dict[str, Any]) -> None:
    programs: tuple[NeuronProgram, ...] = ("bispik", "stock")
    switches = itertools.product((False, True), (False, True), (False, True), ("none", "pre"), ("binary", "ternary"))
    for number, (embedding, pre, mixed, norm, spikes) in enumerate(switches):
        checkpoint = random_checkpoint(
            norm_batches=0,
            embedding_spike=embedding,
            pre_spike=pre,
            attention_output_spike=mixed,
            block_norm=norm,
            spikes=spikes,
            current_norm="batch" if number % 2 else "none",
            attention_bias=number % 3 == 0,
            steps_per_token=1 + number % 8,
            **residual,
        )
        graph = lift(checkpoint)
        cases: tuple[tuple[int, NeuronProgram, bool], ...] = ((8, programs[number % 2], True), (3, "bispik", False))
        for bits, program, head in cases:
            expected = graph_shape(graph, bits=bits, window=9, neuron_program=program, head_on_chip=head)
            found = config_shape(checkpoint.config, bits=bits, window=9, neuron_program=program, head_on_chip=head)
            assert found == expected


def test_a_network_that_cannot_be_compiled_has_none() -> None:
    config = random_checkpoint(norm_batches=0, ffn_output_spike=False).config
    with pytest.raises(BispikError, match="ffn_output_spike = false"):
        config_shape(config, bits=8, window=4)
