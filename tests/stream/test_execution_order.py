"""Which edges of a loop reach back, against nirtorch running the same graph."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import nirtorch
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from bispik.compiler.stream.execution_order import execution_order, loops
from bispik.compiler.stream.network import StreamNetwork
from tests.stream.nir_files import Array, entry, exit_, graph, lif, nir, read, sent, write

N, DT = 3, 1e-3


class Neurons(torch.nn.Module):
    """LIF by Euler's rule, with its state handed in and out as nirtorch wants it."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self.keep = torch.from_numpy(1 - DT / node.tau)
        self.threshold = torch.from_numpy(node.v_threshold)

    def forward(self, values: torch.Tensor, state: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        membrane = (0 if state is None else self.keep * state) + (1 - self.keep) * values
        spikes = (membrane > self.threshold).double()
        return spikes, torch.where(spikes > 0, 0.0, membrane)


def by_nirtorch(made: Any, values: Array) -> Array:
    net = nirtorch.nir_to_torch(made, {nir.LIF: Neurons}, dtype=torch.double)
    state, rows = None, []
    for value in torch.from_numpy(values):
        output, state = net(value, state)
        rows.append(output.detach().numpy())
    return np.array(rows)


def arrivals(network: StreamNetwork) -> list[tuple[str, int]]:
    """Return sources and delays of the only population."""
    (population,) = network.populations
    return sorted((p.source, p.delay) for p in population.inputs)


def dense(seed: int) -> Any:
    return nir.Linear(np.random.default_rng(seed).normal(0.4, 5, (N, N)))


LOOPS = {
    "own spikes": ("input w0 a output", "a w1 a"),
    "two populations": ("input w0 a w1 b output", "b w2 a"),
    "a loop that is named before the input": ("input w0 z w1 b output", "b w2 z"),
    "two own loops": ("input w0 a w1 b output", "a w2 a", "b w3 b"),
    "a skip into a loop": ("input w0 a w1 b output", "b w2 a", "input w3 b"),
    "a skip": ("input w0 a w1 b output", "a w3 output"),
    "three in a ring": ("input w0 a w1 b w2 c output", "c w3 a"),
}


@pytest.mark.parametrize("edges", LOOPS.values(), ids=list(LOOPS))
def test_loops_run_as_nirtorch_runs_them(tmp_path: Path, edges: tuple[str, ...]) -> None:
    names = {name for line in edges for name in line.split()}
    nodes: dict[str, Any] = {"input": entry(N), "output": exit_(N)}
    for name in names - set(nodes):
        nodes[name] = dense(int(name[1])) if name[0] == "w" else lif(N, v_threshold=0.4)
    nodes = dict(sorted(nodes.items()))  # the order in which nir.read finds them
    values = (np.random.default_rng(9).random((80, N)) < 0.5).astype(float)
    found = sent(read(write(tmp_path, nodes, *edges), dt=DT), values)
    if edges[-1].endswith("output"):  # nirtorch returns what meets at an Output unsummed
        nodes["sum"] = nir.Linear(np.eye(N))
        edges = (*(line.replace(" output", " sum") for line in edges), "sum output")
    expected = by_nirtorch(graph(nodes, *edges), values)
    assert 0.02 < (expected != 0).mean() < 0.98
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_what_runs_forward_does_not_wait_for_its_own_loop(tmp_path: Path) -> None:
    """Where nirtorch differs: it runs b, which gets something from its loop alone, before a has sent anything."""
    nodes = (
        {name: lif(N) for name in "abc"} | {"w0": dense(0), "w1": dense(1)} | {"input": entry(N), "output": exit_(N)}
    )
    network = read(write(tmp_path, nodes, "input w0 a w1 b c output", "c a", "c b"), dt=DT)
    found = {p.name: sorted((i.source, i.delay) for i in p.inputs) for p in network.populations}
    assert found == {"a": [("c", 1), ("input", 0)], "b": [("a", 0), ("c", 1)], "c": [("b", 0)]}


def test_a_loop_through_a_nested_graph_reaches_back_where_it_enters(tmp_path: Path) -> None:
    inner = graph(
        {"input": entry(N), "lif": lif(N), "w": dense(1), "output": exit_(N)}, "input lif output", "lif w lif"
    )
    nodes = {"input": entry(N), "sub": inner, "back": dense(2), "output": exit_(N)}
    network = read(write(tmp_path, nodes, "input sub output", "sub back sub"), dt=DT)
    assert arrivals(network) == [("input", 0), ("sub/lif", 1)]


def test_a_delay_on_a_loop_is_all_it_waits(tmp_path: Path) -> None:
    nodes = {"input": entry(N), "a": lif(N), "wait": nir.Delay(np.full(N, 3 * DT)), "w": dense(1), "output": exit_(N)}
    network = read(write(tmp_path, nodes, "input a output", "a wait w a"), dt=DT)
    assert arrivals(network) == [("a", 3), ("input", 0)]


def test_a_delay_of_no_step_leaves_the_loop_to_reach_back(tmp_path: Path) -> None:
    nodes = {"input": entry(N), "a": lif(N), "wait": nir.Delay(np.zeros(N)), "w": dense(1), "output": exit_(N)}
    network = read(write(tmp_path, nodes, "input a output", "a wait w a"), dt=DT)
    assert arrivals(network) == [("a", 1), ("input", 0)]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    names = [f"n{index}" for index in range(draw(st.integers(2, 8)))]
    edge = st.tuples(st.sampled_from(names), st.sampled_from(names[1:]))
    edges = draw(st.sets(edge, min_size=1, max_size=20))
    if draw(st.booleans()):
        edges |= set(pairwise(draw(st.permutations(names[1:]))))
        edges.add((names[0], draw(st.sampled_from(names[1:]))))
    return {name: sorted(source for source, target in edges if target == name) for name in names}


def by_visits(
    names: list[str], inputs: dict[str, list[str]], sources: dict[str, list[str]], loop: dict[str, int]
) -> list[str]:
    """Visit every node again and again, and run those that may."""
    done = names[:1]
    while len(done) < len(names):
        for name in names:
            missing = [source for source in sources[name] if source not in done]
            may = len(missing) < len(inputs[name]) and all(loop[source] == loop[name] for source in missing)
            if may and name not in done:
                done.append(name)
    return done


@given(graphs(), st.sets(st.sampled_from(["n1", "n2", "n3"])))
def test_every_order_holds_outside_of_loops(inputs: dict[str, list[str]], late: set[str]) -> None:
    names = list(inputs)
    waits = late & set(names)
    reached = {"n0"}
    for _ in names:
        reached |= {name for name in names if reached & set(inputs[name])}
    assume(reached == set(names))
    order = execution_order(names, inputs, "n0", waits)
    sources = {name: [source for source in inputs[name] if source not in waits] for name in names}
    loop = loops(names, sources)
    assert list(order) == by_visits(names, inputs, sources, loop)
    for name in names:
        for source in sources[name]:
            assert order.index(source) < order.index(name) or loop[source] == loop[name]
