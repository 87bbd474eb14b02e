"""Which source neurons some neurons read, how many of them each source reaches, and which.

Source neurons that reach the same neurons form a pool: all of a dense pattern; the channels of one position and group
of a convolution; else each its own. All pools of a pattern are of one size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Sparse, Wiring

IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
NumberT = TypeVar("NumberT", bound="np.number[Any]")

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


def reach(wiring: Wiring, rows: IntArray) -> Reach:
    """Return the synapses of some neurons of a wiring."""
    fan_outs, size = pool_fan_out(wiring, rows), pool_size(wiring)
    pools = np.flatnonzero(fan_outs)
    if not len(pools):
        return Reach(sources=0, synapses=0, hull=(0, 0))
    first, last = int(pools[0]), int(pools[-1])
    hull = (_sources_of(wiring, first)[0], _sources_of(wiring, last)[1])
    return Reach(sources=len(pools) * size, synapses=int(fan_outs.sum()) * size, hull=hull)


def pool_size(wiring: Wiring) -> int:
    """Return how many source neurons a pool has."""
    match wiring:
        case Dense():
            return wiring.inputs
        case Convolution():
            return wiring.source[0] // wiring.groups
        case OneToOne() | Sparse():
            return 1


def pool_fan_out(wiring: Wiring, rows: IntArray) -> IntArray:
    """Return how many of some neurons each source neuron of each pool reaches, (pools,)."""
    match wiring:
        case Dense():
            return np.array([len(rows)], np.int64)
        case OneToOne():
            reached_by = np.zeros(wiring.inputs, np.int64)
            reached_by[rows] = 1
            return reached_by
        case Sparse():
            lengths = wiring.starts[rows + 1] - wiring.starts[rows]
            first = np.repeat(wiring.starts[rows] - np.cumsum(lengths) + lengths, lengths)
            read = wiring.sources[first + np.arange(len(first))]
            return np.bincount(read, minlength=wiring.inputs).astype(np.int64)
        case Convolution():
            return _fan_out_of_groups(wiring, rows).ravel()


def pooled(wiring: Wiring, sent: npt.NDArray[NumberT]) -> npt.NDArray[NumberT]:
    """Return the sums over pools, (steps, pools), of what was sent, (steps, inputs)."""
    match wiring:
        case Dense():
            whole: npt.NDArray[NumberT] = sent.sum(axis=1, keepdims=True, dtype=sent.dtype)
            return whole
        case Convolution():
            by_channel = sent.reshape(len(sent), wiring.groups, pool_size(wiring), -1)
            maps: npt.NDArray[NumberT] = by_channel.sum(axis=2, dtype=sent.dtype)
            return maps.reshape(len(sent), -1)
        case OneToOne() | Sparse():
            return sent


def fan_out(wiring: Wiring, rows: IntArray) -> IntArray:
    """Return how many of some neurons each source neuron reaches, (inputs,)."""
    by_group = pool_fan_out(wiring, rows).reshape(wiring.groups if isinstance(wiring, Convolution) else 1, 1, -1)
    shape = (len(by_group), pool_size(wiring), by_group.shape[2])
    return np.broadcast_to(by_group, shape).reshape(wiring.inputs)


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


def reached_units(wiring: OneToOne | Sparse | Convolution, channels: int) -> tuple[IntArray, IntArray]:
    """Return which pool reaches which unit, as pairs (n,) and (n,).

    A unit is what lies at one place of a map in ``channels`` consecutive channels, which are of one group: the u-th of
    them at a place is unit u H W + place. A neuron without a map is a channel of its own.
    """
    match wiring:
        case OneToOne():
            return np.arange(wiring.inputs), np.arange(wiring.inputs)
        case Sparse():
            return wiring.sources.astype(np.int64), np.repeat(np.arange(wiring.outputs), np.diff(wiring.starts))
        case Convolution():
            each = wiring.target[0] // wiring.groups // channels
            units, group = np.arange(wiring.groups * each), np.arange(wiring.groups * each) // each
            source, target = wiring.source[1] * wiring.source[2], wiring.target[1] * wiring.target[2]
            pairs: list[tuple[IntArray, IntArray]] = []
            for i in range(wiring.kernel[0]):
                y, from_y = _met(wiring, 0, i)
                for j in range(wiring.kernel[1]):
                    x, from_x = _met(wiring, 1, j)
                    place = (from_y[:, None] * wiring.source[2] + from_x).ravel()
                    at = (y[:, None] * wiring.target[2] + x).ravel()
                    pools = (group[:, None] * source + place).ravel()
                    pairs.append((pools, (units[:, None] * target + at).ravel()))
            return np.concatenate([pools for pools, _ in pairs]), np.concatenate([units for _, units in pairs])


def _reached_rows(wiring: Sparse, sent: BoolArray) -> BoolArray:
    filled = np.flatnonzero(np.diff(wiring.starts))
    found = np.zeros((len(sent), wiring.outputs), np.bool_)
    if len(filled):
        found[:, filled] = np.logical_or.reduceat(sent[:, wiring.sources], wiring.starts[filled], axis=1)
    return found


def _sources_of(wiring: Wiring, pool: int) -> tuple[int, int]:
    """Return the range from the first to the last source neuron of a pool."""
    match wiring:
        case Dense():
            return 0, wiring.inputs
        case OneToOne() | Sparse():
            return pool, pool + 1
        case Convolution():
            plane, each = wiring.source[1] * wiring.source[2], pool_size(wiring)
            group, place = divmod(pool, plane)
            return group * each * plane + place, ((group + 1) * each - 1) * plane + place + 1


def _fan_out_of_groups(wiring: Convolution, rows: IntArray) -> IntArray:
    """Return how many of some neurons each source position of each group reaches, (groups, height, width)."""
    group_rows = wiring.target[0] // wiring.groups * wiring.sharing
    at = np.bincount(rows // group_rows * wiring.sharing + rows % wiring.sharing, minlength=_positions(wiring))
    inside = at.reshape(wiring.groups, *wiring.target[1:])
    busy = np.flatnonzero(inside.any(axis=(1, 2)))
    first, last = (int(busy[0]), int(busy[-1]) + 1) if len(busy) else (0, 0)
    maps = np.zeros((wiring.groups, *wiring.source[1:]), np.int64)
    for i in range(wiring.kernel[0]):
        y, from_y = _met(wiring, 0, i)
        for j in range(wiring.kernel[1]):
            x, from_x = _met(wiring, 1, j)
            maps[first:last, from_y[:, None], from_x] += inside[first:last, y[:, None], x]
    return maps


def _positions(wiring: Convolution) -> int:
    return wiring.groups * wiring.sharing


def _met(wiring: Convolution, axis: int, tap: int) -> tuple[IntArray, IntArray]:
    """Return the places of the target at which a tap meets the source along an axis, and the places that it meets."""
    places = np.arange(wiring.target[axis + 1])
    met = places * wiring.stride[axis] + tap * wiring.dilation[axis] - wiring.padding[axis]
    inside = (met >= 0) & (met < wiring.source[axis + 1])
    return places[inside], met[inside]
