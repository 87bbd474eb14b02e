"""A language model's window as NIR: in norse, snnTorch and SpikingJelly it is the network, spike for spike."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nir as typed_nir
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.compiler import nir_unrolled
from bispik.compiler.deferred import numbers
from bispik.compiler.float_network import run_float
from bispik.compiler.graph import Attention, Injection, Population, Readout, SpikingGraph
from bispik.compiler.lift import lift
from bispik.compiler.nir_export import write_nir
from bispik.compiler.nir_unrolled import write_unrolled
from bispik.compiler.stream.float_run import run_stream_float
from bispik.compiler.stream.nir_read import is_bispik_nir, read_nir_stream
from bispik.compiler.unroll import Profile
from bispik.models.errors import BispikError
from tests.checkpoints import random_checkpoint
from tests.compiler.graphs import FORMS, PAPER, Form, random_graph
from tests.nir_tools import TOOLS, imported, read, run

pytestmark = pytest.mark.filterwarnings("ignore:nirtorch.load is being deprecated:DeprecationWarning")

nir: Any = typed_nir
Array = npt.NDArray[Any]

every_tool = pytest.mark.parametrize("tool", TOOLS)
BATCH = 2
PAGE = Path(__file__).parents[2] / "docs" / "nir.md"
HARD = Form(reset="hard", fire="gt", double=True)
NETWORKS: dict[str, tuple[Form, Profile]] = {
    "hard resets": (HARD, "unrolled"),
    "hard resets, a sum of other channels": (dataclasses.replace(HARD, fc2_spike=False, mixed_spike=True), "unrolled"),
    "hard resets, no neurons in front": (dataclasses.replace(HARD, pre_spike=False, fire="ge"), "soft_lowered"),
    "soft resets": (PAPER, "soft_lowered"),
    "soft resets, a sum of other channels": (Form(fc2_spike=False), "soft_lowered"),
    "a real stream": (FORMS["a real stream"], "soft_lowered"),
    "nothing kept": (FORMS["neurons behind everything"], "soft_lowered"),
    "ternary": (Form(spikes="ternary", steps=6), "soft_lowered"),
    "ternary, one step": (FORMS["ternary, hard reset, strict"], "unrolled"),
}


SEEDS = {"nothing kept": 14}
"""Of networks in which all is not alive with SEED."""
SEED = 4


def network_of(name: str) -> tuple[SpikingGraph, Profile]:
    form, profile = NETWORKS[name]
    return random_graph(form, SEEDS.get(name, SEED)), profile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.nir"


def columns(outputs: Array) -> Array:
    """(T, B, L, size) to (T, B, size, L)."""
    return outputs.swapaxes(2, 3)


def spikes_of(graph: SpikingGraph, ids: Array) -> tuple[Array, dict[str, Array], Array]:
    """The input, what every bundle of neurons shall do, and the logits; spikes are (T, B, size, L)."""
    activity = run_float(graph, ids)
    expected: dict[str, Array] = {}
    for node in graph.of_kind(Population):
        outputs = columns(activity.outputs[node.name])
        expected |= {node.name: outputs > 0, f"{node.name}/minus": outputs < 0}
    for attention in graph.of_kind(Attention):
        expected[attention.name] = columns(activity.outputs[attention.name])
    expected["output"] = columns(activity.outputs[graph.of_kind(Readout)[0].source])
    return columns(activity.outputs["input"])[..., None], expected, activity.logits


def bundles(network: Any, seen: dict[str, Array]) -> Iterator[tuple[str, str, Array]]:
    """Yield node, bundle and spikes (T, B, size, L) of every bundle, where it was made and where it is repeated."""
    for name, spikes in seen.items():
        channels = json.loads(network.nodes[name].metadata["bispik"]["channels_json"])
        for bundle, (first, last) in channels.items():
            yield name, bundle, spikes[:, :, first:last, :, 0]


def attended(spikes: dict[str, Array], attention: str) -> Array:
    """What an attention sends: its gates' spikes, of two signs if there are four for each token looked back."""
    gates = {name: found for name, found in spikes.items() if name.startswith(f"{attention}/") and "/av_" in name}
    ternary = any(name.endswith("_3") for name in gates)
    signs = [1, -1, -1, 1] if ternary else [1]
    return np.asarray(np.sum([signs[int(name[-1])] * found for name, found in gates.items()], axis=0))


