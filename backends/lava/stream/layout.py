"""In which order Lava's own processes number neurons.

Ours are numbered channel by channel, row by row; Lava's `Conv` takes and gives feature maps (x, y, channel). Nodes that
a `Conv` reads or writes are stored in its order, and the weights of their other synapses are permuted to match: no port
has to change the order of messages, which stays as exact on a chip as it is here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bispik.backends.lava.arithmetic import IntArray
from bispik.compiler.fixed_point import STOCK_EXPONENT
from bispik.compiler.stream.lava_conv import lava_convolves
from bispik.compiler.stream.program import IntegerStreamProjection, StreamProgram
from bispik.compiler.stream.schedule import Schedule
from bispik.compiler.stream.wiring import Convolution, Map


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How the neurons of one node are stored."""

    shape: tuple[int, ...]
    """Of Lava's process: (n,), or (width, height, channels) of a feature map."""
    order: IntArray
    """(n,): our number of each of Lava's neurons."""


def flat(size: int) -> Layout:
    """Return our own order."""
    return Layout((size,), np.arange(size))


def of_map(channels: int, height: int, width: int) -> Layout:
    """Return the order of Lava's `Conv`."""
    ours = np.arange(channels * height * width).reshape(channels, height, width)
    return Layout((width, height, channels), ours.transpose(2, 1, 0).ravel())


def layouts(program: StreamProgram, timing: Schedule) -> dict[str, Layout]:
    """Return the layout of every node: that of the first `Conv` that reads or writes it, if there is one."""
    maps: dict[str, Map] = {}
    for population in program.populations:
        for index, projection in enumerate(population.inputs):
            wiring = projection.wiring
            if not isinstance(wiring, Convolution) or not lava_can(projection, timing.waits[population.name, index]):
                continue
            source, target = maps.get(projection.source), maps.get(population.name)
            if source in (None, wiring.source) and target in (None, wiring.target):
                if projection.source == population.name and wiring.source != wiring.target:
                    continue
                maps[projection.source], maps[population.name] = wiring.source, wiring.target
    sizes = {program.input.name: program.input.size} | {p.name: p.size for p in program.populations}
    return {name: of_map(*maps[name]) if name in maps else flat(size) for name, size in sizes.items()}


def lava_can(projection: IntegerStreamProjection, wait: int) -> bool:
    """Tell whether Lava's `Conv` does what a convolution does.

    It does not wait, and its model on a CPU knows no weight exponent.
    """
    wiring = projection.wiring
    if not isinstance(wiring, Convolution) or wait or projection.exponent != STOCK_EXPONENT:
        return False
    return lava_convolves(wiring)
