"""In which order the neurons of a population are laid out over neurocores, and what a part of them reads.

A slice holds consecutive *places*. Feature maps are laid out position by position, with all channels of a position
together, and positions in strips (`bispik.compiler.mesh.serpentine`): consecutive places then read a small patch of the
source, where neurons numbered channel by channel would read all of it. Other populations keep their numbering.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bispik.compiler.mesh import serpentine
from bispik.compiler.stream.program import IntegerStreamPopulation
from bispik.compiler.stream.reach import IntArray, Reach, fan_out, pool_fan_out, reach
from bispik.compiler.stream.wiring import Convolution, Wiring


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """The order of a population's neurons."""

    neuron: IntArray
    """(size,): the neuron at each place."""
    reordered: bool
    """Whether it differs from the neurons' own order."""

    def rows(self, start: int, stop: int) -> IntArray:
        """Return the neurons at places [start, stop)."""
        return self.neuron[start:stop]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LaidWiring:
    """A wiring whose neurons are laid out."""

    wiring: Wiring
    layout: Layout

    def reach(self, start: int, stop: int) -> Reach:
        """Return the synapses of the neurons at places [start, stop)."""
        return reach(self.wiring, self.layout.rows(start, stop))

    def fan_out(self, start: int, stop: int) -> IntArray:
        """Return how many of these neurons each source neuron reaches, (inputs,)."""
        return fan_out(self.wiring, self.layout.rows(start, stop))

    def pool_fan_out(self, start: int, stop: int) -> IntArray:
        """Return how many of these neurons each source neuron of each pool reaches, (pools,)."""
        return pool_fan_out(self.wiring, self.layout.rows(start, stop))

    def channels(self, start: int, stop: int) -> int:
        """Return of how many channels of a feature map there is a neuron."""
        return len(np.unique(self.layout.rows(start, stop) // self.wiring.sharing))


def layout_of(population: IntegerStreamPopulation) -> Layout:
    """Return how a population is laid out: as the feature map of its first convolution, if it has one."""
    every = np.arange(population.size, dtype=np.int64)
    maps = (entry.wiring for entry in population.inputs if isinstance(entry.wiring, Convolution))
    wiring = next(maps, None)
    if wiring is None or wiring.target[0] == 1 == wiring.target[1]:
        return Layout(neuron=every, reordered=False)
    channels, height, width = wiring.target
    columns, rows = np.array(list(serpentine(width, height)), np.int64).T
    by_position = every.reshape(channels, height, width)[:, rows, columns]
    return Layout(neuron=by_position.T.ravel(), reordered=True)
