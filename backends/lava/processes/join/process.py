"""The residual stream as a Lava Process."""

from __future__ import annotations

from collections.abc import Sequence

from bispik.backends.lava.clock import Clock
from bispik.backends.lava.inputs import port_name, port_shapes
from bispik.backends.lava.tape import NodeTape
from bispik.backends.lava.vendor import AbstractProcess, InPort, OutPort


class Join(AbstractProcess):
    """Sum of its inputs, as a graded spike: s_out = sum over inputs i of input_i << exponent_i, (size,), int32.

    On hardware: neurons without memory and threshold that send their current on, in microcode.

    Args:
        size: channels.
        exponents: shift of each input.
        hops: steps from each source to here.
        clock: where the join is in its tokens.
        tape: takes outputs down.
        name: of the node.
    """

    def __init__(
        self, *, size: int, exponents: Sequence[int], hops: Sequence[int], clock: Clock, tape: NodeTape, name: str
    ) -> None:
        super().__init__(size=size, exponents=exponents, hops=hops, clock=clock, tape=tape, name=name)
        for index, shape in enumerate(port_shapes([size] * len(hops))):
            setattr(self, port_name(index), InPort(shape=shape))
        self.s_out = OutPort(shape=(size,))
