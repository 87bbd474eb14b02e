"""Stream programs on neurocores: what lies where, what it takes, and what a target refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from bispik.compiler.plan import map_program
from bispik.compiler.stream.mapping import map_stream, plan_stream
from bispik.compiler.stream.program import (
    StreamProgram,
)
from bispik.compiler.stream.rules import check_stream
from bispik.compiler.stream.shape import stream_shape
from bispik.compiler.stream.wiring import Dense, OneToOne, Sparse, Wiring
from bispik.compiler.target import Limit, load_target
from bispik.models.errors import BispikError
from tests.networks import random_program
from tests.stream.layers import CONVOLUTION, one_layer, row
from tests.stream.mappings import mapped_small
from tests.stream.random_programs import programs

LOIHI2 = load_target("loihi2")
LOIHI1 = load_target("loihi1")


@settings(max_examples=60, deadline=None)
@given(programs())
def test_every_neuron_and_its_synapses_lie_on_one_neurocore(program: StreamProgram) -> None:
    mapped = mapped_small(program)
    check_stream(mapped, program, stream_shape(program, mapped.timing))
    held = {population.name: np.zeros(population.size, int) for population in program.populations}
    for part in (part for core in mapped.neurocores for part in core.slices):
        held[part.node][part.start : part.stop] += 1
        assert [entry.source for entry in part.inputs] == [p.source for p in program.population(part.node).inputs]
    assert all((count == 1).all() for count in held.values())
    for core in mapped.neurocores:
        assert all(core.used(name) <= limit.value for name, limit in mapped.target.resources.items())


@settings(max_examples=20, deadline=None)
@given(programs())
def test_the_same_program_lies_at_the_same_places(program: StreamProgram) -> None:
    assert mapped_small(program).neurocores == mapped_small(program).neurocores


def used(program: StreamProgram, target: str = "loihi2") -> dict[str, int]:
    """Use of each resource over all neurocores."""
    return {use.resource: use.total for use in map_stream(program, load_target(target)).resources}


@pytest.mark.parametrize(
    ("wiring", "synapse_bytes", "axons_in"),
    [
        (Dense(inputs=10, outputs=6), 60, 10),
        (OneToOne(size=6), 6, 6),
        (CONVOLUTION, 4 * 2 * 9, 128),  # each kernel once
        (row(20, 20, 3), 20 * -(-3 * (8 + 12) // 8), 20),  # 3 weights and indices behind each axon, in whole bytes
        (row(6, 6, 5), 36, 6),  # as a matrix it takes less
    ],
)
def test_each_format_takes_what_its_synapses_need(wiring: Wiring, synapse_bytes: int, axons_in: int) -> None:
    found = used(one_layer(wiring))
    assert (found["synapse_memory"], found["axons_in"]) == (synapse_bytes, axons_in)
    assert found["neurons"] == found["axons_out"] == wiring.outputs
    assert found["state_memory"] == 12 * wiring.outputs


def test_a_neurocore_has_axons_only_for_what_its_rows_read() -> None:
    """4,160 neurons of a map; one neurocore has 4,095, so that a second one gets a patch of 4 x 16 and one more."""
    wiring = replace(CONVOLUTION, source=(1, 64, 65), target=(1, 64, 65))
    mapped = map_stream(one_layer(wiring), LOIHI2)
    assert len(mapped.neurocores) == 2
    first, second = (core.slices[0] for core in mapped.neurocores)
    assert second.use["neurons"] == 4 * 16 + 1
    assert second.use["axons_in"] == 5 * 17 + 2  # a row above and a column beside the patch; two beside the last one
    assert 4095 < first.use["axons_in"] < 4160
    assert second.inputs[0].start == 59 * 65


def test_what_waits_takes_a_bit_a_step_and_a_number_its_bits() -> None:
    wiring = Dense(inputs=80, outputs=4)
    base = used(one_layer(wiring))["state_memory"]
    assert used(one_layer(wiring, delay=6))["state_memory"] == base + 80 * 6 // 8
    assert used(one_layer(wiring, delay=6, high=15))["state_memory"] == base + 80 * 6 * 4 // 8


def test_currents_and_decays_of_their_own_take_state() -> None:
    program = one_layer(OneToOne(size=8))
    population = program.populations[0]

    def state(**arrays: Any) -> int:
        changed = replace(population, neurons=replace(population.neurons, **arrays))
        return used(replace(program, populations=(changed,)))["state_memory"]

    some = np.arange(8, dtype=np.int32) + 1000
    assert state(current_decay=some * 0 + 1000) == 8 * (12 + 3)
    assert state(decay=some) == 8 * (12 + 3)
    assert state(decay=some, current_decay=some) == 8 * (12 + 3 + 3)


def test_membranes_leave_on_no_axon() -> None:
    assert used(one_layer(OneToOne(size=8), output="membrane"))["axons_out"] == 0


def test_a_row_without_room_is_named_wherever_it_lies() -> None:
    """The first row of a sparse pattern fits; the last one reads more than a neurocore has axons for."""
    starts = np.array([0, 1, 17001], np.int64)
    sources = np.concatenate([[0], np.arange(17000)]).astype(np.int32)
    none = Limit(value=0, unit="bits", source="a test", grade="X")
    target = replace(LOIHI2, storage=replace(LOIHI2.storage, spike_payload_bits=none))  # rows are not cut
    with pytest.raises(BispikError, match=r"p: one row needs axons in 17,000 of 16,000 axons of a neurocore"):
        map_stream(one_layer(Sparse(inputs=17000, outputs=2, starts=starts, sources=sources)), target)


def test_a_plan_needs_no_placement() -> None:
    made = plan_stream(one_layer(Dense(inputs=600, outputs=600)), LOIHI2)
    assert made.neurocores == 4
    assert made.limited_by.resource == "synapse_memory"


# --- loihi1 ---


def test_stock_spikes_map_to_loihi1_in_its_words() -> None:
    program = one_layer(Dense(inputs=10, outputs=6), program="stock")
    assert map_stream(program, LOIHI1).system.name == "kapoho-bay"
    found = used(program, "loihi1")
    assert found["synapse_memory"] == 10 * 8  # 48 bits fill a word of 64 behind each axon
    assert found["state_memory"] == 6 * 9
    large = one_layer(Dense(inputs=40, outputs=1025), program="stock")
    assert len(map_stream(large, LOIHI1).neurocores) == 2


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (one_layer(OneToOne(size=4), high=7, program="stock"), r"input: numbers from 0 to 7, but loihi1 has no graded"),
        (one_layer(OneToOne(size=4)), r"p: loihi1 has no 'bispik' neurons: its neurons are fixed.*--neurons stock"),
        (one_layer(Dense(inputs=5000, outputs=4), program="stock"), r"one row needs axons in 5,000 of 4,096 axons"),
        (one_layer(OneToOne(size=4), delay=63, program="stock"), r"p from input: waits 63 steps of 62"),
    ],
)
def test_loihi1_refuses_what_it_does_not_have(program: StreamProgram, message: str) -> None:
    with pytest.raises(BispikError, match=message):
        map_stream(program, LOIHI1)


def test_a_language_model_is_no_network_for_loihi1() -> None:
    with pytest.raises(BispikError, match=r"embed: loihi1 has no 'bispik' neurons: .*; use --neurons stock"):
        map_program(random_program(0), LOIHI1)
    with pytest.raises(
        BispikError, match=r"attention: loihi1 has no program for a node of kind 'attention': attention"
    ):
        map_program(random_program(0, neuron_program="stock", reset="hard"), LOIHI1)
