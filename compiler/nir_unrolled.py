"""An unrolled window in plain NIR, of nodes that norse, snnTorch and SpikingJelly import: Conv2d and CubaLIF in a row.

Shapes are (channels, tokens of the window, 1). A Conv2d of height 1 has weights that all tokens share; a taller one
looks at tokens further back, too. Every neuron is a CubaLIF, for no other neuron without a memory, as gates are, means
the same to the three tools. With w_in = tau_syn / dt and r = tau_mem / dt, an Euler step of NIR's equations is

    i[t] = (1 - dt / tau_syn) i[t-1] + I[t]
    v[t] = (1 - dt / tau_mem) v[t-1] + i[t]

    hard reset: tau_syn = dt, so that the memory is v, which resets itself
    soft reset: tau_mem = dt, so that the memory is i, which no spike touches; a Conv2d takes the threshold off again
    gate:       both are dt
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bispik.compiler.deferred import Deferred
from bispik.compiler.graph import Injection, Readout, SpikingGraph
from bispik.compiler.nir_export import tied, write_tree
from bispik.compiler.nir_tree import Array, Edge, Leaf, Metadata, Tree, Value
from bispik.compiler.unroll import Profile, unroll
from bispik.compiler.unroll_chain import Chain, arrange
from bispik.compiler.unroll_weights import feedback_weights, output_weights, stage_bias, stage_weights
from bispik.models.errors import BispikError

MARGIN = 2.0**-22
"""The tools compute in float32 and disagree on membranes of exactly the threshold: it is moved by this share."""

MAX_BYTES = 4 << 30
"""Of a file's weights. The tools' importers hold several copies."""

LAST = "n9999_conv"
"""The sum in front of the output."""

TIED = "tied:head"
"""Stands for the token table where it is the head's weight matrix."""

LEFT_OUT = (
    "embedding: the input are currents, (tok_embed[id] + pos_embed[place]) * step_gain[step] by channel and place",
    "final norm and head: the output are counts of spikes; logits = head @ LayerNorm(mean over the steps) * scale",
    "the next window: every run starts from the importer's first state and lasts steps_per_token steps",
)
"""What the file does not do, because NIR has no node for it; the host has to."""


def write_unrolled(graph: SpikingGraph, path: Path, window: int, profile: Profile) -> int:
    """Write a window of a language model as NIR that other tools import; the numbers for the host are in its metadata.

    Args:
        graph: the network.
        path: appears complete or not at all; a file that is there is replaced.
        window: tokens that stand side by side.
        profile: whether soft resets may be there.

    Returns:
        Number of NIR nodes in the file.

    Raises:
        BispikError: if the network has no such form, says why; if it is too large, or the file cannot be written.
    """
    chain = check_unrolled(graph, window, profile)
    return write_tree(_tree(tied(graph), chain, window, profile), path)


def check_unrolled(graph: SpikingGraph, window: int, profile: Profile) -> Chain:
    """Return the stages of an unrolled window.

    Raises:
        BispikError: as `write_unrolled`, but for the file.
    """
    chain = arrange(unroll(graph, window, profile))
    needed = _bytes(chain)
    if needed <= MAX_BYTES:
        return chain
    smaller = window
    while smaller > 1:
        smaller //= 2
        if (less := _bytes(arrange(unroll(graph, smaller, profile)))) <= MAX_BYTES:
            hint = f"--window {smaller} takes {less / 1e9:.2g} GB"
            break
    else:
        hint = "it has no room for a single token either"
    raise BispikError(
        f"a window of {window} tokens, side by side, takes weights of {needed / 1e9:.3g} GB, more than "
        f"{MAX_BYTES / 1e9:.2g} GB; {hint}"
    )


