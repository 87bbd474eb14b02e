"""Spiking attention on a CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.arithmetic import Dynamics
from bispik.backends.lava.clock import Clock
from bispik.backends.lava.inputs import DelayedInputs
from bispik.backends.lava.processes.attention.process import Attention
from bispik.backends.lava.tape import NodeTape
from bispik.backends.lava.vendor import (
    CPU,
    LavaPyType,
    LoihiProtocol,
    ProcessParameters,
    PyInPort,
    PyLoihiProcessModel,
    PyOutPort,
    implements,
    requires,
    tag,
)
from bispik.compiler.program import IntegerAttention


@implements(proc=Attention, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyAttentionModel(PyLoihiProcessModel):
    """All heads in one operating-system process."""

    q_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=2)
    k_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=2)
    v_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=2)
    gate_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=1)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    keys: npt.NDArray[np.int8] = LavaPyType(np.ndarray, np.int8, precision=2)
    values: npt.NDArray[np.int8] = LavaPyType(np.ndarray, np.int8, precision=2)
    tokens: npt.NDArray[np.int32] = LavaPyType(np.ndarray, np.int32, precision=24)
    v: npt.NDArray[np.int32] = LavaPyType(np.ndarray, np.int32, precision=24)
    s: npt.NDArray[np.int8] = LavaPyType(np.ndarray, np.int8, precision=2)

    def __init__(self, proc_params: ProcessParameters) -> None:
        super().__init__(proc_params)
        self.node: IntegerAttention = proc_params["node"]
        self.clock: Clock = proc_params["clock"]
        self.tape: NodeTape = proc_params["tape"]
        # The gate comes from the injection, which is as many steps away as the attention is behind it.
        names, hops = ("q_in", "k_in", "v_in", "gate_in"), (*proc_params["hops"], self.clock.skew)
        self.inputs = DelayedInputs(self, names, hops, (*[self.node.size] * 3, 1))
        self.dynamics = Dynamics(self.node.neurons, per_row=True)

    def run_spk(self) -> None:
        """One time step."""
        query, key, value, gate = self.inputs.due()
        output, saturations = np.zeros(self.node.size, np.int32), 0
        phase = self.clock.phase(self.time_step)
        if gate[0]:
            if phase == 0:
                self.v[:] = 0
                self.s[:] = 0
            output, saturations = self.attend(phase, query, key, value)
            if phase == self.clock.steps_per_token - 1:
                self.tokens += 1
        self.s_out.send(output)
        self.tape.write(self.clock.step(self.time_step), saturations, outputs=output, score_spikes=self.s)

    def attend(
        self, phase: int, query: npt.NDArray[np.int32], key: npt.NDArray[np.int32], value: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.int32], int]:
        """Store the token's key and value, ask, and return the output and how many membranes saturated."""
        by_head = (self.node.heads, self.node.head_dim)
        before = int(self.tokens[0])
        self.keys[phase, :, before] = key.reshape(by_head)
        self.values[phase, :, before] = value.reshape(by_head)
        stored = slice(0, before + 1)
        scores = np.einsum("hd,hjd->hj", query.reshape(by_head), self.keys[phase, :, stored])
        current = scores.astype(np.int64) << self.node.exponent
        saturations = self.dynamics.advance(self.v[:, stored], self.s[:, stored], current)
        output = np.einsum("hj,hjd->hd", self.s[:, stored].astype(np.int32), self.values[phase, :, stored])
        return output.reshape(self.node.size), saturations
