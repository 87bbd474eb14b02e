"""Any wiring of any nodes either is refused in one line or runs as the graph says, node by node."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bispik.compiler.stream.execution_order import execution_order
from bispik.models.errors import BispikError
from tests.stream.nir_files import Array, Nodes, entry, exit_, lif, nir, read, sent, write

N, DT, STEPS = 3, 1e-3, 30
KINDS = ("Linear", "Affine", "Scale", "Delay", "Flatten", "Threshold", "LIF", "LIF", "LIF", "LI", "IF")


def node(kind: str, rng: np.random.Generator) -> Any:
    if kind == "Linear":
        return nir.Linear(rng.normal(1, 4, (N, N)))
    if kind == "Affine":
        return nir.Affine(rng.normal(1, 4, (N, N)), rng.normal(size=N))
    if kind == "Scale":
        return nir.Scale(rng.normal(1, 2, N))
    if kind == "Delay":
        return nir.Delay(DT * rng.integers(0, 3, N))
    if kind == "Flatten":
        return nir.Flatten(np.array([N]), 0, -1)
    if kind == "Threshold":
        return nir.Threshold(rng.normal(0, 0.3, N))
    if kind == "LI":
        return nir.LI(tau=np.full(N, 4 * DT), r=np.ones(N), v_leak=np.zeros(N))
    if kind == "IF":
        return nir.IF(r=np.full(N, 100.0), v_threshold=np.full(N, 0.4))
    return lif(N, v_threshold=0.4)


@st.composite
def networks(draw: st.DrawFn) -> tuple[Nodes, list[tuple[str, str]], int]:
    seed = draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=7))
    inner = [f"n{index}" for index in range(len(kinds))]
    nodes = {name: node(kind, rng) for name, kind in zip(inner, kinds, strict=True)}
    chain = ["input", *inner, "output"]
    edges = set(pairwise(chain))
    edges |= draw(st.sets(st.tuples(st.sampled_from(chain[:-1]), st.sampled_from(chain[1:])), max_size=3))
    return nodes | {"input": entry(N), "output": exit_(N)}, sorted(edges), seed


def node_by_node(nodes: Nodes, edges: list[tuple[str, str]], values: Array) -> Array:
    """Run the graph as it stands, one node after the other, without composing anything."""
    names = sorted(nodes)
    inputs = {name: [source for source, target in edges if target == name] for name in names}
    waits = [name for name in names if isinstance(nodes[name], nir.Delay) and (nodes[name].delay >= DT / 2).all()]
    order = execution_order(names, inputs, "input", waits)
    constants = bias_only(nodes, inputs)
    past: list[dict[str, Array]] = []
    membranes: dict[str, Array] = {name: np.zeros(N) for name in names}
    lines: dict[str, list[Array]] = {name: [] for name in names if isinstance(nodes[name], nir.Delay)}
    for value in values:
        now: dict[str, Array] = {"input": value}
        now |= {name: delayed(nodes[name].delay, lines[name], 0) for name in waits}
        past.append(now)
        for name in order[1:]:
            arriving = total(past, inputs[name], constants)
            if name not in lines:
                now[name] = output(nodes[name], name, arriving, membranes)
                continue
            lines[name].append(arriving)
            if name not in waits:
                now[name] = delayed(nodes[name].delay, lines[name], 1)
    return np.array([now["output"] for now in past])


def delayed(delays: Array, line: list[Array], ran: int) -> Array:
    """Return what leaves a line in this step; ``ran``: 1 if what arrives in this step is in it already."""
    places = len(line) - ran - np.round(delays / DT).astype(int)
    return np.array([line[place][channel] if place >= 0 else 0.0 for channel, place in enumerate(places)])


def bias_only(nodes: Nodes, inputs: dict[str, list[str]]) -> dict[str, Array]:
    """Return, by linear node, what it gives without any spike: what it gave before the first step."""
    found = dict.fromkeys(nodes, np.zeros(N))
    for _ in nodes:
        for name, kind in nodes.items():
            if isinstance(kind, nir.Linear | nir.Affine | nir.Scale | nir.Flatten):
                found[name] = linear(kind, sum((found[source] for source in inputs[name]), np.zeros(N)))
    return found


def linear(kind: Any, values: Array) -> Array:
    if isinstance(kind, nir.Linear):
        return np.asarray(kind.weight @ values)
    if isinstance(kind, nir.Affine):
        return np.asarray(kind.weight @ values + kind.bias)
    return np.asarray(values * kind.scale) if isinstance(kind, nir.Scale) else values


def output(kind: Any, name: str, arriving: Array, membranes: dict[str, Array]) -> Array:
    if isinstance(kind, nir.Threshold):
        return np.where(arriving > kind.threshold, 1.0, 0.0)
    if isinstance(kind, nir.LIF | nir.LI):
        membranes[name] = membranes[name] + DT / kind.tau * (arriving - membranes[name])
    elif isinstance(kind, nir.IF):
        membranes[name] = membranes[name] + DT * kind.r * arriving
    else:
        return linear(kind, arriving)
    if isinstance(kind, nir.LI):
        return membranes[name]
    spikes = membranes[name] > kind.v_threshold
    membranes[name] = np.where(spikes, 0.0, membranes[name])
    return np.where(spikes, 1.0, 0.0)


def total(past: list[dict[str, Array]], sources: list[str], constants: dict[str, Array]) -> Array:
    """Sum what sources gave in this step, or in the one before if they have not run yet."""
    result = np.zeros(N)
    for source in sources:
        given_rows = [rows[source] for rows in past[-1:] if source in rows] or [rows[source] for rows in past[-2:-1]]
        result = result + (given_rows[0] if given_rows else constants[source])
    return result


@pytest.mark.timeout(120)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(networks())
def test_any_graph(tmp_path: Path, drawn: tuple[Nodes, list[tuple[str, str]], int]) -> None:
    nodes, edges, seed = drawn
    path = write(tmp_path, nodes, *(" ".join(edge) for edge in edges))
    values = np.random.default_rng(seed).normal(0.5, 1, (STEPS, N))
    try:
        network = read(path, dt=DT)
    except BispikError as error:
        known = ("membrane", "loop without neurons", "a bias in front", "reaches", "ways lead")
        if not any(words in str(error) for words in known):
            raise
        return
    np.testing.assert_allclose(sent(network, values), node_by_node(nodes, edges, values), rtol=1e-9, atol=1e-9)
