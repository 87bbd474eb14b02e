"""A graph written as NIR comes back bit by bit, and is what other tools understand by NIR."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.compiler.deferred import numbers
from bispik.compiler.graph import Attention, Injection, Neurons, Population, Readout, Reset, Spikes, SpikingGraph
from bispik.compiler.nir_export import BLOCK_BYTES, write_nir
from bispik.compiler.nir_import import read_nir
from bispik.compiler.nir_lower import lower
from bispik.compiler.nir_tree import Leaf, walk
from bispik.models.errors import BispikError
from tests.compiler.graphs import FORMS, PAPER, Form, assert_same, random_graph

every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.nir"


@every_form
def test_round_trip_is_exact(form: Form, path: Path) -> None:
    graph = random_graph(form)
    write_nir(graph, path)
    assert_same(read_nir(path), graph)


@settings(max_examples=15)
@given(
    decay=st.floats(0, 1, exclude_max=True),
    steps=st.integers(1, 8),
    spikes=st.sampled_from(["binary", "ternary"]),
    reset=st.sampled_from(["soft", "hard"]),
    dt=st.floats(1e-9, 1e3),
    scale=st.floats(-1e30, 1e30),
    tokenizer=st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    hyperparameters=st.dictionaries(st.text(), st.integers() | st.booleans() | st.floats(allow_nan=False) | st.text()),
)
def test_round_trip_of_any_constants(
    tmp_path_factory: pytest.TempPathFactory,
    decay: float,
    steps: int,
    spikes: Spikes,
    reset: Reset,
    dt: float,
    scale: float,
    **texts: Any,
) -> None:
    graph = random_graph(Form(layers=1, decay=decay, steps=steps, spikes=spikes, reset=reset))
    *nodes, readout = graph.nodes
    assert isinstance(readout, Readout)
    graph = dataclasses.replace(graph, dt=dt, nodes=(*nodes, dataclasses.replace(readout, scale=scale)), **texts)
    path = tmp_path_factory.mktemp("any") / "model.nir"
    write_nir(graph, path)
    assert_same(read_nir(path), graph)


@every_form
def test_plain_nir_reads_every_array(form: Form, path: Path) -> None:
    graph = random_graph(form)
    count = write_nir(graph, path)
    found: Any = nir.read(path)
    expected = [(place, node) for place, node in walk(lower(graph)) if place]
    assert count == len(expected)
    for place, node in expected:
        at: Any = found
        for name in place.split("/"):
            at = at.nodes[name]
        assert type(at).__name__ == (node.type if isinstance(node, Leaf) else "NIRGraph"), place
        for key, array in node.fields.items() if isinstance(node, Leaf) else ():
            np.testing.assert_array_equal(at.input_type["input"] if key == "shape" else getattr(at, key), array, place)


@pytest.mark.parametrize("form", [PAPER, FORMS["third party"]], ids=["paper", "third party"])
def test_items_are_those_that_nir_write_makes(form: Form, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.nir", tmp_path / "theirs.nir"
    write_nir(random_graph(form), ours)
    uncompressed: Any = None
    nir.write(theirs, nir.read(ours), compression=uncompressed)
    assert _items(ours) == _items(theirs)


def _items(path: Path) -> dict[str, object]:
    items: dict[str, object] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group):
            items[name] = "group"
            return
        value = item[()]
        if name.endswith("/edges"):
            value = sorted(value.tolist())  # nir reads nodes in alphabetical order, and edges as they stand
        content = value.tobytes() if isinstance(value, np.ndarray | np.generic) else value
        items[name] = (item.shape, item.dtype, h5py.check_string_dtype(item.dtype), content)

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return items


def test_a_file_that_nir_wrote_again_is_read(tmp_path: Path) -> None:
    graph = random_graph()
    write_nir(graph, tmp_path / "ours.nir")
    nir.write(tmp_path / "zipped.nir", nir.read(tmp_path / "ours.nir"))
    assert_same(read_nir(tmp_path / "zipped.nir"), graph)


def test_the_same_graph_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.nir", "two.nir"):
        write_nir(random_graph(), tmp_path / name)
    assert (tmp_path / "one.nir").read_bytes() == (tmp_path / "two.nir").read_bytes()


def test_alphabetical_order_is_execution_order(path: Path) -> None:
    write_nir(random_graph(Form(layers=11)), path)
    top = [name for name in nir.read(path).nodes if name not in ("input", "output")]
    assert top == ["n000_embed_lif", *(f"n{number:03d}_block" for number in range(1, 12)), "n999_head"]


def test_tables_of_the_same_bits_are_written_once(path: Path) -> None:
    graph = random_graph(Form(vocabulary=5000, head_dim=32, layers=1))
    injection, *rest = graph.nodes
    assert isinstance(injection, Injection)
    copied = dataclasses.replace(injection, token_table=numbers(injection.token_table).copy())
    write_nir(dataclasses.replace(graph, nodes=(copied, *rest)), path)
    assert path.stat().st_size < 2 * injection.token_table.nbytes
    read = read_nir(path)
    assert read.of_kind(Injection)[0].token_table is read.of_kind(Readout)[0].weight
    assert_same(read, graph)


def test_tables_that_differ_in_the_sign_of_a_zero_are_both_written(path: Path) -> None:
    graph = random_graph()
    injection, *rest, readout = graph.nodes
    assert isinstance(injection, Injection)
    assert isinstance(readout, Readout)
    table, head = np.zeros_like(readout.weight), np.zeros_like(readout.weight)
    table[0, 0] = -0.0
    ends = dataclasses.replace(injection, token_table=table), dataclasses.replace(readout, weight=head)
    graph = dataclasses.replace(graph, nodes=(ends[0], *rest, ends[1]))
    write_nir(graph, path)
    assert_same(read_nir(path), graph)


def test_weights_in_any_memory_order_are_written(path: Path) -> None:
    graph = random_graph(Form(tied=False))
    injection, *rest = graph.nodes
    assert isinstance(injection, Injection)
    columns: Any = np.asfortranarray(injection.token_table)
    turned = dataclasses.replace(injection, token_table=columns)
    write_nir(dataclasses.replace(graph, nodes=(turned, *rest)), path)
    assert_same(read_nir(path), graph)


def test_neither_writing_nor_reading_copies_the_weights(path: Path) -> None:
    graph = random_graph(Form(layers=1, heads=4, head_dim=256, inner=4096))  # 50 MB
    weights = sum(p.weight.nbytes for n in graph.of_kind(Population) for p in n.inputs if p.weight is not None)
    tracemalloc.start()
    write_nir(graph, path)
    written = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    read = read_nir(path)
    assert tracemalloc.get_traced_memory()[1] < weights / 20
    tracemalloc.stop()
    assert written < 2 * BLOCK_BYTES < weights / 5
    assert_same(read, graph)
    for population in read.of_kind(Population):
        assert not population.neurons.threshold.flags.writeable
        assert population.neurons.threshold.flags.aligned


def _altered(name: str, **values: Any) -> SpikingGraph:
    """A graph in which one node has other values; a function makes the value from the node."""
    graph = random_graph()
    node: Any = graph.node(name)
    new = dataclasses.replace(node, **{k: v(node) if callable(v) else v for k, v in values.items()})
    return dataclasses.replace(graph, nodes=tuple(new if n is node else n for n in graph.nodes))


def _without(name: str) -> SpikingGraph:
    graph = random_graph()
    return dataclasses.replace(graph, nodes=tuple(n for n in graph.nodes if n.name != name))


def _neurons(**values: Any) -> Callable[[Any], Neurons]:
    return lambda node: dataclasses.replace(node.neurons, **values)


THREE = random_graph(Form(heads=3)).of_kind(Attention)[0].neurons
REFUSED = {
    "Population block_01/attn/key with inputs block_01/attn/input (dense) where the network has": (
        _without("block_01/attn/key")
    ),
    "has Readout head with inputs block_01/ffn/sum where the network has nothing": _without("head"),
    "the tokenizer's text has a NUL": dataclasses.replace(random_graph(), tokenizer="a\0b"),
    "head: gamma is 5, expected 6": _altered("head", gamma=np.ones(5)),
    "head: gamma is float16, expected float32": _altered("head", gamma=np.ones(6, np.float16)),
    "head: weight is 7 x 5, expected any x 6": _altered("head", weight=np.ones((7, 5))),
    "3 heads of 3 channels for the 6 neurons of block_00/attn/query": (
        _altered("block_00/attn/attention", heads=3, neurons=THREE)
    ),
    "embed: decay is 1.0": _altered("embed", neurons=_neurons(decay=1.0)),
    "embed: threshold of 1 ternary neurons is not positive, the first is neuron [2]": _altered(
        "embed", neurons=_neurons(spikes="ternary", threshold=np.array([1.0, 1, 0, 1, 1, 1]))
    ),
    "embed: bias of 6 neurons is not finite": _altered("embed", neurons=_neurons(bias=np.full(6, np.nan))),
    "input: 4 position vectors for 5 positions": _altered("input", position_table=np.ones((4, 6))),
    "input: 2 step gains for 3 steps per token": _altered("input", step_gain=(1.0, 1.0)),
    "dt is 0.0 s": dataclasses.replace(random_graph(), dt=0.0),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_graph_that_does_not_fit_is_refused_and_leaves_no_file(message: str, path: Path) -> None:
    path.write_text("before")
    with pytest.raises(BispikError) as error:
        write_nir(REFUSED[message], path)
    assert message in str(error.value)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_text() == "before"


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BispikError, match="cannot be written"):
        write_nir(random_graph(), tmp_path / "file" / "model.nir")


def test_a_full_disk_is_refused_before_hdf5_writes(path: Path) -> None:
    code = f"""
import resource, signal
from pathlib import Path
from bispik.compiler.nir_export import write_nir
from bispik.models.errors import BispikError
from tests.compiler.graphs import random_graph
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_nir(random_graph(), Path({str(path)!r}))
except BispikError as error:
    print(error)
"""
    command, root = [sys.executable, "-c", code], Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=60)
    assert re.fullmatch(rf"{path}: cannot be written: File too large for [0-9,]+ bytes\n", done.stdout)
    assert done.stderr == ""
    assert list(path.parent.iterdir()) == []
