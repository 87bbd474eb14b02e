"""The bispik neuron program on a CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.arithmetic import Dynamics
from bispik.backends.lava.clock import Clock
from bispik.backends.lava.processes.neurons.process import Neurons
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


@implements(proc=Neurons, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyNeuronsModel(PyLoihiProcessModel):
    """Takes the activation of the same step, as Lava's own neurons do behind a `Dense`."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int8, precision=2)
    v: npt.NDArray[np.int32] = LavaPyType(np.ndarray, np.int32, precision=24)
    s: npt.NDArray[np.int8] = LavaPyType(np.ndarray, np.int8, precision=2)

    def __init__(self, proc_params: ProcessParameters) -> None:
        super().__init__(proc_params)
        self.clock: Clock = proc_params["clock"]
        self.tape: NodeTape = proc_params["tape"]
        self.exponent: int = proc_params["exponent"]
        self.dynamics = Dynamics(proc_params["neurons"])

    def run_spk(self) -> None:
        """One time step."""
        current = self.a_in.recv().astype(np.int64) << self.exponent
        if self.clock.phase(self.time_step) == 0:
            self.v[:] = 0
            self.s[:] = 0
        saturations = self.dynamics.advance(self.v, self.s, current)
        self.s_out.send(self.s)
        self.tape.write(self.clock.step(self.time_step), saturations, outputs=self.s, membranes=self.v)
