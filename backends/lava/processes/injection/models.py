"""The injection on a CPU."""

from __future__ import annotations

import numpy as np

from bispik.backends.lava.processes.injection.process import Injection
from bispik.backends.lava.tape import NodeTape
from bispik.backends.lava.vendor import (
    CPU,
    LavaPyType,
    LoihiProtocol,
    ProcessParameters,
    PyLoihiProcessModel,
    PyOutPort,
    implements,
    requires,
    tag,
)


@implements(proc=Injection, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyInjectionModel(PyLoihiProcessModel):
    """Reads the currents of the run off the tape."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    gate_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=1)

    def __init__(self, proc_params: ProcessParameters) -> None:
        super().__init__(proc_params)
        self.tape: NodeTape = proc_params["tape"]
        self.silence = np.zeros(proc_params["size"], np.int32)

    def run_spk(self) -> None:
        """One time step."""
        step = self.time_step - 1
        self.tape.run[2] = step
        token_passes = self.tape.records(step)
        row = step - int(self.tape.run[0])
        self.s_out.send(self.tape.rows["currents"][row] if token_passes else self.silence)
        self.gate_out.send(np.array([token_passes], np.int32))
