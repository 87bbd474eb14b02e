"""``--budget``: the limit is kept, and what is taken is what loses least on text."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest

from bispik.backends.verify import verify
from bispik.cli.precision import Budget, Search, options_within, parse_budget
from bispik.compiler.lift import lift
from bispik.compiler.quantize import quantize
from bispik.compiler.quantize_options import QuantizeOptions
from bispik.compiler.sensitivity import matrix_nodes
from bispik.models.bispikclm.data import TokenText
from bispik.models.errors import BispikError
from tests.checkpoints import random_checkpoint

IDS = np.random.default_rng(0).integers(0, 23, (3, 12))


def search(bits: int = 8) -> Search:
    graph = lift(random_checkpoint(0, current_norm="batch"))
    sizes = matrix_nodes(graph)

    def size(widths: Mapping[str, int]) -> tuple[int, int]:
        neurocores = -(-sum(sizes[name] * width for name, width in widths.items()) // 1000)
        return -(-neurocores // 4), neurocores

    return Search(
        graph=graph,
        options=QuantizeOptions(window=12, bits=bits),
        chosen_on=TokenText(ids=np.random.default_rng(1).integers(0, 23, 60), num_bytes=200),
        size=size,
        quantized=partial(quantize, graph, IDS),
        show=lambda _title: None,
    )


@pytest.mark.parametrize("text", ["neurocores=11", "chips=2"])
def test_a_size_is_kept_without_giving_up_all(text: str) -> None:
    given, budget = search(), parse_budget(text)
    found = options_within(budget, given)
    assert found.node_bits.keys() == matrix_nodes(given.graph).keys()
    chips, neurocores = given.size(found.node_bits)
    assert (neurocores if budget.measure == "neurocores" else chips) <= budget.limit
    assert neurocores > given.size(dict.fromkeys(found.node_bits, 1))[1]
    assert found == options_within(budget, given)  # the same again


def test_a_loss_is_kept() -> None:
    given = search(bits=6)
    found = options_within(Budget("bpb", 0.02), given)
    program, text = given.quantized(found), given.chosen_on
    compared = verify(given.graph, program, text.ids.astype(np.int64), text.num_bytes)
    assert compared.bpb_integer <= 1.02 * compared.bpb_float
    assert max(found.node_bits.values()) <= 6


def test_a_size_that_no_width_keeps_is_refused_with_the_least_that_is_needed() -> None:
    with pytest.raises(
        BispikError, match=r"--budget neurocores=2: with 1 bit everywhere .* 4 neurocores; give 4 or more"
    ):
        options_within(parse_budget("neurocores=2"), search())