def assert_runs_alike(tool: str, graph: SpikingGraph, path: Path) -> None:
    window = int(read(path).metadata["bispik"]["window"])
    ids = np.random.default_rng(0).integers(0, len(graph.of_kind(Injection)[0].token_table), (BATCH, window))
    values, expected, logits = spikes_of(graph, ids)
    network = read(path)
    lifs = tuple(name for name in network.nodes if name.endswith("_lif"))
    output, seen = run(imported(tool, network, graph.dt), values, lifs)
    network = read(path)
    found: dict[str, Array] = {}
    for node, bundle, spikes in bundles(network, seen):
        if bundle in expected:
            np.testing.assert_array_equal(spikes, expected[bundle], f"{node}: {bundle}")
        found[bundle] = spikes
    for population in graph.of_kind(Population):
        assert expected[population.name].any(), f"{population.name} is silent: the test says nothing about it"
        assert population.name in found
    for attention in graph.of_kind(Attention):
        assert expected[attention.name].any(), f"{attention.name} is silent: the test says nothing about it"
        np.testing.assert_array_equal(attended(found, attention.name), expected[attention.name], attention.name)
    np.testing.assert_allclose(output[..., 0], expected["output"], atol=1e-5)
    np.testing.assert_allclose(readout(network.metadata["bispik"], output), logits, rtol=1e-4, atol=1e-4)


def readout(host: dict[str, Any], output: Array) -> Array:
    """The logits, (B, L, vocabulary), as the file says that the host makes them from the output."""
    hidden = output[..., 0].astype(np.float64).mean(axis=0).swapaxes(1, 2)
    centred = hidden - hidden.mean(axis=-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + host["epsilon"])
    logits: Array = (normal * host["gamma"] + host["beta"]) @ host["head"].T * host["scale"]
    return logits


@every_tool
@pytest.mark.parametrize("name", NETWORKS)
def test_the_tools_spike_alike(tool: str, name: str, path: Path) -> None:
    graph, profile = network_of(name)
    write_unrolled(graph, path, graph.max_positions, profile)
    assert_runs_alike(tool, graph, path)


@every_tool
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_the_tools_spike_as_a_model_of_ours(tool: str, reset: str, path: Path) -> None:
    graph = lift(random_checkpoint(3, current_norm="batch", reset=reset), "")
    write_unrolled(graph, path, 6, "soft_lowered" if reset == "subtract" else "unrolled")
    assert_runs_alike(tool, graph, path)


@every_tool
def test_neurons_of_several_kinds(tool: str, path: Path) -> None:
    graph = random_graph(seed=SEED)
    nodes: list[Any] = []
    for number, node in enumerate(graph.nodes):
        if isinstance(node, Population):
            changed: Any = {"decay": 0.5} if number % 2 else {"reset": "hard", "fire": "gt"}
            nodes.append(dataclasses.replace(node, neurons=dataclasses.replace(node.neurons, **changed)))
        else:
            nodes.append(node)
    graph = dataclasses.replace(graph, nodes=tuple(nodes))
    write_unrolled(graph, path, 4, "soft_lowered")
    assert_runs_alike(tool, graph, path)


