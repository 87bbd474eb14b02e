"""Which source neurons a part of a population reads, how many of its neurons each of them reaches, and which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Sparse, Wiring

IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

GATHERED = 1 << 24
"""Synapses times steps of a sparse pattern that are looked at together, bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The synapses of some neurons, as far as a neurocore has to know them."""

    sources: int
    """Source neurons that have at least one synapse there."""
    synapses: int
    hull: tuple[int, int]
    """[first, last + 1) of these source neurons; (0, 0) if there are none."""


def reach(wiring: Wiring, start: int, stop: int) -> Reach:
    """Return the synapses of neurons [start, stop) of a wiring."""
    match wiring:
        case Dense():
            return Reach(sources=wiring.inputs, synapses=wiring.inputs * (stop - start), hull=(0, wiring.inputs))
        case OneToOne():
            return Reach(sources=stop - start, synapses=stop - start, hull=(start, stop))
        case Sparse():
            read = wiring.sources[wiring.starts[start] : wiring.starts[stop]]
            hull = (int(read.min()), int(read.max()) + 1) if len(read) else (0, 0)
            return Reach(sources=len(np.unique(read)), synapses=len(read), hull=hull)
        case Convolution():
            return _reach_of_map(wiring, start, stop)


def fan_out(wiring: Wiring, start: int, stop: int) -> IntArray:
    """Return how many of neurons [start, stop) each source neuron reaches, (inputs,)."""
    match wiring:
        case Dense():
            return np.full(wiring.inputs, stop - start, np.int64)
        case OneToOne():
            reached = np.zeros(wiring.inputs, np.int64)
            reached[start:stop] = 1
            return reached
        case Sparse():
            read = wiring.sources[wiring.starts[start] : wiring.starts[stop]]
            return np.bincount(read, minlength=wiring.inputs).astype(np.int64)
        case Convolution():
            first, maps = _fan_out_of_groups(wiring, start, stop)
            channels, height, width = wiring.source
            each = channels // wiring.groups
            by_channel = np.zeros((channels, height, width), np.int64)
            by_channel[first * each : (first + len(maps)) * each] = np.repeat(maps, each, axis=0)
            return by_channel.ravel()


def reached(wiring: Wiring, sent: BoolArray) -> BoolArray:
    """Return at which neurons, (steps, outputs), something arrives of what was sent, (steps, inputs)."""
    match wiring:
        case Dense():
            return np.repeat(sent.any(axis=1, keepdims=True), wiring.outputs, axis=1)
        case OneToOne():
            return sent
        case Sparse():
            at_once = max(1, GATHERED // max(1, len(wiring.sources)))
            parts = [_reached_rows(wiring, sent[first : first + at_once]) for first in range(0, len(sent), at_once)]
            return np.concatenate([np.zeros((0, wiring.outputs), np.bool_), *parts])
        case Convolution():
            groups = wiring.groups
            channels = sent.reshape(len(sent), groups, -1, *wiring.source[1:])
            maps: BoolArray = np.logical_or.reduce(channels, axis=2)
            found = np.zeros((len(sent), groups, *wiring.target[1:]), np.bool_)
            for i in range(wiring.kernel[0]):
                y, from_y = _met(wiring, 0, i)
                for j in range(wiring.kernel[1]):
                    x, from_x = _met(wiring, 1, j)
                    found[:, :, y[:, None], x] |= maps[:, :, from_y[:, None], from_x]
            return np.repeat(found, wiring.target[0] // groups, axis=1).reshape(len(sent), wiring.outputs)


def _reached_rows(wiring: Sparse, sent: BoolArray) -> BoolArray:
    filled = np.flatnonzero(np.diff(wiring.starts))
    found = np.zeros((len(sent), wiring.outputs), np.bool_)
    if len(filled):
        found[:, filled] = np.logical_or.reduceat(sent[:, wiring.sources], wiring.starts[filled], axis=1)
    return found


def _reach_of_map(wiring: Convolution, start: int, stop: int) -> Reach:
    first, maps = _fan_out_of_groups(wiring, start, stop)
    each = wiring.source[0] // wiring.groups
    plane = wiring.source[1] * wiring.source[2]
    group, place = np.nonzero(maps.reshape(len(maps), plane))
    if not len(group):
        return Reach(sources=0, synapses=0, hull=(0, 0))
    low = (first + int(group[0])) * each * plane + int(place[0])
    high = ((first + int(group[-1]) + 1) * each - 1) * plane + int(place[-1]) + 1
    return Reach(sources=len(group) * each, synapses=int(maps.sum()) * each, hull=(low, high))


def _fan_out_of_groups(wiring: Convolution, start: int, stop: int) -> tuple[int, IntArray]:
    """Return the first group that neurons [start, stop) belong to, and the fan-out of the groups' source positions.

    All source channels of a group reach the same neurons: (groups, height, width).
    """
    plane = wiring.sharing
    each = wiring.target[0] // wiring.groups * plane
    first, last = start // each, -(-stop // each)
    inside = np.zeros((last - first) * each, np.int64)
    inside[start - first * each : stop - first * each] = 1
    rows = inside.reshape(last - first, -1, *wiring.target[1:]).sum(axis=1)
    maps = np.zeros((last - first, *wiring.source[1:]), np.int64)
    for i in range(wiring.kernel[0]):
        y, from_y = _met(wiring, 0, i)
        for j in range(wiring.kernel[1]):
            x, from_x = _met(wiring, 1, j)
            maps[:, from_y[:, None], from_x] += rows[:, y[:, None], x]
    return first, maps


def _met(wiring: Convolution, axis: int, tap: int) -> tuple[IntArray, IntArray]:
    """Return the places of the target at which a tap meets the source along an axis, and the places that it meets."""
    places = np.arange(wiring.target[axis + 1])
    met = places * wiring.stride[axis] + tap * wiring.dilation[axis] - wiring.padding[axis]
    inside = (met >= 0) & (met < wiring.source[axis + 1])
    return places[inside], met[inside]
