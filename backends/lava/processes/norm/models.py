"""A norm on a CPU."""

from __future__ import annotations

import numpy as np

from bispik.backends.lava.clock import Clock
from bispik.backends.lava.inputs import DelayedInputs, port_name
from bispik.backends.lava.processes.norm.process import Norm
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
from bispik.compiler.fixed_point import normalised
from bispik.compiler.program import IntegerNorm


@implements(proc=Norm, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyNormModel(PyLoihiProcessModel):
    """Normalises."""

    input_0: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: ProcessParameters) -> None:
        super().__init__(proc_params)
        self.clock: Clock = proc_params["clock"]
        self.tape: NodeTape = proc_params["tape"]
        self.node: IntegerNorm = proc_params["node"]
        self.inputs = DelayedInputs(self, [port_name(0)], [proc_params["hops"]], [self.node.size])

    def run_spk(self) -> None:
        """One time step."""
        (arrived,) = self.inputs.due()
        node = self.node
        normal = normalised(
            arrived.astype(np.int64),
            fraction_bits=node.fraction_bits,
            root_bits=node.root_bits,
            epsilon=node.epsilon,
        ).astype(np.int32)
        self.s_out.send(normal)
        self.tape.write(self.clock.step(self.time_step), outputs=normal)
