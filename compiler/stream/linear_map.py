"""Synapses with their weights as linear maps: one behind another is one map again, with as much structure as is exact.

one to one behind or before a map     that map, its rows or columns scaled, if its pattern allows
convolution behind a convolution      a convolution, where the borders allow it
dense behind or before anything       dense
everything else                       sparse
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.stream.budget import Budget
from bispik.compiler.stream.conv_compose import composed_geometry, composed_weight
from bispik.compiler.stream.network import FloatArray
from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Sparse, Wiring


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearMap:
    """Synapses and their weights, in real numbers."""

    wiring: Wiring
    weight: FloatArray

    def apply(self, vector: FloatArray) -> FloatArray:
        """Return the currents (outputs,) that one vector (inputs,) causes."""
        result: FloatArray = self.wiring.apply(self.weight, vector[None])[0]
        return result


def one_to_one(weight: FloatArray) -> LinearMap:
    """Return the map that multiplies each number by its own weight."""
    return LinearMap(wiring=OneToOne(size=weight.size), weight=weight.ravel())


def behind(second: LinearMap, first: LinearMap, budget: Budget, where: str) -> LinearMap:
    """Return the map that does ``first`` and then ``second``.

    Args:
        second: takes what ``first`` gives.
        first: takes the source's numbers.
        budget: pays for the new weights.
        where: what errors call the place.

    Raises:
        BispikError: if the new weights are more than the budget has.
    """
    if isinstance(second.wiring, OneToOne):
        return scaled_rows(first, second.weight, budget, where)
    if isinstance(first.wiring, OneToOne):
        return _scaled_columns(second, first.weight, budget, where)
    if isinstance(first.wiring, Dense):
        budget.take(second.wiring.outputs * first.wiring.inputs, where)
        weight = second.wiring.apply(second.weight, first.weight.T).T
        return _dense(np.ascontiguousarray(weight))
    if isinstance(second.wiring, Convolution) and isinstance(first.wiring, Convolution):
        geometry = composed_geometry(second.wiring, first.wiring)
        if geometry is not None:
            budget.take(int(np.prod(geometry.weight_shape)), where)
            weight = composed_weight(geometry, second.wiring, second.weight, first.wiring, first.weight)
            return LinearMap(wiring=geometry, weight=weight)
    sparse = as_sparse(first, budget, where)
    if isinstance(second.wiring, Dense):
        budget.take(second.wiring.outputs * first.wiring.inputs, where)
        return _dense(_dense_behind_sparse(second.weight, sparse))
    return _sparse_behind_sparse(as_sparse(second, budget, where), sparse, budget, where)


def scaled_rows(given: LinearMap, gain: FloatArray, budget: Budget, where: str) -> LinearMap:
    """Multiply what each neuron gets by its gain, (outputs,); sparse where those that share weights differ in it."""
    wiring = given.wiring
    if wiring.sharing > 1 and np.ptp(gain.reshape(-1, wiring.sharing), axis=1).any():
        return scaled_rows(as_sparse(given, budget, where), gain, budget, where)
    return LinearMap(wiring=wiring, weight=wiring.scaled(given.weight, gain))


def as_sparse(given: LinearMap, budget: Budget, where: str) -> LinearMap:
    """Return the same map as a list of synapses."""
    wiring = given.wiring
    if isinstance(wiring, Sparse):
        return given
    if isinstance(wiring, Convolution):
        most = wiring.outputs * int(np.prod(wiring.weight_shape[1:]))
        budget.take(8 * most, where)  # rows, sources, weights, their order, and what it takes to sort them
        rows, sources, weights = _synapses(wiring, given.weight)
    elif isinstance(wiring, OneToOne):
        budget.take(3 * wiring.size, where)
        rows = sources = np.arange(wiring.size)
        weights = given.weight
    else:
        budget.take(3 * given.weight.size, where)
        rows, sources = (axis.ravel() for axis in np.indices(given.weight.shape))
        weights = given.weight.ravel()
    return _from_synapses(wiring.inputs, wiring.outputs, rows, sources, weights)


def convolution_synapses(wiring: Convolution) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return row (m,) and source (m,) of every synapse of a convolution that meets its source."""
    return _synapses(wiring, np.zeros(wiring.weight_shape))[:2]


def _dense(weight: FloatArray) -> LinearMap:
    return LinearMap(wiring=Dense(inputs=weight.shape[1], outputs=weight.shape[0]), weight=weight)


