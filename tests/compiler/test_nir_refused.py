"""NIR files that are damaged, hostile, or of another tool: each is refused in one line that says what and where."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from bispik.compiler.nir_export import write_nir
from bispik.compiler.nir_import import read_nir
from bispik.models.errors import BispikError
from tests.compiler.graphs import Form, random_graph

File = Any  # h5py has no types
Change = Callable[[File], None]

TOP = "node"
META = f"{TOP}/metadata/bispik"
EMBED = f"{TOP}/nodes/n000_embed_lif"
BLOCK = f"{TOP}/nodes/n001_block"
ATTN = f"{BLOCK}/nodes/n0_attn"
QUERY = f"{ATTN}/nodes/q_lif"
HEAD = f"{TOP}/nodes/n999_head"


def put(place: str, value: Any, **options: Any) -> Change:
    """Replace an item."""

    def change(file: File) -> None:
        if place in file:
            del file[place]
        kind = {"dtype": h5py.string_dtype()} if isinstance(value, str) else {}
        file.create_dataset(place, data=value, **kind, **options)

    return change


def drop(place: str) -> Change:
    def change(file: File) -> None:
        del file[place]

    return change


def declare(place: str, shape: tuple[int, ...], **options: Any) -> Change:
    """Replace an item by one that claims a shape and stores nothing."""

    def change(file: File) -> None:
        del file[place]
        file.create_dataset(place, shape=shape, **{"dtype": np.float32, **options})

    return change


def link(place: str, target: h5py.SoftLink | h5py.ExternalLink) -> Change:
    def change(file: File) -> None:
        del file[place]
        file[place] = target

    return change


def edges(place: str, change_list: Callable[[list[Any]], list[Any]]) -> Change:
    def change(file: File) -> None:
        values = change_list(file[place].asstr()[()].tolist())
        put(place, np.array(values, dtype=object), dtype=h5py.string_dtype())(file)

    return change


def scaled(place: str, factor: float) -> Change:
    def change(file: File) -> None:
        file[place][...] = file[place][()] * factor

    return change


def second_port(file: File) -> None:
    port = file.create_group(f"{ATTN}/nodes/input_2")
    port.create_dataset("type", data="Input", dtype=h5py.string_dtype())
    port.create_dataset("shape", data=np.array([6]))


def elsewhere(file: File) -> None:
    """The head's weights as a view of another file."""
    layout = h5py.VirtualLayout((7, 6), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "secret", (7, 6))
    del file[f"{HEAD}/nodes/lm_head/weight"]
    file.create_virtual_dataset(f"{HEAD}/nodes/lm_head/weight", layout)