@settings(max_examples=12)
@given(
    form=st.builds(
        Form,
        layers=st.integers(1, 3),
        heads=st.integers(1, 3),
        head_dim=st.integers(1, 3),
        steps=st.integers(1, 4),
        positions=st.integers(1, 4),
        reset=st.sampled_from(["soft", "hard"]),
        fire=st.sampled_from(["ge", "gt"]),
        decay=st.sampled_from([0.0, 0.3, 0.9]),
        pre_spike=st.booleans(),
        mixed_spike=st.booleans(),
        fc2_spike=st.booleans(),
        block_spike=st.booleans(),
    ),
    seed=st.integers(0, 99),
)
def test_nir_itself_means_the_same_of_any_network(
    tmp_path_factory: pytest.TempPathFactory, form: Form, seed: int
) -> None:
    assert_means_the_same(random_graph(form, seed), "soft_lowered", tmp_path_factory.mktemp("any") / "model.nir")


@pytest.mark.parametrize("name", ["hard resets", "soft resets", "ternary"])
def test_nir_itself_means_the_same(name: str, path: Path) -> None:
    assert_means_the_same(*network_of(name), path)


def assert_means_the_same(graph: SpikingGraph, profile: Profile, path: Path) -> None:
    """By NIR's own equations, as our reader of other tools' files has them."""
    write_unrolled(graph, path, graph.max_positions, profile)
    assert not is_bispik_nir(path)
    ids = np.random.default_rng(0).integers(0, Form.vocabulary, (1, graph.max_positions))
    values, expected, _ = spikes_of(graph, ids)
    network = read_nir_stream(path, convention=None, dt=None)  # the file says the time step
    sent = run_stream_float(network, values.reshape(graph.steps_per_token, -1)).sent
    plain = read(path)
    seen = {
        name: found.reshape(len(found), 1, *plain.nodes[name].v_reset.shape)
        for name, found in sent.items()
        if name.endswith("_lif")
    }
    for node, bundle, spikes in bundles(plain, seen):
        if bundle in expected:
            np.testing.assert_array_equal(spikes, expected[bundle], f"{node}: {bundle}")
    np.testing.assert_array_equal(sent[network.output], expected["output"].reshape(graph.steps_per_token, -1))


def test_the_file_has_common_nodes_only_and_what_the_host_needs(path: Path) -> None:
    graph = random_graph(Form(tied=False))
    count = write_unrolled(graph, path, 3, "soft_lowered")
    network = read(path)
    assert {type(node).__name__ for node in network.nodes.values()} == {"Input", "Output", "Conv2d", "CubaLIF"}
    assert len(network.nodes) == count
    host = network.metadata["bispik"]
    assert (host["profile"], host["window"], host["steps_per_token"], host["dt"]) == ("soft_lowered", 3, 3, 1e-4)
    injection = graph.of_kind(Injection)[0]
    np.testing.assert_array_equal(host["tok_embed"], numbers(injection.token_table))
    np.testing.assert_array_equal(host["pos_embed"], numbers(injection.position_table))
    np.testing.assert_array_equal(host["step_gain"], injection.step_gain)
    assert "embedding" in host["left_out"]
    assert "final norm and head" in host["left_out"]


def test_a_shared_table_is_written_once(path: Path) -> None:
    write_unrolled(random_graph(), path, 3, "soft_lowered")
    assert read(path).metadata["bispik"]["tok_embed"] == nir_unrolled.TIED


def test_the_page_says_how_to_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(seed=SEED)
    (tmp_path / "out").mkdir()
    write_unrolled(graph, tmp_path / "out" / "soft_lowered.nir", 4, "soft_lowered")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    expected = run_float(graph, np.array([names["ids"]])).logits[0]
    np.testing.assert_allclose(names["logits"].detach().numpy(), expected, rtol=1e-4, atol=1e-4)


# --- what cannot be said ----------------------------------------------------------------------------------------------


def _with_threshold(value: float) -> SpikingGraph:
    graph = random_graph(HARD)
    node = graph.node("block_01/ffn/fc1")
    assert isinstance(node, Population)
    neurons = dataclasses.replace(node.neurons, threshold=np.full(node.size, float(value)))
    changed = dataclasses.replace(node, neurons=neurons)
    return dataclasses.replace(graph, nodes=tuple(changed if n is node else n for n in graph.nodes))


