"""Rows that read more than a neurocore holds: cut into parts whose sums are relayed, or refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bispik.backends.reference import ReferenceSession
from bispik.compiler.artifact import check_mapped, load_program, save_program
from bispik.compiler.fan_in import split_fan_in
from bispik.compiler.mapping import MappedProgram, Slice
from bispik.compiler.plan import map_program, plan
from bispik.compiler.rules import check
from bispik.compiler.target import Limit, load_target
from bispik.models.errors import BispikError
from tests.compiler.shape_examples import SIZES_1_3B, language_model
from tests.compiler.test_partition import require_everything_stored_once
from tests.mapped_run import MappedRun
from tests.mappings import few_axons, placed
from tests.networks import Form, cut_form, forms, random_program, random_tokens

LOIHI2 = load_target("loihi2")
LOIHI1 = load_target("loihi1")

seeds = st.integers(0, 1000)


@given(forms, seeds, st.integers(6, 9), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_program_with_cut_rows_gives_the_spikes_of_the_unmapped_one(
    form: Form, seed: int, axons: int, wide: bool
) -> None:
    program = random_program(seed, **cut_form(form, seed, wide=wide))
    tokens = random_tokens(program, seed)
    mapped = placed(program, few_axons(axons))
    assert all(core.used("axons_in") <= axons for core in mapped.neurocores)
    expected, found = ReferenceSession(program).feed(tokens), MappedRun(mapped, tokens)
    for name, outputs in expected.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], outputs)
    np.testing.assert_array_equal(found.accumulators, expected.accumulators)


@given(forms, seeds, st.integers(6, 9), st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_synapse_of_a_cut_row_is_in_one_part(form: Form, seed: int, axons: int, wide: bool) -> None:
    program = random_program(seed, **cut_form(form, seed, wide=wide))
    mapped = placed(program, few_axons(axons))
    for node, index in dict.fromkeys((part.node, part.index) for part in mapped.parts):
        source = program.node(program.node(node).sources[index])
        held = np.zeros((program.node(node).size, source.size), int)
        for name in (part.name for part in mapped.parts if (part.node, part.index) == (node, index)):
            for part in slices_of(mapped, name):
                (entry,) = part.inputs
                assert (entry.source, entry.index) == (source.name, index)
                held[part.start : part.stop, entry.start : entry.stop] += 1
        assert (held == 1).all()


def slices_of(mapped: MappedProgram, node: str) -> list[Slice]:
    return [part for core in mapped.neurocores for part in core.slices if part.node == node]


@given(forms, seeds, st.booleans())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_holds_the_parts(tmp_path: Path, form: Form, seed: int, wide: bool) -> None:
    mapped = placed(random_program(seed, **cut_form(form, seed, wide=wide)), few_axons(9))
    first, second = tmp_path / "first.bspk", tmp_path / "second.bspk"
    save_program(mapped, first)
    loaded = load_program(first)
    assert (loaded.parts, loaded.skew) == (mapped.parts, mapped.skew)
    save_program(loaded, second)
    assert first.read_bytes() == second.read_bytes()


def cut_program() -> MappedProgram:
    return map_program(random_program(1, heads=2, head_dim=2, inner=20), few_axons(8))


def test_what_is_behind_a_relay_comes_a_step_later() -> None:
    program = random_program(1, heads=2, head_dim=2, inner=20)
    cut, whole = map_program(program, few_axons(8)).skew, map_program(program, few_axons(20)).skew
    assert {part.node for part in cut_program().parts} == {"block_00/ffn/fc2", "block_01/ffn/fc2"}
    assert cut["block_00/ffn/fc1"] == whole["block_00/ffn/fc1"]
    assert cut["block_00/ffn/fc2/part_0"] == whole["block_00/ffn/fc2"]
    assert cut["block_00/ffn/fc2"] == whole["block_00/ffn/fc2"] + 1
    assert cut["head"] == whole["head"] + 2


def test_a_matrix_of_16384_inputs_is_cut_where_it_takes_the_fewest_neurocores() -> None:
    """OPT-6.7B's `fc2`. A row alone would need 16,384 axons of 16,000."""
    network = language_model(layers=1, hidden=4096, inner=16384, heads=32, vocabulary=2048)
    split = split_fan_in(network, LOIHI2)
    assert {part.node for part in split.parts} == {"block_00/ffn/fc2"}
    assert [(part.start, part.stop) for part in split.parts] == [(0, 4096), (4096, 8192), (8192, 12288), (12288, 16384)]
    made = plan(network, LOIHI2)
    require_everything_stored_once(made.network, made.packing.slices())
    assert made.neurocores <= 1.08 * made.neurocores_lower_bound


def test_what_fits_is_not_cut() -> None:
    network = language_model(**SIZES_1_3B, window=256)
    assert split_fan_in(network, LOIHI2) == network


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: replace(m, parts=m.parts[1:]), "block_00/ffn/fc2: parts that leave gaps"),
        (lambda m: replace(m, parts=(*m.parts, m.parts[0])), "parts with names that others have"),
        (lambda m: replace(m, parts=(replace(m.parts[0], index=3), *m.parts[1:])), "part_0: a part of nothing"),
        (lambda m: replace(m, parts=(replace(m.parts[0], source="embed"), *m.parts[1:])), "part_0: a part of nothing"),
        (lambda m: replace(m, parts=()), "a neurocore holds a part of a node that is not there"),
        (lambda m: replace(m, neurocores=without(m, m.parts[0].name)), "part_0: not on neurocores exactly once"),
    ],
)
def test_a_file_whose_parts_do_not_fit_together_is_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    check_mapped(cut_program(), "a file")
    with pytest.raises(BispikError, match=message):
        check_mapped(change(cut_program()), "a file")


def without(mapped: MappedProgram, node: str):  # type: ignore[no-untyped-def]
    return tuple(
        replace(core, slices=tuple(part for part in core.slices if part.node != node)) for core in mapped.neurocores
    )


def test_sums_that_a_graded_spike_cannot_carry_are_refused() -> None:
    mapped = cut_program()
    storage = replace(mapped.target.storage, spike_payload_bits=Limit(value=8, unit="bits", source="a test", grade="X"))
    with pytest.raises(BispikError, match=r"part_0: sums of up to \d+ take \d+ bits; a graded spike carries 8"):
        check(replace(mapped, target=replace(mapped.target, storage=storage)))


def test_a_name_that_a_part_would_have_is_refused() -> None:
    network = language_model(layers=1, inner=17_000)
    nodes = tuple(
        replace(node, name="block_00/ffn/fc2/part_0") if node.name == "head" else node for node in network.nodes
    )
    with pytest.raises(BispikError, match=r"block_00/ffn/fc2/part_0: .* give this node another name"):
        split_fan_in(replace(network, nodes=nodes), LOIHI2)
