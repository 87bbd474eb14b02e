"""Every rule on the integers of a stream program: named when broken, silent otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bispik.compiler.stream.mapping import map_stream
from bispik.compiler.stream.program import StreamProgram
from bispik.compiler.stream.rules import STREAM_RULES
from bispik.compiler.stream.wiring import Dense
from bispik.compiler.target import Limit, Target, load_target
from bispik.models.errors import BispikError
from tests.stream.layers import one_layer

TARGET = load_target("loihi2")

Change = Callable[[StreamProgram], StreamProgram]


def neurons(**values: Any) -> Change:
    def change(program: StreamProgram) -> StreamProgram:
        population = program.populations[0]
        arrays: dict[str, Any] = {k: np.full(6, v, np.int32) if isinstance(v, int) else v for k, v in values.items()}
        return replace(program, populations=(replace(population, neurons=replace(population.neurons, **arrays)),))

    return change


def projection(**values: Any) -> Change:
    def change(program: StreamProgram) -> StreamProgram:
        population = program.populations[0]
        return replace(program, populations=(replace(population, inputs=(replace(population.inputs[0], **values),)),))

    return change


def entry(**values: Any) -> Change:
    return lambda program: replace(program, input=replace(program.input, **values))


SIX = np.arange(6, dtype=np.int32)
BREAKS: dict[str, tuple[Change, str]] = {
    "weight_bits_are_supported": (projection(bits=9), r"p from input: 9 bits a weight; loihi2 stores 1 to 8"),
    "weights_fit_their_bits": (
        projection(bits=4, weight=np.full((6, 10), 9, np.int8)),
        r"p from input: a weight of magnitude 9; 4 bits hold up to 7",
    ),
    "neuron_constants_fit_the_membrane": (
        neurons(initial=-(1 << 23)),
        r"p: a initial of magnitude 8,388,608; membranes hold up to 8,388,607",
    ),
    "currents_cannot_overflow": (
        lambda program: neurons(current_decay=1)(projection(exponent=9)(program)),
        r"p: a current could reach [\d,]+ of 8,388,607",
    ),
    "graded_input_fits_its_payload": (
        entry(low=-9, high=1 << 24),
        r"input: numbers from -9 to 16777216 take 26 bits; a graded spike of loihi2 carries 24",
    ),
    "stock_neurons_reset_to_zero": (neurons(reset="soft"), r"p: reset 'soft', which Lava's LIF does not have"),
    "stock_neurons_share_their_constants": (neurons(decay=SIX), r"p: 6 different values of decay; Lava's LIF has one"),
    "stock_decays_fit_12_bits": (neurons(decay=4096), r"p: decay 4096; Lava's LIF has up to 4095"),
    "stock_thresholds_fit_17_bits": (neurons(threshold=1 << 23), r"p: vth 131,072; Lava's LIF holds 0 to 131,071"),
    "stock_biases_share_an_exponent": (
        neurons(bias=4096 << 7),
        r"p: bias_mant 4,096 of 4,095 at bias_exp 7",
    ),
    "stock_currents_are_shifted_by_6": (projection(exponent=5), r"p from input: exponent 5, not 6"),
    "stock_projections_wait_62_steps": (projection(delay=63), r"p from input: waits 63 steps of 62"),
}


def stock() -> StreamProgram:
    return one_layer(Dense(inputs=10, outputs=6), program="stock")


def test_a_program_within_all_limits_breaks_no_rule() -> None:
    program = neurons(bias=4095 << 7, threshold=131071 << 6)(stock())
    assert [text for rule in STREAM_RULES for text in rule(program, TARGET)] == []


@pytest.mark.parametrize("rule", STREAM_RULES, ids=lambda rule: rule.__name__)
def test_a_broken_rule_is_named_with_place_and_numbers(rule: Callable[[StreamProgram, Target], Any]) -> None:
    change, message = BREAKS[rule.__name__]
    found = list(rule(change(stock()), TARGET))
    assert any(re.search(message, text) for text in found), found


def test_mapping_checks_them() -> None:
    with pytest.raises(BispikError, match=r"exponent 5, not 6 \[stock_currents_are_shifted_by_6\]$"):
        map_stream(projection(exponent=5)(stock()), TARGET)


def test_a_threshold_between_two_of_lavas_is_named() -> None:
    with pytest.raises(BispikError, match=r"p: threshold 65 is no multiple of 64"):
        map_stream(neurons(threshold=65)(stock()), TARGET)


def test_a_narrow_membrane_is_overrun_sooner() -> None:
    narrow = Limit(value=10, unit="bits", source="a test", grade="X")
    target = replace(TARGET, storage=replace(TARGET.storage, membrane_bits=narrow))
    with pytest.raises(BispikError, match=r"p: a current could reach 640 of 511"):
        map_stream(stock(), target)
