"""NIR files that are damaged, hostile, or mean what a stream network cannot say: one clear line each."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bispik.compiler.stream.nir_read import is_bispik_nir
from bispik.models.errors import BispikError
from tests.stream.nir_files import Nodes, entry, exit_, graph, lif, nir, read, write

File = Any  # h5py has no types
Change = Callable[[File], None]
DT = 1e-3


def plain() -> Nodes:
    """Return a small network: three channels, a matrix, four neurons."""
    return {"input": entry(3), "w": nir.Affine(np.ones((4, 3)), np.zeros(4)), "n": lif(4), "output": exit_(4)}


def put(place: str, value: Any, **options: Any) -> Change:
    def change(file: File) -> None:
        if f"node/{place}" in file:
            del file[f"node/{place}"]
        kind = {"dtype": h5py.string_dtype()} if isinstance(value, str) else {}
        file.create_dataset(f"node/{place}", data=value, **kind, **options)

    return change


def drop(place: str) -> Change:
    def change(file: File) -> None:
        del file[f"node/{place}" if place else "node"]

    return change


def declare(place: str, *shape: int) -> Change:
    """Replace an item by one that claims a shape and stores nothing."""

    def change(file: File) -> None:
        del file[f"node/{place}"]
        file.create_dataset(f"node/{place}", shape=shape, dtype=np.float32, chunks=True, compression="gzip")

    return change


def link(place: str, target: Any) -> Change:
    def change(file: File) -> None:
        del file[f"node/{place}"]
        file[f"node/{place}"] = target

    return change


def edges(*lines: str) -> Change:
    return put("edges", graph({}, *lines).edges, dtype=h5py.string_dtype())


def knot(file: File) -> None:
    """Make a graph its own node."""
    file["node/nodes/sub"] = file["node"]


DAMAGES: dict[str, tuple[Change, str]] = {
    "no node": (drop(""), r"no group called node: this is no NIR file"),
    "no graph": (put("type", "LIF"), r"it holds a single LIF, and no graph"),
    "no nodes": (drop("nodes"), r"nodes is missing; export the network again"),
    "no edges": (drop("edges"), r"edges is missing; export the network again"),
    "unknown end": (edges("input w n output", "n nobody"), r"the edge n -> nobody has no node nobody"),
    "edge twice": (edges("input w n output", "w n"), r"the edge w -> n is there twice"),
    "edge out of the output": (edges("input w n output w"), r"the edge output -> w leaves an Output"),
    "edge into the input": (edges("input w n output", "n input"), r"the edge n -> input enters an Input"),
    "edges of numbers": (put("edges", np.ones((2, 2))), r"edges is not a list of pairs of names"),
    "no input": (edges("w n output"), r"n: nothing that the Input sends reaches this LIF"),
    "nothing leads out": (
        edges("input w n", "input output"),
        r"n: nothing of this LIF reaches the Output|gives \(3,\)",
    ),
    "long names": (edges("input " + 2000 * "w"), r"edges has a name of 2,000 characters"),
    "unknown type": (put("nodes/n/type", "ALIF"), r"n: a node of type 'ALIF' is not supported; replace it by Input"),
    "no type": (drop("nodes/n/type"), r"n: type is missing"),
    "type of numbers": (put("nodes/n/type", 3), r"n: type is not a string"),
    "field missing": (drop("nodes/n/tau"), r"n: this LIF has no tau; export the network again"),
    "text for numbers": (put("nodes/n/tau", "long"), r"n: tau has the type object, expected numbers"),
    "complex": (put("nodes/n/tau", np.ones(4, complex)), r"n: tau has the type complex128"),
    "no numbers": (put("nodes/n/tau", np.zeros(0)), r"n: tau has no numbers"),
    "not a number": (put("nodes/w/weight", np.full((4, 3), np.nan)), r"w: weight is nan in 12 of 12 places"),
    "infinite": (put("nodes/n/tau", np.array([1.0, 1, np.inf, 1])), r"n: tau is inf in 1 of 4 places"),
    "zero tau": (put("nodes/n/tau", np.zeros(4)), r"n: tau is 0 s, expected above 0"),
    "negative tau": (put("nodes/n/tau", -np.ones(4)), r"n: tau is -1 s, expected above 0"),
    "short tau": (put("nodes/n/tau", np.full(4, 1e-4)), r"n: tau is 0.0001 s, shorter than the time step of 0.001 s"),
    "wrong neurons": (put("nodes/n/tau", np.ones(5)), r"n: tau has the shape \(5,\), but this LIF gets \(4,\)"),
    "wrong matrix": (put("nodes/w/weight", np.ones((4, 5))), r"w: this Affine gets the shape \(3,\), expected \(5,\)"),
    "batch": (put("nodes/input/shape", np.array([2, 3])), r"w: .* \(2, 3\), expected \(3,\); if that is a batch"),
    "wrong rank": (put("nodes/w/weight", np.ones(4)), r"w: weight has the shape \(4,\), expected \(outputs, inputs\)"),
    "wrong bias": (put("nodes/w/bias", np.ones(3)), r"w: bias has the shape \(3,\), but this Affine gets \(4,\)"),
    "negative shape": (put("nodes/input/shape", np.array([-3])), r"input: shape is \[-3.0\], expected up to 8 whole"),
    "huge input": (put("nodes/input/shape", np.array([2**30, 2**30])), r"input: its shape .* needs .* numbers"),
    "huge array": (declare("nodes/w/weight", 10**6, 10**6), r"w: weight claims 4,000,000,000,000 bytes"),
    "elsewhere": (
        link("nodes/w/weight", h5py.ExternalLink("/etc/passwd", "/x")),
        r"w: weight is a link to another place",
    ),
    "a graph in itself": (knot, r"graphs are nested more than 16 deep|more than \d+ nodes, which a file of"),
    "time step of 0": (put("metadata/dt", 0.0), r"metadata say that dt is 0.0, expected one number above 0"),
}


@pytest.mark.parametrize("name", list(DAMAGES))
def test_a_damaged_file(tmp_path: Path, name: str) -> None:
    change, message = DAMAGES[name]
    path = write(tmp_path, plain(), "input w n output")
    with h5py.File(path, "r+") as file:
        change(file)
    tracemalloc.start()
    with pytest.raises(BispikError, match=message) as caught:
        read(path, dt=DT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = write(tmp_path, plain(), "input w n output")
    whole = path.read_bytes()
    for share in (0, 0.3, 0.7, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(BispikError, match="not a readable NIR file"):
            read(path, dt=DT)


def test_no_byte_that_changes_does_more_than_raise_an_error_of_ours(tmp_path: Path) -> None:
    path = write(tmp_path, plain(), "input w n output")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), 4):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        with contextlib.suppress(BispikError):
            read(path, dt=DT)


def conv(**changed: Any) -> Any:
    fields: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    return nir.Conv2d(input_shape=None, weight=np.ones((4, 2, 3, 3)), bias=np.zeros(4), **(fields | changed))


def put_conv(nodes: Nodes, **changed: Any) -> Nodes:
    node = conv(**changed)
    node.input_shape = (8, 8)
    return nodes | {"input": entry(2, 8, 8), "c": node, "output": exit_(4, 6, 6)}


CONVOLUTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "fraction": ({"stride": np.array([1.5, 1])}, r"c: stride is \[1.5, 1.0\], expected whole numbers of 1 or more"),
    "zero": ({"stride": np.array([0, 0])}, r"c: stride is \[0.0, 0.0\], expected whole numbers of 1 or more"),
    "three": ({"dilation": np.array([1, 1, 1])}, r"c: dilation has 3 numbers, expected one or two"),
    "groups": ({"groups": 3}, r"c: groups is \[3\], which does not divide 2 channels to 4"),
    "channels": ({"groups": 2}, r"c: this Conv2d gets 2 channels, expected 4 channels"),
    "word": (
        {"padding": "same", "stride": np.array([2, 2])},
        r"c: padding is 'same'",
    ),
    "too large": ({"dilation": 4}, r"c: its kernel reaches over \(9, 9\), more than the padded map of \(2, 8, 8\)"),
    "vast": ({"padding": np.array([2**30, 2**30])}, r"c: its shape \(4, \d+, \d+\) needs"),
}


@pytest.mark.parametrize("name", list(CONVOLUTIONS))
def test_a_convolution_that_cannot_be(tmp_path: Path, name: str) -> None:
    changed, message = CONVOLUTIONS[name]
    with pytest.raises(BispikError, match=message):
        read(write(tmp_path, put_conv({}, **changed), "input c output"), dt=DT)


def test_a_convolution_that_expects_another_map(tmp_path: Path) -> None:
    nodes = put_conv({}) | {"input": entry(2, 9, 8)}
    with pytest.raises(BispikError, match=r"c: input_shape is \(8, 8\), but this Conv2d gets a map of \(9, 8\)"):
        read(write(tmp_path, nodes, "input c output"), dt=DT)


def test_a_pooling_kernel_of_absurd_size(tmp_path: Path) -> None:
    size = np.array([2**20, 2**20])
    nodes = {"input": entry(1, 4, 4), "p": nir.SumPool2d(size, size, size // 2), "output": exit_(1, 1, 1)}
    with pytest.raises(BispikError, match=r"p: its kernel needs 1,099,511,627,776 numbers"):
        read(write(tmp_path, nodes, "input p output"), dt=DT)


N3 = np.ones(3)
STRUCTURES: dict[str, tuple[Nodes, tuple[str, ...], str]] = {
    "two inputs": (
        {"input": entry(3), "other": entry(3), "n": lif(3), "output": exit_(3)},
        ("input n output", "other n"),
        r"2 Input nodes: input, other; a graph must have one",
    ),
    "no output": ({"input": entry(3), "n": lif(3)}, ("input n",), r"0 Output nodes; a graph must have one"),
    "two ports": (
        {
            "input": entry(3),
            "sub": graph({"i": entry(3), "j": entry(3), "n": lif(3), "o": exit_(3)}, "i n o", "j n"),
            "output": exit_(3),
        },
        ("input sub output",),
        r"sub: 2 Input nodes: sub/i, sub/j",
    ),
    "port of another shape": (
        {"input": entry(3), "sub": graph({"i": entry(4), "n": lif(4), "o": exit_(4)}, "i n o"), "output": exit_(3)},
        ("input sub output",),
        r"sub/i: this nested graph's port gets the shape \(3,\), expected \(4,\)",
    ),
    "a loop without neurons": (
        {"input": entry(3), "a": nir.Scale(N3), "b": nir.Scale(N3), "output": exit_(3)},
        ("input a b output", "b a"),
        r"a loop without neurons: a, b; put neurons on it",
    ),
    "a loop of a delay": (
        {"input": entry(3), "a": nir.Scale(N3), "b": nir.Delay(DT * N3), "output": exit_(3)},
        ("input a b output", "b a"),
        r"a loop without neurons: a, b; put neurons on it",
    ),
    "a loop that nothing enters": (
        {"input": entry(3), "n": lif(3), "a": lif(3), "b": lif(3), "output": exit_(3)},
        ("input n output", "a b a", "b n"),
        r"(a|b): nothing that the Input sends reaches this LIF",
    ),
    "shapes that meet": (
        {"input": entry(3), "a": nir.Linear(np.ones((4, 3))), "n": lif(3), "output": exit_(3)},
        ("input n output", "input a n"),
        r"n: edges that meet are summed, but input gives the shape \(3,\) and a gives \(4,\)",
    ),
    "a membrane for neurons": (
        {"input": entry(3), "li": nir.LI(N3, N3, 0 * N3), "n": lif(3), "output": exit_(3)},
        ("input li n output",),
        r"li: the membrane of this LI goes to n; neurons send spikes",
    ),
    "a membrane beside others": (
        {"input": entry(3), "li": nir.LI(N3, N3, 0 * N3), "n": lif(3), "output": exit_(3)},
        ("input li output", "input n output"),
        r"li: the membrane of this LI goes to output",
    ),
    "half a step": (
        {"input": entry(3), "d": nir.Delay(2.5 * DT * N3), "n": lif(3), "output": exit_(3)},
        ("input d n output",),
        r"d: delay is 0.0025 s, which is 2.5 steps of 0.001 s; the nearest whole number of steps is 0.002 s",
    ),
    "into the past": (
        {"input": entry(3), "d": nir.Delay(-DT * N3), "n": lif(3), "output": exit_(3)},
        ("input d n output",),
        r"d: delay is -0.001 to -0.001 s, expected 0 or more",
    ),
    "a bias that would be late": (
        {"input": entry(3), "b": nir.Affine(np.eye(3), N3), "d": nir.Delay(DT * N3), "n": lif(3), "output": exit_(3)},
        ("input b d n output",),
        r"d: a bias in front of this Delay would set in late",
    ),
    "too many ways": (
        {"input": entry(99), "d": nir.Delay(DT * np.arange(99.0)), "n": lif(99), "output": exit_(99)},
        ("input d n output",),
        r"d: more than 64 different delays",
    ),
}


@pytest.mark.parametrize("name", list(STRUCTURES))
def test_a_graph_that_cannot_be(tmp_path: Path, name: str) -> None:
    nodes, lines, message = STRUCTURES[name]
    with pytest.raises(BispikError, match=message):
        read(write(tmp_path, nodes, *lines), dt=DT)


def test_a_file_of_ours_is_told_from_others(tmp_path: Path) -> None:
    path = write(tmp_path, plain(), "input w n output")
    assert not is_bispik_nir(path)
    with h5py.File(path, "r+") as file:
        put("metadata/bispik/schema", "bispik-nir")(file)
    assert is_bispik_nir(path)
