"""A join on a CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.clock import Clock
from bispik.backends.lava.inputs import DelayedInputs, port_name
from bispik.backends.lava.processes.join.process import Join
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


@implements(proc=Join, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyJoinModel(PyLoihiProcessModel):
    """Shifts and adds."""

    input_0: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    input_1: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    input_2: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    input_3: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: ProcessParameters) -> None:
        super().__init__(proc_params)
        self.clock: Clock = proc_params["clock"]
        self.tape: NodeTape = proc_params["tape"]
        hops, size = proc_params["hops"], proc_params["size"]
        self.exponents = [np.int32(exponent) for exponent in proc_params["exponents"]]
        names = [port_name(index) for index in range(len(hops))]
        self.inputs = DelayedInputs(self, names, hops, [size] * len(hops))

    def run_spk(self) -> None:
        """One time step."""
        total: npt.NDArray[np.int32] = np.add.reduce(
            [arrived << exponent for arrived, exponent in zip(self.inputs.due(), self.exponents, strict=True)]
        )
        self.s_out.send(total)
        self.tape.write(self.clock.step(self.time_step), outputs=total)
