from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bispik.compiler.graph import Reset
from bispik.compiler.mapping import MappedProgram, Neurocore, Slice
from bispik.compiler.plan import map_program
from bispik.compiler.program import (
    IntegerAttention,
    IntegerJoin,
    IntegerNode,
    IntegerNorm,
    IntegerPopulation,
    IntegerReadout,
    NeuronProgram,
    QuantizedProgram,
)
from bispik.compiler.rules import MAPPING_RULES, NEUROCORE_RULES, check
from bispik.compiler.rules_integers import PROGRAM_RULES, graded_spikes_fit_their_payload
from bispik.compiler.shapes import program_shape
from bispik.compiler.target import Limit
from bispik.models.errors import BispikError
from tests.mappings import small_target
from tests.networks import random_program

Change = Callable[[MappedProgram], MappedProgram]


def mapped(neuron_program: NeuronProgram = "bispik", *, norm: bool = False) -> MappedProgram:
    program = random_program(1, neuron_program=neuron_program, reset="hard", norm=norm, stream=norm)
    return map_program(program, small_target(memory=600))


# --- Changes that break one rule each ---


def limit(table: str, name: str, value: int) -> Change:
    def change(mapped: MappedProgram) -> MappedProgram:
        entries = getattr(mapped.target, table)
        unit = "bytes" if name.endswith("memory") else name.split("_", maxsplit=1)[0]
        changed = replace(entries, **{name: Limit(value=value, unit=unit, source="a test", grade="X")})
        return replace(mapped, target=replace(mapped.target, **{table: changed}))

    return change


def neurocore(change: Callable[[Neurocore], Neurocore]) -> Change:
    def changed(mapped: MappedProgram) -> MappedProgram:
        first, *others = mapped.neurocores
        return replace(mapped, neurocores=(change(first), *others))

    return changed


def everywhere(**place: Any) -> Change:
    return lambda mapped: replace(mapped, neurocores=tuple(replace(core, **place) for core in mapped.neurocores))


def everywhere_sliced(node: str, stop: int) -> Change:
    def changed(mapped: MappedProgram) -> MappedProgram:
        def part_of(part: Slice) -> Slice:
            return replace(part, stop=stop) if part.node == node else part

        cores = (replace(core, slices=tuple(map(part_of, core.slices))) for core in mapped.neurocores)
        return replace(mapped, neurocores=tuple(cores))

    return changed


def changed_node(name: str, change: Callable[[IntegerNode], IntegerNode]) -> Change:
    def changed(mapped: MappedProgram) -> MappedProgram:
        nodes = tuple(change(node) if node.name == name else node for node in mapped.program.nodes)
        return replace(mapped, program=replace(mapped.program, nodes=nodes))

    return changed


def neurons(name: str, **values: Any) -> Change:
    def change(node: IntegerNode) -> IntegerNode:
        assert isinstance(node, IntegerPopulation | IntegerAttention)
        arrays: dict[str, Any] = {
            key: np.full(node.neurons.size, value, np.int32) if isinstance(value, int) and key != "decay" else value
            for key, value in values.items()
        }
        return replace(node, neurons=replace(node.neurons, **arrays))

    return changed_node(name, change)


def projection(name: str, **values: Any) -> Change:
    def change(node: IntegerNode) -> IntegerNode:
        assert isinstance(node, IntegerPopulation)
        return replace(node, inputs=(replace(node.inputs[0], **values), *node.inputs[1:]))

    return changed_node(name, change)


def field(name: str, kind: type[IntegerJoin | IntegerNorm | IntegerReadout], **values: Any) -> Change:
    def change(node: IntegerNode) -> IntegerNode:
        assert isinstance(node, kind)
        return replace(node, **values)

    return changed_node(name, change)


