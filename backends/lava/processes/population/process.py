"""A population as a Lava Process."""

from __future__ import annotations

from collections.abc import Sequence

from bispik.backends.lava.clock import Clock
from bispik.backends.lava.inputs import port_name, port_shapes
from bispik.backends.lava.tape import NodeTape
from bispik.backends.lava.vendor import AbstractProcess, InPort, OutPort, Var
from bispik.compiler.bounds import OutputRange
from bispik.compiler.program import IntegerPopulation


class Population(AbstractProcess):
    """Neurons and the synapses that drive them: the equation of `bispik.compiler.program`.

    I = sum over inputs i of (weight_i @ input_i) << exponent_i;   then one step of the neurons;   s_out = s
    At phase 0 of its clock the neurons start from rest.

    Two models compute it: ``PyPopulationModel``, synapses and neurons in one, and ``SubPopulationModel``: Lava's
    `Dense` for each projection, with Lava's `LIFReset` (stock neurons) or our `Neurons` (bispik neurons).

    Args:
        node: weights and constants.
        sizes: size of each source.
        outputs: what each source can send.
        hops: steps from each source to the neurons; 0 for a current that the host writes into them.
        clock: where the neurons are in their tokens.
        tape: takes outputs and membranes down.
        name: of the node.
    """

    def __init__(
        self,
        *,
        node: IntegerPopulation,
        sizes: Sequence[int],
        outputs: Sequence[OutputRange],
        hops: Sequence[int],
        clock: Clock,
        tape: NodeTape,
        name: str,
    ) -> None:
        super().__init__(node=node, sizes=sizes, outputs=outputs, hops=hops, clock=clock, tape=tape, name=name)
        for index, shape in enumerate(port_shapes(sizes)):
            setattr(self, port_name(index), InPort(shape=shape))
        self.s_out = OutPort(shape=(node.size,))
        self.v = Var(shape=(node.size,))
