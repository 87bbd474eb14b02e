"""A norm inside a block as a Lava Process."""

from __future__ import annotations

from bispik.backends.lava.clock import Clock
from bispik.backends.lava.inputs import port_name, port_shapes
from bispik.backends.lava.tape import NodeTape
from bispik.backends.lava.vendor import AbstractProcess, InPort, OutPort
from bispik.compiler.program import IntegerNorm


class Norm(AbstractProcess):
    """`IntegerNorm` of its input, as a graded spike: (size,) to (size,), int32.

    On hardware: a division and a square root, which no neurocore is known to have, over a whole vector at once; for
    one of the chip's embedded processors.

    Args:
        node: size, bits and epsilon.
        hops: steps from the source to here.
        clock: where the norm is in its tokens.
        tape: takes outputs down.
        name: of the node.
    """

    def __init__(self, *, node: IntegerNorm, hops: int, clock: Clock, tape: NodeTape, name: str) -> None:
        super().__init__(node=node, hops=hops, clock=clock, tape=tape, name=name)
        (shape, *_) = port_shapes([node.size])
        setattr(self, port_name(0), InPort(shape=shape))
        self.s_out = OutPort(shape=shape)