FC1, FC2, QUERY = "block_00/ffn/fc1", "block_00/ffn/fc2", "block_00/attn/query"
EMBED, ATTENTION = "embed", "block_00/attn/attention"
LARGE = np.full((8, 12), 127, np.int8)
BREAKS: dict[str, tuple[NeuronProgram, Change, str]] = {
    "neurons_fit": (
        "bispik",
        limit("resources", "neurons", 3),
        r"neurocore 0: neurons \d+ of 3 \(block_00/attn/query\[0:\d\]",
    ),
    "memory_fits": ("bispik", limit("resources", "memory", 100), r"neurocore 0: memory \d+ of 100 bytes \(block"),
    "synapse_memory_fits": (
        "bispik",
        limit("resources", "synapse_memory", 5),
        r"neurocore \d+: synapse memory \d+ of 5 bytes \(.*\); use --bits 4",
    ),
    "state_memory_fits": ("bispik", limit("resources", "state_memory", 5), r"state memory \d+ of 5 bytes"),
    "axons_in_fit": ("bispik", limit("resources", "axons_in", 1), r"axons in \d+ of 1 \("),
    "axons_out_fit": ("bispik", limit("resources", "axons_out", 1), r"axons out \d+ of 1 \("),
    "neurocore_lies_on_the_mesh": (
        "bispik",
        neurocore(lambda core: replace(core, x=8)),
        r"neurocore 0: lies at \(8, \d\), but a chip has 8 x 4 routers",
    ),
    "neurocores_fit_on_their_chips": ("bispik", everywhere(chip=8), r"chip 8: .* has chips 0 to"),
    "neurocores_fit_on_their_routers": (
        "bispik",
        everywhere(chip=0, x=0, y=0),
        r"router \(0, 0\): \d+ of 2 usable neurocores",
    ),
    "every_neuron_is_on_one_neurocore": (
        "bispik",
        neurocore(lambda core: replace(core, slices=core.slices[1:])),
        r"query: row 0 of 8 is in no slice",
    ),
    "every_synapse_is_stored_once": (
        "bispik",
        neurocore(lambda core: replace(core, slices=(replace(core.slices[0], inputs=()), *core.slices[1:]))),
        r"query\[0:8\]: its inputs are not those of the node",
    ),
    "neuron_state_fits": (
        "bispik",
        limit("storage", "neuron_state_bytes_max", 4),
        r"embed: a neuron keeps 12 of 4 bytes of state",
    ),
    "weight_bits_are_supported": (
        "bispik",
        projection(FC1, bits=9),
        r"fc1 from .*: 9 bits a weight; loihi2 stores 1 to 8",
    ),
    "weights_fit_their_bits": (
        "bispik",
        projection(FC1, bits=4),
        r"fc1 from .*: a weight of magnitude 1\d\d; 4 bits hold up to 7",
    ),
    "decays_fit_12_bits": ("bispik", neurons(FC1, decay=4096), r"fc1: decay 4096; it must be 0 to 4095"),
    "neuron_constants_fit_the_membrane": (
        "bispik",
        neurons(FC1, threshold=-(1 << 23)),
        r"fc1: a threshold of magnitude 8,388,608; membranes hold up to 8,388,607",
    ),
    "membranes_cannot_overflow": (
        "bispik",
        projection(FC2, weight=LARGE, exponent=13),
        r"fc2: a membrane could reach [\d,]+ of 8,388,607",
    ),
    "accumulators_cannot_overflow": (
        "bispik",
        limit("storage", "membrane_bits", 12),
        r"head: an accumulator could reach [\d,]+ of 2,047; use fewer --bits or --head host",
    ),
    "graded_spikes_fit_their_payload": (
        "bispik",
        limit("storage", "spike_payload_bits", 2),
        r"attention: sends up to 8; a graded spike carries 2 bits",
    ),
    "joins_name_their_maximum": (
        "bispik",
        field("block_00/attn/sum", IntegerJoin, maximum=1),
        r"attn/sum: can reach 2, but its maximum is 1",
    ),
    "norms_are_whole": (
        "bispik",
        everywhere_sliced("block_00/attn/norm", stop=7),
        r"attn/norm: rows 0 to 7 of 8 lie apart",
    ),
    "norms_fit_64_bits": (
        "bispik",
        field("block_00/attn/norm", IntegerNorm, root_bits=14, fraction_bits=14, epsilon=1 << 40),
        r"attn/norm: inputs of up to [\d,]+ in 8 channels leave 64 bits",
    ),
    "ternary_thresholds_are_not_negative": (
        "bispik",
        neurons(FC1, spikes="ternary", threshold=-5),
        r"fc1: a threshold of -5 for ternary spikes",
    ),
    "stock_neurons_spike_binary": ("stock", neurons(FC1, spikes="ternary"), r"fc1: ternary spikes, which Lava's"),
    "stock_neurons_reset_to_zero": ("stock", neurons(FC1, subtract=64), r"fc1: a soft reset, which Lava's LIFReset"),
    "stock_neurons_share_a_threshold": (
        "stock",
        neurons(FC1, threshold=np.arange(12, dtype=np.int32) * 64),
        r"fc1: 12 different thresholds; Lava's LIFReset has one",
    ),
    "stock_biases_share_an_exponent": (
        "stock",
        neurons(FC1, bias=np.array([1, 8192] * 6, np.int32)),
        r"fc1: bias_mant 8,192 of 4,095",
    ),
    "stock_currents_are_shifted_by_6": ("stock", projection(FC1, exponent=5), r"fc1 from .*: exponent 5, not 6"),
}


