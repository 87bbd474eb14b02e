"""Lava's own `LIF`, observed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.stream.tape import StreamNodeTape
from bispik.backends.lava.vendor import (
    CPU,
    LIF,
    LavaPyType,
    LoihiProtocol,
    ProcessParameters,
    PyLifModelBitAcc,
    PyOutPort,
    implements,
    requires,
    tag,
)
from bispik.compiler.fixed_point import STOCK_EXPONENT, decayed


@implements(proc=LIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class ObservedLifModel(PyLifModelBitAcc):
    """Lava's bit-accurate model, unchanged: it computes, and this class writes down what it did."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: ProcessParameters) -> None:
        super().__init__(proc_params)
        self.tape: StreamNodeTape = proc_params["tape"]
        self.sends_membrane: bool = proc_params["sends_membrane"]
        self.saturations = self.largest_current = 0

    def subthr_dynamics(self, activation_in: npt.NDArray[np.int32]) -> None:
        """Let Lava update the membranes; count those that it clips, and see how far the currents would reach."""
        u, v = self.u.astype(np.int64), self.v.astype(np.int64)
        super().subthr_dynamics(activation_in)
        current = decayed(u, int(np.asarray(self.du).item()) + 1) + (activation_in.astype(np.int64) << STOCK_EXPONENT)
        self.largest_current = int(np.abs(current).max())
        self.saturations = int(
            np.count_nonzero(decayed(v, int(np.asarray(self.dv).item())) + self.u + self.effective_bias != self.v)
        )

    def reset_voltage(self, spike_vector: npt.NDArray[np.bool_]) -> None:
        """Let Lava reset the neurons that spike, which ends the step's arithmetic; write it down."""
        super().reset_voltage(spike_vector)
        membranes = self.v.ravel()
        self.tape.write(
            self.time_step - 1,
            sent=membranes if self.sends_membrane else spike_vector.ravel(),
            membranes=membranes,
            saturations=self.saturations,
            largest_current=self.largest_current,
            spikes=int(np.count_nonzero(spike_vector)),
        )
