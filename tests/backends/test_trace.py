"""A run on disk comes back as it was; what the program could not have done is refused."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bispik.backends.activity import Activity, joined
from bispik.backends.counts import count_events
from bispik.backends.reference import ReferenceSession
from bispik.backends.registry import DEFAULTS
from bispik.backends.run import Request, SequenceRun, run_sequence
from bispik.backends.trace import TRACE, Opening, count_trace, opened_trace, writing_trace
from bispik.compiler.artifact import save
from bispik.compiler.container import map_arrays, read_header
from bispik.compiler.graph import Spikes
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.plan import map_program
from bispik.compiler.target import load_target
from bispik.models.errors import BispikError
from tests.networks import random_program, random_tokens

Change = Callable[[Activity], Activity]


def mapped_program(spikes: Spikes = "binary", window: int = 8) -> MappedProgram:
    return map_program(random_program(2, layers=1, spikes=spikes, window=window), load_target("loihi2"))


def write_trace(mapped: MappedProgram, path: Path, change: Change = lambda activity: activity) -> SequenceRun:
    """A window of tokens on the reference; each chunk is changed on its way to the disk."""
    request = Request(prompt=tuple(random_tokens(mapped.program, 0).tolist()))
    with writing_trace(path, mapped, "reference") as trace:
        run = run_sequence(
            mapped,
            request,
            "reference",
            DEFAULTS,
            probes=["embed"],
            see_activity=lambda activity: trace.append(change(activity)),
        )
        trace.close(run)
    return run


@pytest.mark.parametrize("spikes", ["binary", "ternary"])
def test_a_trace_comes_back_as_it_was(spikes: Spikes, tmp_path: Path) -> None:
    mapped = mapped_program(spikes, window=70)
    run = write_trace(mapped, tmp_path / "run.trace")
    whole = ReferenceSession(mapped.program, ["embed"]).feed(run.token_ids)
    with opened_trace(tmp_path / "run.trace") as trace:
        chunks = list(trace.chunks())
    assert [len(chunk.token_ids) for chunk in chunks] == [32, 32, 6]
    loaded = joined(chunks)
    lowest = min(int(output.min()) for output in loaded.outputs.values())
    assert (lowest < 0) == (spikes == "ternary")
    for field in ("outputs", "score_spikes", "membranes"):
        ours, theirs = getattr(whole, field), getattr(loaded, field)
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype
            np.testing.assert_array_equal(ours[name], theirs[name], name)
    assert loaded.saturations == whole.saturations
    np.testing.assert_array_equal(loaded.accumulators, whole.accumulators)


def test_counts_of_a_trace_are_those_of_the_run(tmp_path: Path) -> None:
    mapped = mapped_program(window=40)
    run = write_trace(mapped, tmp_path / "run.trace")
    whole = count_events(mapped, ReferenceSession(mapped.program).feed(run.token_ids))
    for counts in (run.counts, count_trace(tmp_path / "run.trace").run.counts):
        assert counts.to_dict() == whole.to_dict()
        np.testing.assert_array_equal(counts.per_token["synop_dense"], whole.per_token["synop_dense"])
        np.testing.assert_array_equal(counts.load.sequential, whole.load.sequential)


def test_no_more_than_a_chunk_is_held_while_tracing(tmp_path: Path) -> None:
    mapped = mapped_program(window=190)
    alive: list[weakref.ref[Activity]] = []
    most = 0

    def watched(activity: Activity) -> Activity:
        nonlocal most
        gc.collect()
        most = max(most, sum(reference() is not None for reference in alive))
        alive.append(weakref.ref(activity.accumulators))  # type: ignore[arg-type]
        return activity

    write_trace(mapped, tmp_path / "run.trace", watched)
    assert len(alive) == 6
    assert most <= 1


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(activity: Activity) -> Activity:
        if activity.first_position:
            raise KeyboardInterrupt
        return activity

    with pytest.raises(KeyboardInterrupt):
        write_trace(mapped_program(window=40), tmp_path / "run.trace", interrupted)
    assert list(tmp_path.iterdir()) == []


def parts_of(path: Path) -> list[bytes]:
    """The containers of a trace."""
    content, parts = path.read_bytes(), []
    with path.open("rb") as file:
        start = 0
        while start < len(content):
            stop = map_arrays(file, read_header(file, start)).stop
            parts.append(content[start:stop])
            start = stop
    return parts


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([0], "no header at byte"),
        ([0, 1, 2], "no header at byte"),
        ([0, 2, 1, 3], "does not follow the one before it"),
        ([0, 2, 3], "does not follow the one before it"),
        ([0, 3], "does not follow the one before it"),
        ([0, 1, 2, 3, 3], "behind its end"),
        ([1, 2, 3], "expected"),
    ],
)
def test_parts_left_out_moved_or_added_are_noticed(kept: list[int], message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.trace"
    write_trace(mapped_program(window=40), path)
    parts = parts_of(path)
    assert len(parts) == 4
    path.write_bytes(b"".join(parts[index] for index in kept))
    with pytest.raises(BispikError, match=message):
        count_trace(path)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.97])
def test_an_altered_byte_is_noticed(share: float, tmp_path: Path) -> None:
    path = tmp_path / "run.trace"
    write_trace(mapped_program(), path)
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(BispikError, match=r"run\.trace: "):
        count_trace(path)


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
    write_trace(mapped_program(spikes), tmp_path / "run.trace", change)
    with pytest.raises(BispikError, match=message):
        count_trace(tmp_path / "run.trace")


def test_pieces_that_count_saturations_of_different_nodes_are_refused(tmp_path: Path) -> None:
    def forgetful(activity: Activity) -> Activity:
        return replace(activity, saturations={}) if activity.first_position else activity

    write_trace(mapped_program(window=40), tmp_path / "run.trace", forgetful)
    with pytest.raises(BispikError, match="saturations of different nodes"):
        count_trace(tmp_path / "run.trace")


def test_a_trace_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    save(Opening(mapped=mapped_program(), backend="sim"), replace(TRACE, version="3"), tmp_path / "run.trace")
    with pytest.raises(BispikError, match="version 3 of a trace of a run; this bispik reads version 4: make it again"):
        count_trace(tmp_path / "run.trace")
