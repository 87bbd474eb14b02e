"""NIR's neurons as stream neurons: from equations in continuous time to constants per step, under a convention.

With dt the step and k the share of a state that is kept, k = 1 - dt / tau (Euler) or exp(-dt / tau) (exponential):

    tau v' = v_leak - v + r I        v[t] = k v[t-1] + (1 - k) (v_leak + r I[t])
    v' = r I                         v[t] = v[t-1] + dt r I[t]
    tau_syn u' = w_in I - u          u[t] = k_syn u[t-1] + (1 - k_syn) w_in I[t]

and the membrane takes u of the same step. The factor in front of I goes into the weights, so that the stream neurons'
own is 1, and the membrane is counted from the reset value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bispik.compiler.stream.conventions import NIR, Rules
from bispik.compiler.stream.network import FloatArray, Output, StreamNeurons
from bispik.compiler.stream.nir_graph import NirGraph, NirNode
from bispik.compiler.stream.nir_layers import Shape, broadcast, numbers

SPIKING = frozenset(("IF", "LIF", "CubaLIF"))
SILENT = frozenset(("I", "LI", "CubaLI"))
"""Neurons without a threshold of their own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lowered:
    """Stream neurons, and what their input is multiplied by on its way in."""

    gain: FloatArray
    """(n,)."""
    neurons: StreamNeurons


def lower_threshold(graph: NirGraph, node: NirNode, shape: Shape) -> Lowered:
    """Return neurons without memory, which spike while what they get is above the threshold."""
    threshold = broadcast(graph, node, "threshold", shape)
    return Lowered(gain=np.ones(threshold.size), neurons=_memoryless(threshold, "spikes"))


def lower_sum(size: int) -> Lowered:
    """Return neurons without memory or threshold, which send what they get."""
    return Lowered(gain=np.ones(size), neurons=_memoryless(np.zeros(size), "membrane"))


def lower(graph: NirGraph, node: NirNode, shape: Shape, rules: Rules, threshold: NirNode | None) -> Lowered:
    """Return a NIR neuron node as stream neurons.

    Args:
        graph: for errors.
        node: one of ``SPIKING`` or ``SILENT``.
        shape: of the population.
        rules: what the file means.
        threshold: the Threshold behind a silent node, if that is all that reads it.

    Raises:
        BispikError: for time constants below a step (Euler) or not above 0, and for what the convention's tool does
            not write.
    """
    _check_written(graph, node, rules)
    zero = np.zeros(int(np.prod(shape)))
    tool = rules.convention
    r = broadcast(graph, node, "r", shape)
    if node.kind in ("I", "IF"):
        keep, rate, leak = np.ones(zero.size), np.full(zero.size, 1.0 if tool.integrates_per_step else rules.dt), zero
    else:
        keep, rate = _decay(graph, node, "tau" if "tau" in node.fields else "tau_mem", shape, rules)
        leak = broadcast(graph, node, "v_leak", shape)
    gain, current_keep = rate * r, zero
    if node.kind in ("CubaLI", "CubaLIF"):
        current_keep, rate_syn = _decay(graph, node, "tau_syn", shape, rules)
        if not tool.current_gain_one:
            gain = gain * rate_syn * (broadcast(graph, node, "w_in", shape) if "w_in" in node.fields else 1.0)
    if node.kind == "LI" and tool.leak_input_whole:
        gain = r
    spikes = node.kind in SPIKING
    reset = rules.reset if spikes else "none"
    level = zero
    if spikes:
        level = broadcast(graph, node, "v_threshold", shape)
    elif threshold is not None:
        level = broadcast(graph, threshold, "threshold", shape)
    base = broadcast(graph, node, "v_reset", shape) if spikes and "v_reset" in node.fields else zero
    if reset != "hard" and base.any():
        raise graph.error(node.path, f"v_reset is {base.max():g}, but with a {reset} reset nothing is reset to it")
    start = {"zero": zero, "reset": base, "leak": base if node.kind in ("I", "IF") else leak}[tool.initial]
    subtract = zero
    if reset == "soft":
        subtract = keep * level if tool.soft_at_once else level
    neurons = StreamNeurons(
        current_keep=current_keep,
        keep=keep,
        bias=(1 - keep) * (leak - base),
        threshold=level - base,
        subtract=subtract,
        initial=start - base,
        initial_current=zero,
        reset=reset,
        fire=tool.fire if spikes else "gt",
        output="spikes" if spikes or threshold is not None else "membrane",
    )
    return Lowered(gain=gain, neurons=neurons)


def with_constant(neurons: StreamNeurons, constant: FloatArray) -> StreamNeurons:
    """Return neurons into whose current a constant flows in every step, (n,)."""
    level = constant / (1 - neurons.current_keep)
    return replace(
        neurons,
        bias=neurons.bias + level,
        initial_current=neurons.initial_current - np.where(neurons.current_keep > 0, level, 0.0),
    )


def _check_written(graph: NirGraph, node: NirNode, rules: Rules) -> None:
    tool = rules.convention
    hint = "give --dt alone for NIR's own equations, or the convention of the tool that wrote it"
    if node.kind not in tool.neurons:
        written = ", ".join(tool.neurons)
        raise graph.error(node.path, f"{tool.name} writes no {node.kind} (it writes {written}); {hint}")
    r = numbers(node, "r")
    must_be_one = tool.unit_r or (tool.integrates_per_step and node.kind in ("I", "IF"))
    if must_be_one and not np.allclose(r, 1.0, rtol=1e-6):
        raise graph.error(node.path, f"r is {r.min():g} to {r.max():g}, but {tool.name} knows only r = 1; {hint}")


def _decay(graph: NirGraph, node: NirNode, key: str, shape: Shape, rules: Rules) -> tuple[FloatArray, FloatArray]:
    """Return what a state keeps per step, and what share of its drive it takes."""
    tau = broadcast(graph, node, key, shape)
    dt, tool = rules.dt, rules.convention
    if (tau <= 0).any():
        raise graph.error(node.path, f"{key} is {tau.min():g} s, expected above 0")
    if tool.tau_times_dt:
        if (tau >= dt).any():
            raise graph.error(
                node.path,
                f"{key} is {tau.max():g}, which {tool.name} would mean as {tau.max() / dt:g} s, for it writes dt times "
                f"the time constant (norse #411); if the file holds seconds, give --dt {dt:g} without --convention",
            )
        tau = tau / dt
    if rules.discretisation == "exponential":
        return np.exp(-dt / tau), -np.expm1(-dt / tau)
    if (tau < dt).any():
        other = "" if tool is not NIR else ", or say which tool wrote the file (--convention; norse's files need it)"
        raise graph.error(
            node.path,
            f"{key} is {tau.min():g} s, shorter than the time step of {dt:g} s, with which Euler's rule does not "
            f"decay; give a --dt of {tau.min():g} or less{other}",
        )
    return 1 - dt / tau, dt / tau


def _memoryless(threshold: FloatArray, output: Output) -> StreamNeurons:
    zero = np.zeros(threshold.size)
    return StreamNeurons(
        current_keep=zero,
        keep=zero,
        bias=zero,
        threshold=threshold,
        subtract=zero,
        initial=zero,
        initial_current=zero,
        reset="none",
        fire="gt",
        output=output,
    )
