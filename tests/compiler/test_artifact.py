"""Programs on disk: the same bytes for the same program, and nothing altered gets in."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from bispik.backends.sim import SimSession
from bispik.compiler.artifact import PROGRAM, load_program, save, save_program
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.plan import map_program
from bispik.compiler.program import IntegerNode, IntegerPopulation, Verification
from bispik.compiler.target import load_target
from bispik.models.errors import BispikError
from tests.networks import random_program, random_tokens


@pytest.fixture(params=["binary", "ternary"])
def mapped(request: pytest.FixtureRequest) -> MappedProgram:
    made = map_program(random_program(3, spikes=request.param), load_target("loihi2"))
    verification = Verification(
        tokens=9, bpb_float=2.0, bpb_integer=2.1, spike_agreement=0.9, populations=(), sample=(1, 2)
    )
    return dataclasses.replace(made, program=dataclasses.replace(made.program, verification=verification))


def test_a_loaded_program_runs_and_saves_to_the_same_bytes(mapped: MappedProgram, tmp_path: Path) -> None:
    first, second = tmp_path / "a.bspk", tmp_path / "b.bspk"
    save_program(mapped, first)
    loaded = load_program(first)
    save_program(loaded, second)
    assert first.read_bytes() == second.read_bytes()
    assert loaded.neurocores == mapped.neurocores
    assert loaded.program.verification == mapped.program.verification
    tokens = random_tokens(mapped.program, 0)
    ours, theirs = SimSession(mapped.program).feed(tokens), SimSession(loaded.program).feed(tokens)
    np.testing.assert_array_equal(ours.accumulators, theirs.accumulators)


def test_loaded_arrays_cannot_be_written(mapped: MappedProgram, tmp_path: Path) -> None:
    save_program(mapped, tmp_path / "a.bspk")
    loaded = load_program(tmp_path / "a.bspk")
    with pytest.raises(ValueError, match="read-only"):
        loaded.program.readout.weight[0, 0] = 1


def test_weights_lie_in_the_file_with_the_inputs_first(mapped: MappedProgram, tmp_path: Path) -> None:
    save_program(mapped, tmp_path / "a.bspk")
    loaded = load_program(tmp_path / "a.bspk")
    weights = [loaded.program.readout.weight, mapped.program.readout.weight]
    for program in (loaded.program, mapped.program):
        node = program.node("block_00/ffn/fc1")
        assert isinstance(node, IntegerPopulation)
        assert node.inputs[0].weight is not None
        weights.append(node.inputs[0].weight)
    for ours, theirs in ((weights[0], weights[1]), (weights[2], weights[3])):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.T.flags.c_contiguous
        assert not ours.flags.owndata
        assert ours.ctypes.data % 64 == 0


def test_opening_copies_no_weight(tmp_path: Path) -> None:
    program = random_program(1, layers=1, heads=8, head_dim=64, inner=2048, vocabulary=4000, window=2)
    path = tmp_path / "a.bspk"
    save_program(map_program(program, load_target("loihi2")), path)
    assert path.stat().st_size > 8 << 20
    load_program(path)  # whatever is imported and remembered once
    tracemalloc.start()
    try:
        loaded = load_program(path)
        assert tracemalloc.get_traced_memory()[1] < 3 << 20  # the buffer for hashing, the manifest, the mapping
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(loaded.program.readout.weight, program.readout.weight)


def test_a_file_of_an_earlier_version_says_what_to_do(tmp_path: Path) -> None:
    header = {"format": "bispik-program", "version": "3", "sha256": "0" * 64, "manifest": "{}"}
    save_file({"/a": np.zeros(3, np.int8)}, tmp_path / "a.bspk", {"bispik": json.dumps(header)})
    with pytest.raises(
        BispikError, match="version 3 of a compiled program; this bispik reads version 4: make it again"
    ):
        load_program(tmp_path / "a.bspk")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.999])
def test_an_altered_byte_is_noticed(mapped: MappedProgram, tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.bspk"
    save_program(mapped, path)
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(BispikError, match=r"a\.bspk: "):
        load_program(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08\0\0\0\0\0\0\0{}      ", b"PK\x03\x04", b"\xff" * 64])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.bspk"
    path.write_bytes(content)
    with pytest.raises(BispikError, match="not a compiled program"):
        load_program(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(BispikError, match="no such file"):
        load_program(tmp_path / "a.bspk")


def test_a_whole_file_with_parts_that_do_not_fit_is_refused(mapped: MappedProgram, tmp_path: Path) -> None:
    def shortened(node: IntegerNode) -> IntegerNode:
        if node.name != "block_00/attn/query" or not isinstance(node, IntegerPopulation):
            return node
        projection = dataclasses.replace(node.inputs[0], weight=np.zeros((8, 3), np.int8))
        return dataclasses.replace(node, inputs=(projection,))

    nodes = tuple(shortened(node) for node in mapped.program.nodes)
    save_program(
        dataclasses.replace(mapped, program=dataclasses.replace(mapped.program, nodes=nodes)), tmp_path / "a.bspk"
    )
    with pytest.raises(BispikError, match=r"block_00/attn/query: weight of another shape than \(8, 8\)"):
        load_program(tmp_path / "a.bspk")


def remade(mapped: MappedProgram, name: str, change: Callable[[Any], Any]) -> MappedProgram:
    nodes = tuple(change(node) if node.name == name else node for node in mapped.program.nodes)
    return dataclasses.replace(mapped, program=dataclasses.replace(mapped.program, nodes=nodes))


def with_neurons(**values: Any) -> Callable[[Any], Any]:
    return lambda node: dataclasses.replace(node, neurons=dataclasses.replace(node.neurons, **values))


IMPOSSIBLE: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "a negative threshold for ternary spikes": (
        "embed",
        with_neurons(spikes="ternary", threshold=np.full(8, -1, np.int32)),
    ),
    "ternary spikes of stock neurons": ("embed", with_neurons(spikes="ternary", program="stock")),
    "q, k or v is no population": ("block_00/attn/attention", lambda node: dataclasses.replace(node, value="input")),
    "adds something to the current from the host": (
        "block_00/attn/sum",
        lambda node: dataclasses.replace(node, inputs=("embed", "input")),
    ),
    "reads the current from the host": ("head", lambda node: dataclasses.replace(node, source="input")),
    "weights on the current from the host": (
        "embed",
        lambda node: dataclasses.replace(
            node, inputs=(dataclasses.replace(node.inputs[0], weight=np.ones(8, np.int8)),)
        ),
    ),
    "maximum 9, but its inputs reach 2": ("block_00/attn/sum", lambda node: dataclasses.replace(node, maximum=9)),
}


@pytest.mark.parametrize("message", IMPOSSIBLE)
def test_what_no_compiler_run_makes_is_refused(mapped: MappedProgram, tmp_path: Path, message: str) -> None:
    name, change = IMPOSSIBLE[message]
    save_program(remade(mapped, name, change), tmp_path / "a.bspk")
    with pytest.raises(BispikError, match=rf"a\.bspk: {name}: {message}"):
        load_program(tmp_path / "a.bspk")


def test_a_program_of_another_version_says_what_to_do(mapped: MappedProgram, tmp_path: Path) -> None:
    save(mapped, dataclasses.replace(PROGRAM, version="1"), tmp_path / "a.bspk")
    with pytest.raises(
        BispikError, match="version 1 of a compiled program; this bispik reads version 4: make it again"
    ):
        load_program(tmp_path / "a.bspk")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    mapped: MappedProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bspk"
    save_program(mapped, path)
    before = path.read_bytes()

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bispik.compiler.artifact.write_container", full)
    with pytest.raises(BispikError, match="No space left"):
        save_program(mapped, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
