"""A population of a stream program as a Lava Process."""

from __future__ import annotations

from collections.abc import Sequence

from bispik.backends.lava.stream.tape import StreamNodeTape
from bispik.backends.lava.vendor import AbstractProcess, InPort, OutPort, Var
from bispik.compiler.stream.program import IntegerStreamPopulation

STREAM_INPUTS_MAX = 16
"""Ports ``input_0`` to ``input_15``: Lava declares a model's ports on its class. Unused ones stay unconnected."""


def stream_port(index: int) -> str:
    """Return the attribute that holds input ``index`` of the Process and of its model."""
    return f"input_{index}"


class StreamPopulation(AbstractProcess):
    """Neurons and the synapses that drive them: the equations of `bispik.compiler.stream.program`.

    s_out is what they send, spikes or membranes. Outside of a run the neurons keep their state and send 0, so that the
    next run goes on where this one ended. What was sent in one time step is received at the start of the next: no model
    waits for another within a step. On hardware these neurons need a neurocore microcode program.

    Args:
        population: weights and constants.
        sizes: size of each source.
        source_skews: fabric steps by which each source lies behind the input.
        waits: steps that each input waits beyond the hop.
        skew: fabric steps by which these neurons lie behind the input.
        tape: takes outputs and membranes down.
        name: of the population.
    """

    receives_later = True
    """The models that run before it within a step are of no consequence."""

    def __init__(
        self,
        *,
        population: IntegerStreamPopulation,
        sizes: Sequence[int],
        source_skews: Sequence[int],
        waits: Sequence[int],
        skew: int,
        tape: StreamNodeTape,
        name: str,
    ) -> None:
        super().__init__(
            population=population,
            sizes=sizes,
            source_skews=source_skews,
            waits=waits,
            skew=skew,
            tape=tape,
            name=name,
        )
        for index in range(STREAM_INPUTS_MAX):
            setattr(self, stream_port(index), InPort(shape=(sizes[index] if index < len(sizes) else 1,)))
        self.s_out = OutPort(shape=(population.size,))
        self.u = Var(shape=(population.size,), init=population.neurons.initial_current)
        self.v = Var(shape=(population.size,), init=population.neurons.initial)
