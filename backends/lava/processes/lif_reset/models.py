"""Lava's own `LIFReset`, observed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.clock import Clock
from bispik.backends.lava.tape import NodeTape
from bispik.backends.lava.vendor import (
    CPU,
    LavaPyType,
    LIFReset,
    LoihiProtocol,
    ProcessParameters,
    PyLifResetModelBitAcc,
    PyOutPort,
    implements,
    requires,
    tag,
)
from bispik.compiler.fixed_point import STOCK_EXPONENT, decayed

CURRENT_MAX = (1 << 23) - 1
"""Lava wraps a current that leaves 24 bits; the program's semantics know no such current."""


@implements(proc=LIFReset, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class ObservedLifResetModel(PyLifResetModelBitAcc):
    """Lava's bit-accurate model, unchanged: it computes, and this class writes down what it did."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: ProcessParameters) -> None:
        super().__init__(proc_params)
        self.clock: Clock = proc_params["clock"]
        self.tape: NodeTape = proc_params["tape"]
        self.saturations = 0

    def subthr_dynamics(self, activation_in: npt.NDArray[np.int32]) -> None:
        """Let Lava update the membranes; count those that it clips.

        Raises:
            OverflowError: if a current of a token's step would wrap.
        """
        step = self.clock.step(self.time_step)
        reach = int(np.abs(activation_in).max(initial=0)) << STOCK_EXPONENT
        if reach > CURRENT_MAX and self.tape.records(step):
            raise OverflowError(f"a current reached {reach} of {CURRENT_MAX} (24 bits), where Lava's neurons wrap")
        before = self.v.astype(np.int64)
        super().subthr_dynamics(activation_in)
        self.saturations = int(np.count_nonzero(decayed(before, self.dv) + self.u + self.effective_bias != self.v))

    def reset_voltage(self, spike_vector: npt.NDArray[np.bool_]) -> None:
        """Let Lava reset the neurons that spike, which ends the step's arithmetic; write it down."""
        super().reset_voltage(spike_vector)
        self.tape.write(self.clock.step(self.time_step), self.saturations, outputs=spike_vector, membranes=self.v)