def _scaled_columns(given: LinearMap, gain: FloatArray, budget: Budget, where: str) -> LinearMap:
    """Multiply what each source neuron sends by its gain, (inputs,)."""
    wiring = given.wiring
    if isinstance(wiring, Dense):
        return _dense(given.weight * gain)
    if isinstance(wiring, OneToOne):
        return one_to_one(given.weight * gain)
    if isinstance(wiring, Sparse):
        return LinearMap(wiring=wiring, weight=given.weight * gain[wiring.sources])
    by_channel = gain.reshape(wiring.source[0], -1)
    if np.ptp(by_channel, axis=1).any():
        return _scaled_columns(as_sparse(given, budget, where), gain, budget, where)
    groups = wiring.groups
    kernels = given.weight.reshape(groups, -1, *given.weight.shape[1:])
    weight = kernels * by_channel[:, 0].reshape(groups, 1, -1, 1, 1)
    return LinearMap(wiring=wiring, weight=weight.reshape(given.weight.shape))


def _synapses(
    wiring: Convolution, weight: FloatArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    """Return row, source and weight of every synapse of a convolution that meets its source."""
    channels, fan = wiring.target[0], wiring.source[0] // wiring.groups
    group = np.arange(channels) // (channels // wiring.groups)
    taken = group[:, None] * fan + np.arange(fan)  # (o, c)
    near = [
        np.arange(wiring.target[axis + 1])[:, None] * wiring.stride[axis]
        + np.arange(wiring.kernel[axis]) * wiring.dilation[axis]
        - wiring.padding[axis]
        for axis in (0, 1)
    ]  # (y, i) and (x, j)
    height, width = wiring.source[1:]
    y, x = near[0][None, :, None, None, :, None], near[1][None, None, :, None, None, :]
    met = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    shape = (channels, *wiring.target[1:], fan, *wiring.kernel)  # (o, y, x, c, i, j)
    sources = np.broadcast_to((taken[:, None, None, :, None, None] * height + y) * width + x, shape)
    rows = np.broadcast_to(np.arange(wiring.outputs).reshape(*wiring.target, 1, 1, 1), shape)
    weights = np.broadcast_to(weight[:, None, None], shape)
    there = np.broadcast_to(met, shape)
    return rows[there], sources[there], weights[there]


def _from_synapses(
    inputs: int, outputs: int, rows: npt.NDArray[np.int64], sources: npt.NDArray[np.int64], weights: FloatArray
) -> LinearMap:
    """Return a sparse map; synapses between the same two neurons are added."""
    key = rows * inputs + sources
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.concatenate([[True], key[1:] != key[:-1]]) if key.size else np.zeros(0, bool)
    starts_of_sums = np.flatnonzero(first)
    total = np.add.reduceat(weights[order], starts_of_sums) if key.size else np.zeros(0)
    kept = key[first]
    starts = np.searchsorted(kept // inputs, np.arange(outputs + 1)).astype(np.int64)
    wiring = Sparse(inputs=inputs, outputs=outputs, starts=starts, sources=(kept % inputs).astype(np.int32))
    return LinearMap(wiring=wiring, weight=total)


def _dense_behind_sparse(weight: FloatArray, sparse: LinearMap) -> FloatArray:
    wiring = sparse.wiring
    assert isinstance(wiring, Sparse)
    rows = wiring.rows
    result = np.empty((len(weight), wiring.inputs))
    for row, given in zip(result, weight, strict=True):
        row[:] = np.bincount(wiring.sources, weights=given[rows] * sparse.weight, minlength=wiring.inputs)
    return result


def _sparse_behind_sparse(second: LinearMap, first: LinearMap, budget: Budget, where: str) -> LinearMap:
    """Follow every synapse of the second back to the synapses of its source neuron."""
    outer, inner = second.wiring, first.wiring
    assert isinstance(outer, Sparse)
    assert isinstance(inner, Sparse)
    fan = np.diff(inner.starts)[outer.sources]
    budget.take(4 * int(fan.sum()), where)
    rows = np.repeat(outer.rows, fan)
    offset = np.arange(fan.sum()) - np.repeat(np.cumsum(fan) - fan, fan)
    index = np.repeat(inner.starts[outer.sources], fan) + offset
    weights = np.repeat(second.weight, fan) * first.weight[index]
    return _from_synapses(inner.inputs, outer.outputs, rows, inner.sources[index].astype(np.int64), weights)
