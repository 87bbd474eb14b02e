"""Spiking graph to NIR primitives: what each node of the schema holds.

Time is in steps of dt seconds and token i occupies steps i T to i T + T - 1. Edges act within a step. Neuron state
starts at 0 for every token. NIR itself knows no time step; in Euler steps of dt its LIF does what `_lif` says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from bispik.compiler.deferred import FloatArray, Matrix
from bispik.compiler.graph import (
    Attention,
    Injection,
    Join,
    Neurons,
    Node,
    Norm,
    Population,
    Readout,
    SpikingGraph,
)
from bispik.compiler.nir_schema import PROFILE, SCHEMA, SCHEMA_VERSION, TIED_TO_HEAD, Slot, slots_of
from bispik.compiler.nir_sizes import check_sizes
from bispik.compiler.nir_tree import Edge, Leaf, Metadata, Tree, nest, port

COINCIDENCE = 1.5
"""Threshold of a gate on the sum of two spikes: it passes 2 and stops 1. It gives their product if both are binary."""

SCORES = "sum over d of q[d] * k[j][d]"
OUTPUT = "sum over j of a[j] * v[j][d]"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """What one node of the spiking graph becomes."""

    leaves: Mapping[str, Leaf]
    edges: list[Edge]
    outlet: str
    """Path of the leaf whose output is the node's output."""
    metadata: Mapping[str, Metadata] = field(default_factory=dict[str, Metadata])
    """Of sub-graphs, by path."""


def lower(graph: SpikingGraph) -> Tree:
    """Return the NIR network of a spiking graph; large arrays are shared with it, not copied.

    Raises:
        BispikError: if the graph has no place in the schema, or sizes that do not fit together.
    """
    places = slots_of(graph)
    check_sizes(graph)
    leaves: dict[str, Leaf] = {}
    edges: list[Edge] = []
    metadata: dict[str, Metadata] = {"": _graph_metadata(graph)}
    outlets: dict[str, str] = {}
    for node, slot in zip(graph.nodes, places, strict=True):
        part = _part(node, slot, outlets, graph)
        outlets[node.name] = part.outlet
        leaves.update(part.leaves)
        edges.extend(part.edges)
        metadata.update(part.metadata)
    return nest(leaves, edges, metadata)


def _part(node: Node, slot: Slot, outlets: Mapping[str, str], graph: SpikingGraph) -> _Part:
    sources = [outlets[name] for name in node.sources]
    match node:
        case Injection():
            return _Part(leaves={slot.path: port("Input", node.size)}, edges=[], outlet=slot.path)
        case Population():
            return _population(node, slot, sources, graph.dt)
        case Join():
            scale = Leaf(type="Scale", fields={"scale": np.ones(node.size)}, size=node.size)
            return _Part(leaves={slot.path: scale}, edges=[(s, slot.path) for s in sources], outlet=slot.path)
        case Norm():
            metadata: Metadata = {"op": "layer_norm", "epsilon": node.epsilon}
            scale = Leaf(type="Scale", fields={"scale": np.ones(node.size)}, size=node.size, metadata=metadata)
            return _Part(leaves={slot.path: scale}, edges=[(sources[0], slot.path)], outlet=slot.path)
        case Attention():
            return _attention(node, slot.path, sources, graph)
        case Readout():
            return _readout(node, slot.path, sources[0], graph.steps_per_token * graph.dt)


def _graph_metadata(graph: SpikingGraph) -> Metadata:
    injection, readout = graph.of_kind(Injection)[0], graph.of_kind(Readout)[0]
    neurons = [node.neurons for node in graph.nodes if isinstance(node, Population | Attention)]
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "profile": PROFILE,
        "dt": graph.dt,
        "steps_per_token": graph.steps_per_token,
        "max_positions": graph.max_positions,
        "state_reset": "token",
        "reset": _common(entry.reset for entry in neurons),
        "spikes": _common(entry.spikes for entry in neurons),
        "step_gain": np.array(injection.step_gain),
        "pos_embed": injection.position_table,
        "tok_embed": TIED_TO_HEAD if injection.token_table is readout.weight else injection.token_table,
        "config_json": json.dumps(dict(graph.hyperparameters)),
        "tokenizer": graph.tokenizer,
    }


def _common(values: Iterable[str]) -> str:
    """Return the value that all have, or ``mixed``."""
    found = set(values)
    return found.pop() if len(found) == 1 else "mixed"