def _tree(graph: SpikingGraph, chain: Chain, window: int, profile: Profile) -> Tree:
    shape = np.array([chain.size(0), window, 1])
    leaves: dict[str, Leaf] = {"input": Leaf(type="Input", fields={"shape": shape}, size=chain.size(0))}
    ends = ["input"]  # by stage, the node that sends
    row: list[Edge] = []
    sums: list[Edge] = []  # behind the others: norse follows the first edge of a node first

    def add(conv: str, weights: Deferred, bias: Array, takes: tuple[int, ...]) -> None:
        leaves[conv] = _conv(weights, bias, window)
        row.append((ends[-1], conv))
        sums.extend((ends[taken], conv) for taken in takes[:-1])

    for at, stage in enumerate(chain.stages, start=1):
        name = f"n{at:04d}"
        lif, reset = f"{name}_lif", f"{name}_reset"
        add(f"{name}_conv", stage_weights(chain, at), stage_bias(chain, at), stage.takes)
        leaves[lif] = _cells(chain, at, window, graph.dt)
        row.append((f"{name}_conv", lif))
        if _is_soft(chain, at):
            leaves[reset] = _conv(feedback_weights(chain, at), np.zeros(chain.size(at), np.float32), window)
            row += [(lif, reset), (reset, lif)]
        ends.append(lif)
    add(LAST, output_weights(chain), np.zeros(chain.size(0), np.float32), chain.takes)
    leaves["output"] = Leaf(type="Output", fields={"shape": shape}, size=chain.size(0))
    row.append((LAST, "output"))
    return Tree(nodes=leaves, edges=(*row, *sums), metadata=_metadata(graph, window, profile))


def _conv(weight: Deferred, bias: Array, window: int) -> Leaf:
    """A Conv2d over the tokens that keeps their number.

    NIR takes all kernels for square when it works out what a numeric padding leaves; of "same" it knows.
    """
    fields: dict[str, Value] = {
        "input_shape": np.array([window, 1]),
        "weight": weight,
        "stride": np.array([1, 1]),
        "padding": "same",
        "dilation": np.array([1, 1]),
        "groups": 1,
        "bias": bias,
    }
    return Leaf(type="Conv2d", fields=fields, size=len(bias))


def _cells(chain: Chain, at: int, window: int, dt: float) -> Leaf:
    """The neurons of a stage; see the module."""
    memory = chain.stages[at - 1].bundles[0].memory
    size = chain.size(at)
    slow, fast = dt / (1 - memory.decay), dt
    current, membrane = (slow, fast) if memory.reset == "soft" else (fast, slow)
    values = {
        "tau_syn": current,
        "tau_mem": membrane,
        "r": membrane / dt,
        "v_leak": 0.0,
        "v_threshold": 1 - MARGIN if memory.fire == "ge" else 1 + MARGIN,
        "v_reset": 0.0,
        "w_in": current / dt,
    }
    fields: dict[str, Value] = {key: np.full((size, window, 1), value) for key, value in values.items()}
    channels = {name: [place.start, place.stop] for name, place in chain.channels[at].items()}
    repeated = list(chain.stages[at - 1].carried)
    metadata: Metadata = {"channels_json": json.dumps(channels), "repeated_json": json.dumps(repeated)}
    return Leaf(type="CubaLIF", fields=fields, size=size, metadata=metadata)


def _metadata(graph: SpikingGraph, window: int, profile: Profile) -> Metadata:
    """What the host needs; without the key that marks a language model which bispik reads back."""
    injection, readout = graph.of_kind(Injection)[0], graph.of_kind(Readout)[0]
    return {
        "profile": profile,
        "dt": graph.dt,
        "steps_per_token": graph.steps_per_token,
        "window": window,
        "left_out": "\n".join(LEFT_OUT),
        "step_gain": np.array(injection.step_gain),
        "tok_embed": TIED if injection.token_table is readout.weight else injection.token_table,
        "pos_embed": injection.position_table,
        "head": readout.weight,
        "gamma": readout.gamma,
        "beta": readout.beta,
        "epsilon": readout.epsilon,
        "scale": readout.scale,
        "config_json": json.dumps(dict(graph.hyperparameters)),
        "tokenizer": graph.tokenizer,
    }


def _bytes(chain: Chain) -> int:
    kernels = [stage_weights(chain, at) for at in range(1, len(chain.stages) + 1)]
    kernels += [feedback_weights(chain, at) for at in range(1, len(chain.stages) + 1) if _is_soft(chain, at)]
    return sum(kernel.nbytes for kernel in kernels)


def _is_soft(chain: Chain, at: int) -> bool:
    return chain.stages[at - 1].bundles[0].memory.reset == "soft"
