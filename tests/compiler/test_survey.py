from __future__ import annotations

from dataclasses import replace

import pytest

from bispik.compiler.partition import partition
from bispik.compiler.plan import plan
from bispik.compiler.shapes import NetworkShape
from bispik.compiler.survey import BITS, PARTS, part_uses, survey
from bispik.compiler.target import Limit, load_target
from tests.compiler.shape_examples import SIZES_125M, language_model

LOIHI2 = load_target("loihi2")


def opt_125m(bits: int, window: int) -> NetworkShape:
    return language_model(**SIZES_125M, bits=bits, window=window)


def test_every_case_has_the_numbers_of_its_own_mapping() -> None:
    cases = survey(opt_125m, LOIHI2, (8, 2), (256, 1024))
    assert [(case.window, case.bits) for case in cases] == [(256, 8), (256, 2), (1024, 8), (1024, 2)]
    for case in cases:
        assert case.plan
        cut = partition(opt_125m(case.bits, case.window), LOIHI2)
        assert case.plan.neurocores == len(cut)
        assert case.plan.chips == -(-len(cut) // 120)
        for use in case.plan.resources:
            assert use.total == sum(part.use[use.resource] for slices in cut for part in slices)


@pytest.mark.parametrize("bits", BITS)
def test_parts_make_up_the_whole(bits: int) -> None:
    made = plan(opt_125m(bits, 1024), LOIHI2)
    parts = part_uses(made)
    assert tuple(parts) == PARTS
    for use in made.resources:
        assert sum(part.use[use.resource] for part in parts.values()) == use.total
    for part in parts.values():
        worth = {use.resource: part.use[use.resource] / use.limit for use in made.resources}
        assert part.neurocores == worth[part.limited_by] == max(worth.values())


def test_each_part_holds_what_its_name_says() -> None:
    parts = part_uses(plan(opt_125m(8, 1024), LOIHI2))
    assert parts["embedding"].use["neurons"] == 768
    assert parts["embedding"].use["synapse_memory"] == 0
    assert parts["kv_state"].use["neurons"] == 12 * 12 * 1024
    assert parts["kv_state"].use["memory"] == 12 * 12 * 1024 * (3 + 4 * 64 * 2 // 8)
    assert parts["head"].use["synapse_memory"] == 50272 * 768
    assert parts["body"].use["synapse_memory"] == 12 * (4 * 768 * 768 + 2 * 768 * 3072 + 6 * 768)


def test_stored_state_grows_with_the_window_alone() -> None:
    small, large = (part_uses(plan(opt_125m(8, window), LOIHI2)) for window in (256, 2048))
    assert large["kv_state"].use["memory"] == 8 * small["kv_state"].use["memory"]
    assert large["head"].use["synapse_memory"] == small["head"].use["synapse_memory"]


def test_a_head_on_the_host_is_no_part() -> None:
    made = plan(language_model(**SIZES_125M, window=256, head_on_chip=False), LOIHI2)
    assert "head" not in part_uses(made)


def test_what_fits_on_no_board_says_how_far_off_it_is() -> None:
    board = replace(LOIHI2, systems={"oheo-gulch": LOIHI2.system("oheo-gulch")})
    (case,) = survey(opt_125m, board, (8,), (256,))
    assert case.plan
    assert case.plan.system is None
    assert case.plan.of_largest_system == case.plan.neurocores / 120


def test_a_width_at_which_one_row_is_too_large_does_not_stop_the_others() -> None:
    limit, word, none = (Limit(value=value, unit="", source="a test", grade="X") for value in (6_500, 4, 0))
    small = replace(
        LOIHI2,
        resources=replace(LOIHI2.resources, synapse_memory=limit),
        storage=replace(LOIHI2.storage, synapse_word_bits=word, spike_payload_bits=none),  # rows are not cut
    )
    cases = survey(lambda bits, window: language_model(inner=8_000, bits=bits, window=window), small, (8, 4), (128,))
    assert cases[0].plan is None
    assert "one row needs synapse memory 8,000 of 6,500" in cases[0].refused
    assert cases[1].plan
