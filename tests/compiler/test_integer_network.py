"""What the compiler lets its integers do on text is what the simulator does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bispik.backends.sim import SimSession
from bispik.compiler.integer_network import Array, run_integers
from bispik.compiler.lift import lift
from bispik.compiler.program import IntegerReadout, QuantizedProgram
from bispik.compiler.quantize import quantize
from bispik.compiler.quantize_options import QuantizeOptions
from tests.checkpoints import random_checkpoint
from tests.compiler.test_quantize import THIRD_PARTY
from tests.networks import random_program, random_tokens

FORMS: list[dict[str, Any]] = [
    {"current_norm": "batch"},
    {"reset": "zero", "input_current": "ramp", "attention_bias": True},
    {"spikes": "ternary", "current_norm": "batch"},
    THIRD_PARTY,
    {"block_norm": "pre", "current_norm": "batch", "spikes": "ternary", "spike_amplitude": 0.7},
    {"ffn_output_spike": False, "block_output_spike": True, "attention_output_spike": True},
]


def assert_like_sim(program: QuantizedProgram, ids: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    activities = [SimSession(program).feed(sequence) for sequence in ids]
    outputs: dict[str, Array] = {}
    for node in program.nodes:
        if isinstance(node, IntegerReadout):
            continue
        outputs[node.name] = run_integers(node, outputs, ids)
        if node is program.injection:
            continue
        for sequence, activity in enumerate(activities):
            found = outputs[node.name][:, sequence].swapaxes(0, 1)
            np.testing.assert_array_equal(found, activity.outputs[node.name], err_msg=node.name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bits", [8, 3])
def test_every_form_of_network_runs_as_on_sim(form: dict[str, Any], bits: int) -> None:
    ids = np.random.default_rng(1).integers(0, 23, (2, 12))
    program = quantize(lift(random_checkpoint(0, **form)), ids, QuantizeOptions(window=12, bits=bits))
    assert_like_sim(program, ids)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spikes", ["binary", "ternary"])
def test_random_programs_run_as_on_sim(seed: int, spikes: Any) -> None:
    program = random_program(seed, spikes=spikes)
    assert_like_sim(program, np.stack([random_tokens(program, seed + number) for number in range(2)]))
