"""The host's input on a CPU."""

from __future__ import annotations

import numpy as np

from bispik.backends.lava.processes.stream_input.process import StreamInput
from bispik.backends.lava.stream.tape import StreamNodeTape
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


@implements(proc=StreamInput, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyStreamInputModel(PyLoihiProcessModel):
    """Reads the values off the tape."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: ProcessParameters) -> None:
        super().__init__(proc_params)
        self.tape: StreamNodeTape = proc_params["tape"]
        self.silence = np.zeros(proc_params["shape"], np.int32)

    def run_spk(self) -> None:
        """One time step."""
        step, timeline = self.time_step - 1, self.tape.timeline
        timeline.numbers[4] = step + 1
        if timeline.logical(step, 0) is None:
            self.s_out.send(self.silence)
        else:
            self.s_out.send(self.tape.rows["values"][timeline.row(step)].reshape(self.silence.shape))
