"""A run on disk comes back as it was; what the program could not have done is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bispik.backends.activity import Activity
from bispik.backends.reference import ReferenceSession
from bispik.backends.trace import TRACE, RunTrace, load_trace, save_trace
from bispik.compiler.artifact import save
from bispik.compiler.graph import Spikes
from bispik.compiler.plan import map_program
from bispik.compiler.target import load_target
from bispik.models.errors import BispikError
from tests.networks import random_program, random_tokens


def traced(spikes: Spikes) -> RunTrace:
    program = random_program(3, layers=1, spikes=spikes)
    return RunTrace(
        mapped=map_program(program, load_target("loihi2")),
        backend="reference",
        execution_mode=ReferenceSession.execution_mode,
        prompt_tokens=2,
        activity=ReferenceSession(program, ["embed"]).feed(random_tokens(program, 0)),
        text="",
        seconds=1.0,
    )


@pytest.mark.parametrize("spikes", ["binary", "ternary"])
def test_a_trace_comes_back_as_it_was(spikes: Spikes, tmp_path: Path) -> None:
    trace = traced(spikes)
    save_trace(trace, tmp_path / "run.trace")
    loaded = load_trace(tmp_path / "run.trace").activity
    lowest = min(int(output.min()) for output in loaded.outputs.values())
    assert (lowest < 0) == (spikes == "ternary")
    for field in ("outputs", "score_spikes", "membranes"):
        ours, theirs = getattr(trace.activity, field), getattr(loaded, field)
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype
            np.testing.assert_array_equal(ours[name], theirs[name], name)


def first_output(field: str, name: str, value: int) -> Callable[[Activity], Activity]:
    def change(activity: Activity) -> Activity:
        arrays: dict[str, Any] = dict(getattr(activity, field))
        arrays[name] = arrays[name].copy()
        arrays[name].flat[0] = value
        changed: dict[str, Any] = {field: arrays}
        return replace(activity, **changed)

    return change


@pytest.mark.parametrize(
    ("spikes", "change", "message"),
    [
        ("binary", first_output("outputs", "embed", -1), "embed: outputs from -1 to 1; they can be 0 to 1"),
        ("ternary", first_output("outputs", "embed", 256), "embed: outputs from -1 to 256; they can be -1 to 1"),
        ("ternary", first_output("outputs", "block_00/attn/sum", -3), "attn/sum: outputs from -3 to .* -2 to 2"),
        (
            "binary",
            first_output("score_spikes", "block_00/attn/attention", 2),
            "scores of block_00/attn/attention: outputs from 0 to 2; they can be 0 to 1",
        ),
    ],
)
def test_outputs_that_the_program_cannot_have_are_refused(
    spikes: Spikes, change: Callable[[Activity], Activity], message: str, tmp_path: Path
) -> None:
    trace = traced(spikes)
    save_trace(replace(trace, activity=change(trace.activity)), tmp_path / "run.trace")
    with pytest.raises(BispikError, match=message):
        load_trace(tmp_path / "run.trace")


def test_a_trace_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    save(traced("binary"), replace(TRACE, version="1"), tmp_path / "run.trace")
    with pytest.raises(BispikError, match="version 1 of a trace of a run; this bispik reads version 2: make it again"):
        load_trace(tmp_path / "run.trace")
