"""A population of a stream program on a CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.processes.stream_population.process import (
    STREAM_INPUTS_MAX,
    StreamPopulation,
    stream_port,
)
from bispik.backends.lava.stream.arithmetic import History, StreamDynamics, StreamSynapses
from bispik.backends.lava.stream.tape import StreamNodeTape
from bispik.backends.lava.vendor import (
    CPU,
    LavaPyType,
    LoihiProtocol,
    ProcessParameters,
    PyInPort,
    PyLoihiProcessModel,
    PyOutPort,
    implements,
    requires,
    tag,
)
from bispik.compiler.stream.program import IntegerStreamPopulation


@implements(proc=StreamPopulation, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyStreamPopulationModel(PyLoihiProcessModel):
    """Synapses and neurons in one, driven by events."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    u: npt.NDArray[np.int32] = LavaPyType(np.ndarray, np.int32, precision=24)
    v: npt.NDArray[np.int32] = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params: ProcessParameters) -> None:
        super().__init__(proc_params)
        population: IntegerStreamPopulation = proc_params["population"]
        self.tape: StreamNodeTape = proc_params["tape"]
        self.skew: int = proc_params["skew"]
        self.source_skews: list[int] = proc_params["source_skews"]
        self.histories = [
            History(projection.delay, wait, size)
            for projection, wait, size in zip(
                population.inputs, proc_params["waits"], proc_params["sizes"], strict=True
            )
        ]
        self.synapses = [StreamSynapses(projection) for projection in population.inputs]
        self.dynamics = StreamDynamics(population.neurons)
        self.s = np.zeros(population.size, np.int8)
        self.silence = np.zeros(population.size, np.int8)

    def run_spk(self) -> None:
        """One time step."""
        fabric_step, timeline = self.time_step - 1, self.tape.timeline
        if fabric_step > 0:
            self._receive(fabric_step - 1)
        step = timeline.logical(fabric_step, self.skew)
        if step is None:
            self.s_out.send(self.silence)
            return
        arriving = np.zeros(len(self.s), np.int64)
        for synapses, history in zip(self.synapses, self.histories, strict=True):
            arriving += synapses.current(history.due(step))
        saturations = self.dynamics.advance(self.u, self.v, self.s, arriving)
        sent = self.s if self.dynamics.spikes else self.v
        self.s_out.send(sent)
        self.tape.write(fabric_step, sent=sent, membranes=self.v, saturations=saturations)

    def _receive(self, sent_at: int) -> None:
        """Take what was sent in the fabric step before this one."""
        for index, (history, skew) in enumerate(zip(self.histories, self.source_skews, strict=True)):
            port: PyInPort = getattr(self, stream_port(index))
            sent = port.recv()
            step = self.tape.timeline.logical(sent_at, skew)
            if step is not None:
                history.put(step, sent)


for _index in range(STREAM_INPUTS_MAX):
    setattr(PyStreamPopulationModel, stream_port(_index), LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24))
