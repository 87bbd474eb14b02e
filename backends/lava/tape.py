"""What the processes of a run write down, and what the host hands them: memory that all of them share.

Lava moves a `Var` one element at a time, 12 microseconds each, which is no way to read spikes out of a whole network.
The memory here is anonymous (it has no name in any file system), is inherited by Lava's processes when they are forked,
and is gone when the last of them is, however it ends. But for the host's currents no process computes with what stands
on the tape: a network that is not observed does the same.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import Activity, require_recordable
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerNode,
    IntegerPopulation,
    IntegerReadout,
    QuantizedProgram,
)

IntArray = npt.NDArray[np.int64]


def shared_array(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return zeros in memory that processes forked from now on share. Pages take room once they are written to."""
    count = int(np.prod(shape))
    memory = mmap.mmap(-1, max(1, count * np.dtype(dtype).itemsize))
    return np.frombuffer(memory, dtype, count).reshape(shape)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NodeTape:
    """What one node writes down of the present run."""

    run: IntArray
    """(3,), shared by all nodes: the run's first logical step, its number of steps, and the fabric's present step."""
    rows: dict[str, npt.NDArray[Any]]
    """Recorded quantities by name, (steps / steps_per_row, ...)."""
    saturations: IntArray
    """(1,)"""
    steps_per_row: int = 1
    """More than 1: a row keeps the last of so many logical steps."""

    def records(self, step: int) -> bool:
        """Tell whether a logical step belongs to the run; what nodes do between runs is of no consequence."""
        return bool(0 <= step - self.run[0] < self.run[1])

    def write(self, step: int, saturations: int = 0, **quantities: npt.NDArray[Any]) -> None:
        """Write down a logical step, if it belongs to the run."""
        if not self.records(step):
            return
        row = (step - int(self.run[0])) // self.steps_per_row
        for name, values in quantities.items():
            if name in self.rows:
                self.rows[name][row] = values
        self.saturations[0] += saturations


class Tape:
    """The tapes of all nodes of a program, for runs of up to ``window`` tokens."""

    def __init__(self, program: QuantizedProgram, probes: Sequence[str]) -> None:
        require_recordable(program)
        self.program = program
        self._run: IntArray = shared_array((3,), np.int64)
        self.nodes = {node.name: self._node_tape(node, node.name in probes) for node in program.nodes}

    @property
    def progress(self) -> int:
        """Number of steps that the fabric has made since it started."""
        return int(self._run[2])

    def begin(self, first_step: int, currents: npt.NDArray[np.int32]) -> None:
        """Prepare a run: the injection's currents, (steps, size), from a logical step on."""
        self._run[:2] = first_step, len(currents)
        self.nodes[self.program.injection.name].rows["currents"][: len(currents)] = currents
        for tape in self.nodes.values():
            tape.saturations[:] = 0

    def activity(self, first_position: int, token_ids: npt.NDArray[np.int64]) -> Activity:
        """Return what the nodes wrote down in the run of these tokens."""
        tokens, steps = len(token_ids), self.program.steps_per_token

        def recorded(quantity: str) -> dict[str, npt.NDArray[Any]]:
            rows = {name: tape.rows[quantity] for name, tape in self.nodes.items() if quantity in tape.rows}
            return {name: a[: tokens * steps].reshape(tokens, steps, *a.shape[1:]).copy() for name, a in rows.items()}

        spiking = [node.name for node in self.program.nodes if isinstance(node, IntegerPopulation | IntegerAttention)]
        stored = first_position + tokens
        return Activity(
            first_position=first_position,
            token_ids=token_ids,
            outputs=recorded("outputs"),
            score_spikes={name: a[..., :stored].copy() for name, a in recorded("score_spikes").items()},
            accumulators=self.nodes[self.program.readout.name].rows["accumulators"][:tokens].copy(),
            membranes=recorded("membranes"),
            saturations={name: int(self.nodes[name].saturations[0]) for name in spiking},
        )

    def _node_tape(self, node: IntegerNode, probed: bool) -> NodeTape:
        window, steps = self.program.window, self.program.steps_per_token
        rows: dict[str, npt.NDArray[Any]] = {}
        steps_per_row = 1
        if isinstance(node, IntegerInjection):
            rows["currents"] = shared_array((window * steps, node.size), np.int32)
        elif isinstance(node, IntegerReadout):
            rows["accumulators"] = shared_array((window, node.size), np.int64)
            steps_per_row = steps
        else:
            rows["outputs"] = shared_array((window * steps, node.size), np.int16)
        if isinstance(node, IntegerAttention):
            rows["score_spikes"] = shared_array((window * steps, node.heads, window), np.int8)
        if probed:
            rows["membranes"] = shared_array((window * steps, node.size), np.int32)
        saturations = shared_array((1,), np.int64)
        return NodeTape(run=self._run, rows=rows, saturations=saturations, steps_per_row=steps_per_row)