@pytest.mark.parametrize("neuron_program", ["bispik", "stock"])
def test_a_mapped_program_obeys_every_rule(neuron_program: NeuronProgram) -> None:
    check(mapped(neuron_program))
    check(mapped(neuron_program, norm=True))


@pytest.mark.parametrize("rule", BREAKS)
def test_a_broken_rule_is_named_with_place_and_numbers(rule: str) -> None:
    neuron_program, change, message = BREAKS[rule]
    broken = change(mapped(neuron_program, norm=rule.startswith("norms")))
    found = [text for name, text in violations(broken) if name == rule]
    assert found
    with pytest.raises(BispikError, match=r"\[\w+\]"):
        check(broken)
    assert any(re.search(message, text) for text in found), found


def violations(broken: MappedProgram) -> list[tuple[str, str]]:
    """Every violation, by rule: a change can break several rules, and `check` raises the first."""
    found = [
        (rule.__name__, text)
        for core in broken.neurocores
        for rule in NEUROCORE_RULES
        for text in rule(core, broken.target)
    ]
    found += [(rule.__name__, text) for rule in MAPPING_RULES for text in rule(broken, program_shape(broken.program))]
    return found + [(rule.__name__, text) for rule in PROGRAM_RULES for text in rule(broken.program, broken.target)]


def test_every_rule_has_a_case_here() -> None:
    rules = {rule.__name__ for rule in (*NEUROCORE_RULES, *MAPPING_RULES, *PROGRAM_RULES)}
    assert rules == set(BREAKS)


def test_the_error_names_the_rule_and_counts_the_others() -> None:
    broken = limit("resources", "neurons", 1)(mapped())
    with pytest.raises(BispikError, match=r"^neurocore 0: neurons .* \[neurons_fit\] \(and \d+ more\)$"):
        check(broken)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (neurons(FC1, threshold=65), r"fc1: threshold 65 is no multiple of 64"),
        (neurons(FC1, threshold=-64), r"fc1: vth -1; Lava's LIFReset holds 0 to 131,071"),
        (neurons(FC1, reset="soft"), r"fc1: a soft reset"),
    ],
)
def test_stock_constants_are_those_of_lava(change: Change, message: str) -> None:
    with pytest.raises(BispikError, match=message):
        check(change(mapped("stock")))


def test_a_slice_twice_and_a_gap_are_both_found() -> None:
    good = mapped()
    twice = replace(good, neurocores=(*good.neurocores, replace(good.neurocores[-1], index=len(good.neurocores))))
    gap = replace(good, neurocores=good.neurocores[:-1])
    for broken in (twice, gap):
        assert any(name == "every_neuron_is_on_one_neurocore" for name, _ in violations(broken))


def test_binary_weights_are_minus_one_or_one() -> None:
    binary = np.where(LARGE > 0, 1, -1).astype(np.int8)
    check(projection(FC2, weight=binary, bits=1)(mapped()))
    readout = field("head", IntegerReadout, bits=1)(mapped())
    assert any(name == "weights_fit_their_bits" for name, _ in violations(readout))


def test_integers_of_a_program_are_checked_without_a_mapping() -> None:
    program: QuantizedProgram = random_program(2)
    target = small_target()
    assert [text for rule in PROGRAM_RULES for text in rule(program, target)] == []


def test_a_sign_takes_a_bit_of_the_payload() -> None:
    target = small_target()
    program = random_program(1, spikes="ternary", window=7)  # attentions to 7, joins to 2, 3, 4 and 5
    for bits, senders in ((4, 0), (3, 4), (0, len(program.nodes) - 2)):
        narrow = replace(target.storage, spike_payload_bits=replace(target.storage.spike_payload_bits, value=bits))
        found = list(graded_spikes_fit_their_payload(program, replace(target, storage=narrow)))
        assert len(found) == senders, found
        assert all("with a sign" in text for text in found)


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_a_mapped_ternary_program_obeys_every_rule(reset: Reset) -> None:
    check(map_program(random_program(1, spikes="ternary", reset=reset), small_target(memory=600)))