def _lif(neurons: Neurons, dt: float, *, leak: bool) -> Leaf:
    """Neurons as NIR's LIF: tau dv/dt = (v_leak - v) + r I;  spike if v > v_threshold, then v = v_reset = 0.

    An Euler step of dt is v[t] = (1 - dt/tau) v[t-1] + (dt/tau) (v_leak + I[t]). With tau = dt / (1 - decay) this is
    `graph.Neurons` with every membrane scaled by 1 - decay, so v_threshold = (1 - decay) threshold and v_leak = bias.
    v starts at 0, not at v_leak. Fields are float64: a reader can compare them with the metadata exactly.
    A soft reset, a spike at exactly the threshold, and spikes of -1 are beyond this node: only the metadata say them.

    Args:
        neurons: n of them.
        dt: seconds per time step.
        leak: whether the bias flows here as v_leak; else the Affine in front has it.
    """
    gain = 1 - neurons.decay
    fields = {
        "tau": np.full(neurons.size, dt / gain),
        "r": np.ones(neurons.size),
        "v_leak": neurons.bias.astype(np.float64) if leak else np.zeros(neurons.size),
        "v_threshold": neurons.threshold.astype(np.float64) * gain,
        "v_reset": np.zeros(neurons.size),
    }
    metadata: Metadata = {
        "op": "lif",
        "beta": neurons.decay,
        "theta": neurons.threshold,
        **({"bias": neurons.bias} if leak else {}),
        "reset": neurons.reset,
        "spike_if": neurons.fire,
        "spikes": neurons.spikes,
    }
    return Leaf(type="LIF", fields=fields, size=neurons.size, metadata=metadata)


def _affine(weight: Matrix, bias: FloatArray) -> Leaf:
    return Leaf(type="Affine", fields={"weight": weight, "bias": bias}, size=len(bias))


def _linear(weight: Matrix, metadata: Metadata | None = None) -> Leaf:
    return Leaf(type="Linear", fields={"weight": weight}, size=len(weight), metadata=metadata or {})


def _population(node: Population, slot: Slot, sources: list[str], dt: float) -> _Part:
    """[Affine ->] LIF, the Affine has the bias; or [Scale ->] LIF, the LIF has it."""
    leaves: dict[str, Leaf] = {}
    edges: list[Edge] = []
    affine = any(wire.affine for wire in slot.wires)
    for source, projection, wire in zip(sources, node.inputs, slot.wires, strict=True):
        if projection.weight is None:
            edges.append((source, slot.path))
            continue
        if projection.weight.ndim == 1:
            leaves[wire.scale] = Leaf(type="Scale", fields={"scale": projection.weight}, size=node.size)
            edges += [(source, wire.scale), (wire.scale, slot.path)]
            continue
        leaves[wire.affine] = _affine(projection.weight, node.neurons.bias)
        edges += [(source, wire.affine), (wire.affine, slot.path)]
    leaves[slot.path] = _lif(node.neurons, dt, leak=not affine)
    return _Part(leaves=leaves, edges=edges, outlet=slot.path)


def _attention(node: Attention, path: str, sources: list[str], graph: SpikingGraph) -> _Part:
    """Spiking attention as coincidence gates, one tap per token looked back at (tap 0: the token itself).

    Tap r:  q + k(r) -> Threshold -> sum per head -> LIF -> one line per channel, + v(r) -> Threshold -> output

    A gate multiplies spikes of 0 and 1. For ternary spikes, whose products have signs, it stands only for the place of
    the multiplication; the equations that hold are in the metadata.
    """
    query, key, value = sources
    binary = _common(_spikes(graph.node(name)) for name in (*node.sources, node.name)) == "binary"
    tap = f"{path}/tap_0000_"
    per_head = np.kron(np.eye(node.heads), np.ones((1, node.head_dim))).astype(np.float32)
    gate = Leaf(type="Threshold", fields={"threshold": np.full(node.size, COINCIDENCE)}, size=node.size)
    leaves = {
        f"{tap}qk_and": gate,
        f"{tap}qk_sum": _linear(per_head),
        f"{tap}score_lif": _lif(node.neurons, graph.dt, leak=True),
        f"{tap}a_exp": _linear(np.ascontiguousarray(per_head.T)),
        f"{tap}av_and": gate,
    }
    chain = list(leaves)
    edges = [(query, chain[0]), (key, chain[0]), *pairwise(chain), (value, chain[-1])]
    metadata: Metadata = {
        "op": "spiking_attention",
        "spikes": node.neurons.spikes,
        "score": SCORES,
        "output": OUTPUT,
        "gates": "exact" if binary else "placeholders",
        "heads": node.heads,
        "head_dim": node.head_dim,
        "window": graph.max_positions,
        "taps_in_file": 1,
        "tap_delay_steps": graph.steps_per_token,
        "mask": "causal",
    }
    return _Part(leaves=leaves, edges=edges, outlet=chain[-1], metadata={path: metadata})


def _spikes(node: Node) -> str:
    return node.neurons.spikes if isinstance(node, Population | Attention) else "graded"


def _readout(node: Readout, path: str, source: str, token_seconds: float) -> _Part:
    """Mean over the token's steps -> LayerNorm -> head; NIR has no LayerNorm, the Scale holds its gain gamma."""
    size = len(node.gamma)
    norm: Metadata = {"op": "layer_norm", "epsilon": node.epsilon, "beta": node.beta}
    leaves = {
        f"{path}/time_mean": Leaf(type="I", fields={"r": np.full(size, 1 / token_seconds)}, size=size),
        f"{path}/final_ln": Leaf(type="Scale", fields={"scale": node.gamma}, size=size, metadata=norm),
        f"{path}/lm_head": _linear(node.weight, {"op": "readout", "scale": node.scale}),
        "output": port("Output", node.size),
    }
    chain = [source, *leaves]
    return _Part(leaves=leaves, edges=list(pairwise(chain)), outlet="output")
