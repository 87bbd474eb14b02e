"""The integers run on text inside the compiler: what later populations will really receive.

The numbers are those of `bispik.compiler.program`; `tests/compiler/test_integer_network.py` holds them against ``sim``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from bispik.compiler.fixed_point import DECAY_ONE, MEMBRANE_MAX
from bispik.compiler.float_network import blocks
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNeurons,
    IntegerNode,
    IntegerNorm,
    IntegerPopulation,
    IntegerProjection,
    IntegerReadout,
)

Array = npt.NDArray[np.float32]
"""Whole numbers: outputs have 16 bits, so that single precision holds them exactly."""
Wide = npt.NDArray[np.float64]
"""Whole numbers of up to 53 bits."""

NUMBERS_AT_ONCE = 1 << 22
"""So many membranes or scores are looked at together: 32 MB."""

EXACT_SINGLE = float(1 << 24)
"""Sums of whole numbers below are exact in single precision, in whatever order they are made."""


def run_integers(node: IntegerNode, outputs: Mapping[str, Array], token_ids: npt.NDArray[np.int64]) -> Array:
    """Return a node's outputs, (T, B, L, size), on sequences that begin at position 0.

    Args:
        node: any but a readout.
        outputs: of its sources.
        token_ids: (B, L).
    """
    match node:
        case IntegerInjection():
            table = node.token_table[token_ids].astype(np.float32)
            table += node.position_table[: token_ids.shape[1]]
            injected: Array = np.array(node.step_gain, np.float32).reshape(-1, 1, 1, 1) * table
            return injected
        case IntegerPopulation():
            return _population(node, outputs)
        case IntegerJoin():
            shifted = zip(node.inputs, node.exponents, strict=True)
            joined: Array = np.sum([outputs[name] * np.float32(1 << exponent) for name, exponent in shifted], axis=0)
            return joined
        case IntegerNorm():
            return _norm(node, outputs[node.source])
        case IntegerAttention():
            return _attention(node, outputs)
        case IntegerReadout():
            raise ValueError(f"{node.name}: accumulators are read by the host")


def currents(entry: IntegerProjection, rows: slice, output: Array) -> Wide:
    """Return the currents that one projection sends into some neurons, (T, B, L, rows)."""
    if entry.weight is None:
        return output[..., rows].astype(np.float64) * (1 << entry.exponent)
    weight = entry.weight[rows]
    if weight.ndim == 1:
        return output[..., rows].astype(np.float64) * weight * (1 << entry.exponent)
    largest = float(np.abs(output).max(initial=0)) * float(
        np.abs(weight.astype(np.int16)).sum(axis=1, dtype=np.int64).max(initial=0)
    )
    flat, narrow = output.reshape(-1, output.shape[-1]), largest < EXACT_SINGLE
    precision = np.float32 if narrow else np.float64
    summed: Wide = (flat.astype(precision, copy=False) @ weight.T.astype(precision)).astype(np.float64)
    return summed.reshape(*output.shape[:-1], len(weight)) * (1 << entry.exponent)


def spikes_of(neurons: IntegerNeurons, current: Wide, *, trailing_axes: int = 0, some: slice = slice(None)) -> Array:
    """Run some of the neurons from rest over time, the first axis of ``current``; see `program`."""
    shape = (-1,) + (1,) * trailing_axes
    threshold, subtract, bias = (
        values[some].astype(np.float64).reshape(shape) for values in (neurons.threshold, neurons.subtract, neurons.bias)
    )
    membrane, spike = np.zeros_like(current[0]), np.zeros_like(current[0])
    fired = np.empty(current.shape, np.float32)
    for step in range(len(current)):
        if neurons.reset == "hard":
            membrane = membrane * (spike == 0)
        kept = np.sign(membrane) * np.floor(np.abs(membrane) * (DECAY_ONE - neurons.decay) / DECAY_ONE)
        membrane = np.clip(kept + current[step] + bias - subtract * spike, -MEMBRANE_MAX, MEMBRANE_MAX)
        spike = (membrane > threshold).astype(np.float64)
        if neurons.spikes == "ternary":
            spike -= membrane < -threshold
        fired[step] = spike
    return fired


def _population(node: IntegerPopulation, outputs: Mapping[str, Array]) -> Array:
    first = outputs[node.inputs[0].source]
    fired = np.empty((*first.shape[:-1], node.size), np.float32)
    for rows in blocks(node.size, NUMBERS_AT_ONCE // max(1, first[..., 0].size)):
        total = sum(currents(entry, rows, outputs[entry.source]) for entry in node.inputs)
        fired[..., rows] = spikes_of(node.neurons, np.asarray(total), some=rows)
    return fired


def _norm(node: IntegerNorm, output: Array) -> Array:
    """Whole numbers below 2^62; the root is made of one in double precision and put right."""
    values = output.astype(np.int64)
    total = values.sum(axis=-1, keepdims=True)
    spread = node.size * (values**2).sum(axis=-1, keepdims=True) - total**2 + node.epsilon << 2 * node.root_bits
    root = np.ceil(np.sqrt(spread.astype(np.float64))).astype(np.int64)
    root -= (root - 1) ** 2 >= spread
    root += root**2 < spread
    deviation = node.size * values - total
    magnitude = ((np.abs(deviation) << node.fraction_bits + node.root_bits + 1) + root) // np.maximum(2 * root, 1)
    normal: Array = (np.sign(deviation) * magnitude * (root > 0)).astype(np.float32)
    return normal


def _attention(node: IntegerAttention, outputs: Mapping[str, Array]) -> Array:
    query, key, value = (_split(node, outputs[name]) for name in (node.query, node.key, node.value))
    steps, batch, heads, length, _ = query.shape
    mixed = np.empty(query.shape, np.float32)
    for sequence in range(batch):
        for some in blocks(heads, NUMBERS_AT_ONCE // (steps * length**2)):
            place = (slice(None), sequence, some)
            score = (query[place] @ key[place].swapaxes(-1, -2)).astype(np.float64) * (1 << node.exponent)
            mixed[place] = np.tril(spikes_of(node.neurons, score, trailing_axes=2, some=some)) @ value[place]
    return mixed.swapaxes(2, 3).reshape(steps, batch, length, node.size)


def _split(node: IntegerAttention, output: Array) -> Array:
    """(T, B, L, size) to (T, B, heads, L, head_dim)."""
    steps, batch, length, _ = output.shape
    return output.reshape(steps, batch, length, node.heads, node.head_dim).swapaxes(2, 3)