CASES: dict[str, Change] = {
    # what is not there
    "n001_block/n0_attn/q_lif: the node is missing": drop(QUERY),
    "n001_block/n0_attn/q_lif: metadata/bispik/theta is missing": drop(f"{QUERY}/metadata/bispik/theta"),
    "n001_block/n0_attn/q_proj: weight is missing": drop(f"{ATTN}/nodes/q_proj/weight"),
    "n001_block/n0_attn: node tap_0000_qk_and is missing": drop(f"{ATTN}/nodes/tap_0000_qk_and"),
    "n001_block/n0_attn: edge q_lif -> tap_0000_qk_and is missing": edges(
        f"{ATTN}/edges", lambda found: [e for e in found if e != ["q_lif", "tap_0000_qk_and"]]
    ),
    "n001_block/n0_attn: item edges is missing": drop(f"{ATTN}/edges"),
    "dt is missing": drop(f"{META}/dt"),
    # what is too much
    "n001_block/n0_attn: edge k_lif -> out_proj is not part of the network": edges(
        f"{ATTN}/edges", lambda found: [*found, ["k_lif", "out_proj"]]
    ),
    "some stand there twice": edges(f"{ATTN}/edges", lambda found: [*found, found[0]]),
    "n001_block/n0_attn: 1700 edges, more than the 34": edges(f"{ATTN}/edges", lambda found: found * 100),
    "n001_block/n0_attn: 2 nodes of type Input (input, input_2); a graph must have exactly one": second_port,
    "n001_block/n0_attn/q_lif: item rate is not part of the network": put(f"{QUERY}/rate", 1.0),
    # what is of another schema
    "schema bispik-nir 1.0; this version reads bispik-nir 3.0": put(f"{META}/schema_version", "1.0"),
    "schema other-nir 3.0; this version reads bispik-nir 3.0": put(f"{META}/schema", "other-nir"),
    "profile is 'unrolled'; this version reads compact": put(f"{META}/profile", "unrolled"),
    "q_lif: spikes is 'decimal'; this version reads binary, ternary": put(f"{QUERY}/metadata/bispik/spikes", "decimal"),
    "q_lif: metadata/bispik/spikes is missing": drop(f"{QUERY}/metadata/bispik/spikes"),
    "reset is 'sideways'; this version reads soft, hard": put(f"{QUERY}/metadata/bispik/reset", "sideways"),
    "tok_embed is 'tied:elsewhere'": put(f"{META}/tok_embed", "tied:elsewhere"),
    # what contradicts itself
    "metadata/bispik/spikes is binary, but the rest of the file means mixed": put(
        f"{QUERY}/metadata/bispik/spikes", "ternary"
    ),
    "q_lif: tau is 0.0010000000000000002 at [0], but the rest of the file means 0.0002 (6 of 6": put(
        f"{QUERY}/metadata/bispik/beta", 0.5
    ),
    "n000_embed_lif: v_threshold is ": scaled(f"{EMBED}/metadata/bispik/theta", 2),
    "n000_embed_lif: v_leak is ": scaled(f"{EMBED}/v_leak", 1.0001),
    "n000_embed_lif: r is 2.0 at [0], but the rest of the file means 1.0 (6 of 6 differ)": scaled(f"{EMBED}/r", 2),
    "n000_embed_lif: v_reset is 1.0 at [0]": put(f"{EMBED}/v_reset", np.ones(6)),
    "n001_block/n1_res: scale is 3.0 at [0]": scaled(f"{BLOCK}/nodes/n1_res/scale", 3),
    "n001_block/n0_attn/tap_0000_qk_and: threshold is 0.75": scaled(f"{ATTN}/nodes/tap_0000_qk_and/threshold", 0.5),
    "n001_block/n0_attn: metadata/bispik/window is 9, but the rest of the file means 5": put(
        f"{ATTN}/metadata/bispik/window", 9
    ),
    "metadata/bispik/reset is hard, but the rest of the file means soft": put(f"{META}/reset", "hard"),
    "n001_block/n1_res: a node of type Delay, expected Scale": put(f"{BLOCK}/nodes/n1_res/type", "Delay"),
    "input: shape is (7,), but the rest of the file means (6,)": put(f"{TOP}/nodes/input/shape", np.array([7])),
    "block_00/attn/attention: threshold is 2, expected 4": put(f"{ATTN}/metadata/bispik/heads", 4),
    "5 position vectors for 999 positions": put(f"{META}/max_positions", 999),
    "3 step gains for 4 steps per token": put(f"{META}/steps_per_token", 4),
    "embed: decay is nan": put(f"{EMBED}/metadata/bispik/beta", float("nan")),
    # what has the wrong shape or type
    "weight from block_00/attn/input is 6 x 5, expected 6 x 6": put(
        f"{ATTN}/nodes/q_proj/weight", np.ones((6, 5), np.float32)
    ),
    "n001_block/n0_attn/q_proj: weight has 1 dimensions, expected 2": put(
        f"{ATTN}/nodes/q_proj/weight", np.ones(6, np.float32)
    ),
    "n001_block/n0_attn/q_proj: weight has the type int64, expected float32": put(
        f"{ATTN}/nodes/q_proj/weight", np.ones((6, 6), np.int64)
    ),
    "n000_embed_lif: the shape of tau is (7,), but the rest of the file means (6,)": put(f"{EMBED}/tau", np.ones(7)),
    "metadata/bispik/steps_per_token is not an integer": put(f"{META}/steps_per_token", 3.0),
    "metadata/bispik/dt is not a number": put(f"{META}/dt", "soon"),
    "metadata/bispik/schema is not a string": put(f"{META}/schema", np.zeros(3)),
    "n001_block/n0_attn: edges is not a list of pairs": put(f"{ATTN}/edges", np.zeros(4)),
    "config_json is not JSON": put(f"{META}/config_json", "{"),
    "config_json is not JSON: maximum recursion depth": put(f"{META}/config_json", "[" * 100_000),
    "config_json is not an object of numbers": put(f"{META}/config_json", '{"a": [1]}'),
    # what leads elsewhere
    "n0_attn is a link to another place": link(ATTN, h5py.SoftLink(f"/{ATTN}")),
    "n999_head/lm_head: weight is a link to another place": link(
        f"{HEAD}/nodes/lm_head/weight", h5py.ExternalLink("other.h5", "/secret")
    ),
    "n999_head/lm_head: weight lies in another file": elsewhere,
    "final_ln: scale lies in another file": declare(
        f"{HEAD}/nodes/final_ln/scale", (6,), external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
    ),
}

