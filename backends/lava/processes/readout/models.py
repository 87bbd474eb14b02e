"""The language-model head on a CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.arithmetic import weighted_sum
from bispik.backends.lava.clock import Clock
from bispik.backends.lava.inputs import DelayedInputs
from bispik.backends.lava.processes.readout.process import Readout
from bispik.backends.lava.tape import NodeTape
from bispik.backends.lava.vendor import (
    CPU,
    LavaPyType,
    LoihiProtocol,
    ProcessParameters,
    PyInPort,
    PyLoihiProcessModel,
    implements,
    requires,
    tag,
)
from bispik.compiler.program import IntegerReadout


@implements(proc=Readout, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyReadoutModel(PyLoihiProcessModel):
    """Synapses and accumulators in one operating-system process, driven by events."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    accumulators: npt.NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=24)

    def __init__(self, proc_params: ProcessParameters) -> None:
        super().__init__(proc_params)
        node: IntegerReadout = proc_params["node"]
        self.clock: Clock = proc_params["clock"]
        self.tape: NodeTape = proc_params["tape"]
        self.rows = np.ascontiguousarray(node.weight.T)
        self.inputs = DelayedInputs(self, ["s_in"], [proc_params["hops"]], [node.weight.shape[1]])

    def run_spk(self) -> None:
        """One time step."""
        if self.clock.phase(self.time_step) == 0:
            self.accumulators[:] = 0
        self.accumulators += weighted_sum(self.rows, self.inputs.due()[0])
        self.tape.write(self.clock.step(self.time_step), accumulators=self.accumulators)
