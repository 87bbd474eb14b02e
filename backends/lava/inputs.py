"""Input ports of nodes that take several sources, each with its own delay.

Lava declares a model's ports on its class, so their number is fixed; those that a node does not need stay unconnected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.clock import DelayLine

if TYPE_CHECKING:
    from bispik.backends.lava.vendor import PyInPort, PyLoihiProcessModel

MAX_INPUTS = 4
"""Ports ``input_0`` to ``input_3``."""


def port_name(index: int) -> str:
    """Return the attribute that holds input ``index`` of a Process and of its models."""
    return f"input_{index}"


def port_shapes(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the shapes of all ports of a node with sources of these sizes."""
    unconnected = [1] * (MAX_INPUTS - len(sizes))
    return [(size,) for size in [*sizes, *unconnected]]


class DelayedInputs:
    """The inputs of a model, brought to the same logical step.

    What was sent in one time step is received at the start of the next: the message has waited in its channel for one
    step, which is the hop, and no model waits for another within a step. Only the host's current (0 hops) is used in
    the step in which it is sent.
    """

    def __init__(
        self, model: PyLoihiProcessModel, names: Sequence[str], hops: Sequence[int], sizes: Sequence[int]
    ) -> None:
        """Prepare for the inputs.

        Args:
            model: has the ports.
            names: its attributes that hold them.
            hops: steps that each input takes.
            sizes: size of each.
        """
        self._model = model
        self._names = list(names)
        self._lines = [DelayLine(h, size) if h else None for h, size in zip(hops, sizes, strict=True)]

    def due(self) -> list[npt.NDArray[np.int32]]:
        """Return the inputs of the present logical step; to be called once in each time step."""
        inputs: list[npt.NDArray[np.int32]] = []
        for name, line in zip(self._names, self._lines, strict=True):
            port: PyInPort = getattr(self._model, name)
            if line is None:
                inputs.append(port.recv())
                continue
            if self._model.time_step > 1:
                line.put(port.recv())
            inputs.append(line.due())
        return inputs
