"""The language-model head as a Lava Process."""

from __future__ import annotations

from bispik.backends.lava.clock import Clock
from bispik.backends.lava.tape import NodeTape
from bispik.backends.lava.vendor import AbstractProcess, InPort, Var
from bispik.compiler.program import IntegerReadout


class Readout(AbstractProcess):
    """Accumulators over the vocabulary, read by the host: accumulators += weight @ s_in; 0 at phase 0 of the clock.

    s_in: (size,), graded; accumulators: (vocabulary,).

    Args:
        node: the weights.
        hops: steps from the source to here.
        clock: where the readout is in its tokens.
        tape: takes the accumulators down.
        name: of the node.
    """

    def __init__(self, *, node: IntegerReadout, hops: int, clock: Clock, tape: NodeTape, name: str) -> None:
        super().__init__(node=node, hops=hops, clock=clock, tape=tape, name=name)
        self.s_in = InPort(shape=(node.weight.shape[1],))
        self.accumulators = Var(shape=(node.size,))
