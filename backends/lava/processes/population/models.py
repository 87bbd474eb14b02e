"""A population on a CPU: in one piece, or as Lava's own synapses and neurons."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.arithmetic import Dynamics, Synapses
from bispik.backends.lava.clock import Clock
from bispik.backends.lava.inputs import DelayedInputs, port_name
from bispik.backends.lava.processes.neurons.process import Neurons
from bispik.backends.lava.processes.population.process import Population
from bispik.backends.lava.stock import DELAY_MAX, dense_synapses, stock_neurons
from bispik.backends.lava.tape import NodeTape
from bispik.backends.lava.vendor import (
    CPU,
    AbstractSubProcessModel,
    DelayDense,
    Dense,
    InPort,
    LavaPyType,
    LIFReset,
    LoihiProtocol,
    ProcessParameters,
    PyInPort,
    PyLoihiProcessModel,
    PyOutPort,
    SignMode,
    implements,
    requires,
    tag,
)
from bispik.compiler.fixed_point import DECAY_ONE, STOCK_EXPONENT
from bispik.compiler.program import IntegerPopulation
from bispik.models.errors import BispikError


@implements(proc=Population, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPopulationModel(PyLoihiProcessModel):
    """Synapses and neurons in one operating-system process, driven by events."""

    input_0: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    input_1: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    input_2: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    input_3: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int8, precision=2)
    v: npt.NDArray[np.int32] = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params: ProcessParameters) -> None:
        super().__init__(proc_params)
        node: IntegerPopulation = proc_params["node"]
        self.clock: Clock = proc_params["clock"]
        self.tape: NodeTape = proc_params["tape"]
        names = [port_name(index) for index in range(len(node.inputs))]
        self.inputs = DelayedInputs(self, names, proc_params["hops"], proc_params["sizes"])
        self.synapses = [Synapses(projection) for projection in node.inputs]
        self.dynamics = Dynamics(node.neurons)
        self.s = np.zeros(node.size, np.int8)

    def run_spk(self) -> None:
        """One time step."""
        if self.clock.phase(self.time_step) == 0:
            self.v[:] = 0
            self.s[:] = 0
        current = np.zeros(len(self.s), np.int64)
        for synapses, arriving in zip(self.synapses, self.inputs.due(), strict=True):
            current += synapses.current(arriving)
        saturations = self.dynamics.advance(self.v, self.s, current)
        self.s_out.send(self.s)
        self.tape.write(self.clock.step(self.time_step), saturations, outputs=self.s, membranes=self.v)


@implements(proc=Population, protocol=LoihiProtocol)
class SubPopulationModel(AbstractSubProcessModel):
    """Lava's `Dense` for each projection, and a Process of its own for the neurons."""

    def __init__(self, proc: Population) -> None:
        node: IntegerPopulation = proc.proc_params["node"]
        direct = not any(proc.proc_params["hops"])
        self.neurons = _neurons(proc, node, direct)
        proc.v.alias(self.neurons.v)
        self.neurons.s_out.connect(proc.s_out)
        for index in range(len(node.inputs)):
            port: InPort = getattr(proc, port_name(index))
            if direct:
                port.connect(self.neurons.a_in)
                continue
            dense = _dense(proc, node, index)
            port.connect(dense.s_in)
            dense.a_out.connect(self.neurons.a_in)
            setattr(self, f"dense_{index}", dense)


def _neurons(proc: Population, node: IntegerPopulation, direct: bool) -> LIFReset | Neurons:
    """Return the neurons; a host's current reaches them ``direct``, without synapses that would shift it."""
    clock: Clock = proc.proc_params["clock"]
    if direct and (len(node.inputs) != 1 or node.inputs[0].weight is not None):
        raise BispikError(f"{node.name}: a current that the host writes into neurons can have no weights")
    exponent = node.inputs[0].exponent if direct else 0
    if node.neurons.program == "bispik":
        return Neurons(
            neurons=node.neurons,
            exponent=exponent,
            clock=clock,
            tape=proc.proc_params["tape"],
            name=f"{node.name}/neurons",
        )
    if direct and exponent != STOCK_EXPONENT:
        raise BispikError(
            f"{node.name}: exponent {exponent} of the host's current; Lava's neurons shift by {STOCK_EXPONENT}"
        )
    stock = stock_neurons(node.name, node.neurons)
    lif = LIFReset(
        shape=(node.size,),
        du=DECAY_ONE - 1,
        dv=stock.dv,
        vth=stock.vth,
        bias_mant=stock.bias_mant,
        bias_exp=stock.bias_exp,
        reset_interval=clock.steps_per_token,
        reset_offset=clock.reset_offset,
        name=f"{node.name}/neurons",
    )
    lif.proc_params["clock"] = clock
    lif.proc_params["tape"] = proc.proc_params["tape"]
    return lif


def _dense(proc: Population, node: IntegerPopulation, index: int) -> Dense:
    """Return one projection's synapses; `Dense` is one hop, and `DelayDense` makes up for the others."""
    projection, parameters = node.inputs[index], proc.proc_params
    hops: int = parameters["hops"][index]
    already = STOCK_EXPONENT if node.neurons.program == "stock" else 0
    shift = projection.exponent - already
    synapses = dense_synapses(node.name, projection, shift, parameters["sizes"][index], parameters["outputs"][index])
    delay = hops - 1
    if delay > DELAY_MAX:
        raise BispikError(
            f"{node.name}: spikes from {projection.source} must wait {delay} steps; synapses delay by {DELAY_MAX}"
        )
    kind: Callable[..., Dense] = functools.partial(DelayDense, delays=delay) if delay else Dense
    return kind(
        weights=synapses.weights,
        weight_exp=synapses.weight_exp,
        num_message_bits=synapses.num_message_bits,
        sign_mode=SignMode.MIXED,
        name=f"{node.name}/synapses {index}",
    )