CLAIMS: dict[str, Change] = {
    "lm_head: weight claims 4,000,000,000,000 bytes": declare(f"{HEAD}/nodes/lm_head/weight", (1_000_000, 1_000_000)),
    "final_ln: scale claims 4,000,000,000,000 bytes": declare(
        f"{HEAD}/nodes/final_ln/scale", (10**12,), chunks=(1000,), compression="gzip"
    ),
    "final_ln: scale claims 400,000,000 bytes": declare(
        f"{HEAD}/nodes/final_ln/scale", (6,), chunks=(10**8,), maxshape=(None,), compression="gzip"
    ),
    "metadata/bispik/tokenizer claims 1,000,000,000 bytes": declare(f"{META}/tokenizer", (), dtype="S1000000000"),
}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "model.nir"
    write_nir(random_graph(Form(layers=1)), path)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.nir"
    path.write_bytes(content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BispikError) as error:
        read_nir(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("message", CASES)
def test_a_changed_file_is_refused(message: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        CASES[message](file)
    assert message in refusal(path)


@pytest.mark.parametrize("message", CLAIMS)
def test_memory_that_a_file_claims_is_not_taken(message: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        CLAIMS[message](file)
    tracemalloc.start()
    found = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in found
    assert peak < 10e6


def test_metadata_that_a_later_minor_version_adds_are_ignored(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        put(f"{META}/schema_version", "3.7")(file)
        put(f"{META}/colour", "green")(file)
        put(f"{QUERY}/metadata/other_tool", 1)(file)
    assert read_nir(path).node("head").size == 7


@pytest.mark.parametrize("share", np.linspace(0, 0.999, 20))
def test_a_truncated_file_is_refused(share: float, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "not a readable NIR file" in refusal(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.nir").write_text("# NIR\n")
    for name in ("absent.nir", "text.nir", "."):
        assert "not a readable NIR file" in refusal(tmp_path / name)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = 1
    assert "the node is missing" in refusal(tmp_path / "other.h5")


def test_a_network_of_another_tool_is_refused_by_name(tmp_path: Path) -> None:
    n = np.ones(2)
    lif = nir.LIF(tau=n, r=n, v_leak=n, v_threshold=n)
    affine = nir.Affine(weight=np.ones((2, 2)), bias=n)
    inner = nir.NIRGraph.from_list(affine, lif)
    nir.write(tmp_path / "other.nir", nir.NIRGraph.from_list(affine, inner))
    message = refusal(tmp_path / "other.nir")
    assert "not written by bispik-compile" in message
    assert "2 Affine, 2 Input, 1 LIF, 2 NIRGraph, 2 Output" in message
    assert "--convention" in message
    nir.write(tmp_path / "neuron.nir", lif)
    assert "nodes: 1 LIF)" in refusal(tmp_path / "neuron.nir")
