"""What a NIR file means to whoever follows NIR's own definitions: the network that was written."""

from __future__ import annotations

import dataclasses
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import nir
import norse.torch as norse
import numpy as np
import numpy.typing as npt
import pytest
import torch

from bispik.compiler.deferred import numbers
from bispik.compiler.graph import Attention, Join, Neurons, Population, Readout, Spikes, SpikingGraph
from bispik.compiler.nir_export import write_nir
from bispik.compiler.nir_schema import slots_of
from tests.compiler.graphs import Form, random_graph

Vector = npt.NDArray[np.float64]
HARD = Form(reset="hard", fire="gt", double=True, steps=6, heads=4, head_dim=6)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.nir"


def _hard_reset(current: Vector, neurons: Neurons) -> Vector:
    """Spikes of `graph.Neurons` with a hard reset; currents are (steps, n)."""
    v = np.zeros(neurons.size)
    s = np.zeros_like(current)
    for t in range(len(current)):
        v = neurons.decay * v * (1 - s[t - 1] if t else 1) + current[t] + neurons.bias
        s[t] = v > neurons.threshold
    return s


def _first_token(graph: SpikingGraph, current: Vector) -> dict[str, Vector]:
    """Every node's output (steps, n) for a sequence of one token, by the definitions in `graph`."""
    out: dict[str, Vector] = {"input": current}
    for node in graph.nodes[1:]:
        sources = [out[name] for name in node.sources]
        if isinstance(node, Population):
            weights = [np.eye(node.size) if p.weight is None else numbers(p.weight) for p in node.inputs]
            currents = [s @ w.T for s, w in zip(sources, weights, strict=True)]
            out[node.name] = _hard_reset(np.sum(currents, axis=0), node.neurons)
        elif isinstance(node, Join):
            out[node.name] = np.sum(sources, axis=0)
        elif isinstance(node, Attention):
            query, key, value = sources
            scores = (query * key).reshape(len(query), node.heads, node.head_dim).sum(axis=2)
            out[node.name] = _hard_reset(scores, node.neurons).repeat(node.head_dim, axis=1) * value
        elif isinstance(node, Readout):
            out[node.name] = sources[0].mean(axis=0)
    return out


def vector(values: Any) -> Vector:
    return np.asarray(values, np.float64)


class _Interpreter:
    """Runs any NIR network in Euler steps of dt, knowing nothing of ours: edges that meet are summed."""

    def __init__(self, dt: float) -> None:
        self.dt = dt
        self.v: dict[str, Any] = {}
        self.out: dict[str, list[Vector]] = {}

    def step(self, graph: Any, x: Vector, path: str = "") -> Vector:
        before: dict[str, list[str]] = {name: [a for a, b in graph.edges if b == name] for name in graph.nodes}
        out: dict[str, Vector] = {}
        for name in TopologicalSorter(before).static_order():
            incoming = x if name == "input" else np.sum([out[source] for source in before[name]], axis=0)
            out[name] = self.node(graph.nodes[name], incoming, f"{path}/{name}" if path else name)
            self.out.setdefault(f"{path}/{name}" if path else name, []).append(out[name])
        return out["output"]

    def node(self, node: Any, x: Vector, path: str) -> Vector:
        match node:
            case nir.NIRGraph():
                return self.step(node, x, path)
            case nir.Affine():
                return vector(node.weight @ x + node.bias)
            case nir.Linear():
                return vector(node.weight @ x)
            case nir.Scale():
                return vector(node.scale * x)
            case nir.Threshold():
                return vector(x > node.threshold)
            case nir.I():
                self.v[path] = self.v.get(path, 0) + self.dt * node.r * x
                return vector(self.v[path])
            case nir.LIF():
                v = self.v.get(path, np.zeros_like(node.v_reset))
                v = v + self.dt / node.tau * (node.v_leak - v + node.r * x)
                spikes = v > node.v_threshold
                self.v[path] = np.where(spikes, np.asarray(node.v_reset), v)
                return vector(spikes)
            case _:
                return x


@pytest.mark.parametrize("form", [HARD, dataclasses.replace(HARD, pre_spike=False, mixed_spike=True, fc2_spike=False)])
def test_nir_computes_the_first_token(form: Form, path: Path) -> None:
    graph = random_graph(form)
    write_nir(graph, path)
    current = np.random.default_rng(1).normal(1, 1, (form.steps, form.heads * form.head_dim))
    expected = _first_token(graph, current)
    interpreter = _Interpreter(graph.dt)
    network = nir.read(path)
    for x in current:
        interpreter.step(network, x)
    for slot in slots_of(graph)[1:-1]:
        place = f"{slot.path}/tap_0000_av_and" if slot.kind is Attention else slot.path
        np.testing.assert_array_equal(interpreter.out[place], expected[slot.name], slot.name)
        assert expected[slot.name].any(), f"{slot.name} is silent: the test says nothing about it"
    np.testing.assert_allclose(interpreter.out["n999_head/time_mean"][-1], expected["head"], rtol=1e-12)


@pytest.mark.parametrize("spikes", ["binary", "ternary"])
def test_the_file_says_which_spikes_and_whether_its_gates_are_exact(spikes: Spikes, path: Path) -> None:
    write_nir(random_graph(Form(spikes=spikes)), path)
    network: Any = nir.read(path)
    attention = network.nodes["n001_block"].nodes["n0_attn"]
    assert network.metadata["bispik"]["spikes"] == spikes
    for lif in (network.nodes["n000_embed_lif"], attention.nodes["q_lif"], attention.nodes["tap_0000_score_lif"]):
        assert lif.metadata["bispik"]["spikes"] == spikes
    said = attention.metadata["bispik"]
    assert (said["op"], said["spikes"]) == ("spiking_attention", spikes)
    assert said["gates"] == ("exact" if spikes == "binary" else "placeholders")
    assert said["score"] == "sum over d of q[d] * k[j][d]"


@pytest.mark.filterwarnings("ignore:nirtorch.load is being deprecated:DeprecationWarning")
def test_norse_spikes_alike(path: Path) -> None:
    graph = random_graph(HARD)
    write_nir(graph, path)
    network: Any = nir.read(path)
    layer = network.nodes["n001_block"].nodes["n0_attn"].nodes
    # A population without v_leak: norse starts at v = v_leak, this network at 0.
    module = norse.from_nir(nir.NIRGraph.from_list(layer["q_proj"], layer["q_lif"]), dt=graph.dt)
    query = graph.node("block_00/attn/query")
    assert isinstance(query, Population)
    assert query.inputs[0].weight is not None
    inputs = np.random.default_rng(0).normal(0.5, 1, (200, query.size))
    state, spikes = None, []
    for x in torch.from_numpy(inputs).float():
        out, state = module(x, state)
        spikes.append(out.detach().numpy())
    expected = _hard_reset(inputs @ numbers(query.inputs[0].weight).T, query.neurons)
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(spikes, expected)