REFUSED: dict[str, tuple[SpikingGraph, Profile, int]] = {
    "block_00/attn/norm is a LayerNorm inside a block": (random_graph(FORMS["third party"]), "soft_lowered", 3),
    "embed has a soft reset, and the neurons of NIR reset to a value: --emit nir-soft-lowered": (
        (random_graph(), "unrolled", 3)
    ),
    "embed has ternary spikes and a hard reset": (
        (random_graph(Form(spikes="ternary", reset="hard")), "soft_lowered", 3)
    ),
    "the residual stream begins with the embedding's real numbers": (
        (random_graph(Form(stream=True, fc2_spike=False)), "soft_lowered", 3)
    ),
    "block_01/ffn/fc1: 10 of 10 neurons have thresholds of 0 or below": (_with_threshold(0), "unrolled", 3),
    "a window of 6 tokens; the network has positions for 1 to 5": (random_graph(), "soft_lowered", 6),
    "a window of 0 tokens": (random_graph(), "soft_lowered", 0),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_said_is_refused_and_leaves_no_file(message: str, path: Path) -> None:
    graph, profile, window = REFUSED[message]
    with pytest.raises(BispikError) as error:
        write_unrolled(graph, path, window, profile)
    assert message in str(error.value)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("most", "hint"), [(60_000, "--window 2 takes"), (1000, "no room for a single token either")])
def test_too_large_a_window_is_refused_with_one_that_fits(
    most: int, hint: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nir_unrolled, "MAX_BYTES", most)
    with pytest.raises(BispikError, match=f"a window of 5 tokens, side by side, takes weights .*; .*{hint}"):
        write_unrolled(random_graph(), path, 5, "soft_lowered")


@every_tool
@pytest.mark.parametrize("form", [HARD, PAPER], ids=["hard resets", "soft resets"])
def test_no_tool_imports_the_compact_profile(tool: str, form: Form, path: Path) -> None:
    write_nir(random_graph(form), path)
    with pytest.raises((AssertionError, KeyError, ValueError)):
        imported(tool, read(path))


ONE = np.ones(3)
UNKNOWN = {
    "Scale": nir.Scale(ONE),
    "Threshold": nir.Threshold(ONE),
    "I": nir.I(ONE),
    "LI": nir.LI(tau=1e-3 * ONE, r=ONE, v_leak=0 * ONE),
    "Delay": nir.Delay(1e-3 * ONE),
}


@every_tool
@pytest.mark.parametrize("name", UNKNOWN)
def test_no_tool_imports_the_nodes_that_would_say_it_shorter(tool: str, name: str) -> None:
    with pytest.raises(ValueError, match=r"Cannot find the input|Unknown node type"):
        imported(tool, nir.NIRGraph.from_list(UNKNOWN[name]))


@pytest.mark.parametrize("tool", ["snntorch", "spikingjelly"])
def test_one_threshold_for_a_layer(tool: str) -> None:
    lif = nir.LIF(tau=1e-3 * ONE, r=ONE, v_leak=0 * ONE, v_threshold=np.array([0.5, 0.6, 0.7]), v_reset=0 * ONE)
    with pytest.raises((AssertionError, ValueError), match=r"must be (same|uniform)"):
        imported(tool, nir.NIRGraph.from_list(lif))


@every_tool
def test_norse_alone_does_not_run_branches(tool: str) -> None:
    nodes = {"input": nir.Input(np.array([1])), "output": nir.Output(np.array([1]))}
    nodes |= {name: nir.Linear(np.eye(1, dtype=np.float32)) for name in ("one", "other", "sum")}
    edges = [("input", "one"), ("input", "other"), ("one", "sum"), ("other", "sum"), ("sum", "output")]
    output, _ = run(imported(tool, nir.NIRGraph(nodes, edges)), np.array([[1.0], [10.0], [100.0]]))
    right = output.ravel().tolist() == [2, 20, 200]
    assert right == (tool != "norse")
