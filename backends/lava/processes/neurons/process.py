"""The bispik neuron program as a Lava Process."""

from __future__ import annotations

from bispik.backends.lava.clock import Clock
from bispik.backends.lava.tape import NodeTape
from bispik.backends.lava.vendor import AbstractProcess, InPort, OutPort, Var
from bispik.compiler.program import IntegerNeurons


class Neurons(AbstractProcess):
    """Leaky integrate-and-fire neurons with a threshold each and a soft or a hard reset.

    v = saturate(decay(v') + (a_in << exponent) + bias - subtract * s');   s_out = s = 1 if v > threshold else 0
    ternary: s is -1 if v < -threshold
    hard reset: subtract is 0, and v is stored as 0 where the neuron spikes
    v: 24 bits signed; decay and saturate as in `bispik.compiler.fixed_point`. v and s are 0 at phase 0 of the clock.

    Lava's `LIFReset` has one threshold a population, no soft reset and no ternary spikes. On hardware these
    neurons need a neurocore microcode program.

    Args:
        neurons: the constants.
        exponent: shift of the activation that arrives, as the 6 of Lava's own neurons.
        clock: where the neurons are in their tokens.
        tape: takes spikes and membranes down.
        name: of the process.
    """

    def __init__(self, *, neurons: IntegerNeurons, exponent: int, clock: Clock, tape: NodeTape, name: str) -> None:
        super().__init__(neurons=neurons, exponent=exponent, clock=clock, tape=tape, name=name)
        self.a_in = InPort(shape=(neurons.size,))
        self.s_out = OutPort(shape=(neurons.size,))
        self.v = Var(shape=(neurons.size,))
        self.s = Var(shape=(neurons.size,))
