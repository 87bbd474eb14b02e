"""A stream program as connected Lava Processes: Lava's own where it is stock, else one of ours a population."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.processes.lif.models import ObservedLifModel
from bispik.backends.lava.processes.stream_input.process import StreamInput
from bispik.backends.lava.processes.stream_population.process import (
    STREAM_INPUTS_MAX,
    StreamPopulation,
    stream_port,
)
from bispik.backends.lava.stock import ACTIVATION_BITS
from bispik.backends.lava.stream.layout import Layout, flat, layouts
from bispik.backends.lava.stream.stock import Connection, lif_parameters, synapses
from bispik.backends.lava.stream.tape import StreamTape
from bispik.backends.lava.vendor import LIF, InPort, Loihi2SimCfg, OutPort, Var
from bispik.compiler.bounds import OutputRange
from bispik.compiler.stream.program import IntegerStreamPopulation, StreamProgram
from bispik.compiler.stream.schedule import Schedule
from bispik.models.errors import BispikError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """What the host writes into a population's neurons before their first logical step.

    Until then they are at rest and have no bias: they would leave their initial state, or even spike, while the first
    input is still on its way to them.
    """

    variable: Var
    values: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamGraph:
    """A program's Processes."""

    processes: Mapping[str, StreamInput | StreamPopulation | LIF]
    layouts: Mapping[str, Layout]
    starts: Mapping[int, list[Start]] = field(default_factory=dict[int, list[Start]])
    """By fabric step before which they happen."""


def run_configuration() -> Loihi2SimCfg:
    """Return how Lava chooses the models: the CPU simulator of Loihi 2 in fixed point."""
    return Loihi2SimCfg(
        select_tag="fixed_pt", select_sub_proc_model=False, exception_proc_model_map={LIF: ObservedLifModel}
    )


def build_stream_network(program: StreamProgram, timing: Schedule, tape: StreamTape) -> StreamGraph:
    """Return the Processes, connected.

    Raises:
        BispikError: if Lava's own processes cannot do what a stock program says, or a population stands alone.
    """
    _require_connected(program)
    build = _stock if program.neuron_program == "stock" else _bispik
    return build(program, timing, tape)


def _bispik(program: StreamProgram, timing: Schedule, tape: StreamTape) -> StreamGraph:
    sizes = {program.input.name: program.input.size} | {p.name: p.size for p in program.populations}
    entry = StreamInput(shape=(program.input.size,), tape=tape.nodes[program.input.name], name=program.input.name)
    processes: dict[str, StreamInput | StreamPopulation | LIF] = {program.input.name: entry}
    populations: dict[str, StreamPopulation] = {}
    for population in program.populations:
        name, inputs = population.name, population.inputs
        if len(inputs) > STREAM_INPUTS_MAX:
            raise BispikError(f"{name}: {len(inputs)} inputs; the Lava backend has ports for {STREAM_INPUTS_MAX}")
        processes[name] = populations[name] = StreamPopulation(
            population=population,
            sizes=[sizes[projection.source] for projection in inputs],
            source_skews=[timing.skew[projection.source] for projection in inputs],
            waits=[timing.waits[name, index] for index in range(len(inputs))],
            skew=timing.skew[name],
            tape=tape.nodes[name],
            name=name,
        )
    for population in program.populations:
        for index, projection in enumerate(population.inputs):
            port: InPort = getattr(populations[population.name], stream_port(index))
            processes[projection.source].s_out.connect(port)
    return StreamGraph(processes=processes, layouts={name: flat(size) for name, size in sizes.items()})


def _stock(program: StreamProgram, timing: Schedule, tape: StreamTape) -> StreamGraph:
    order = layouts(program, timing)
    entry = program.input
    processes: dict[str, StreamInput | StreamPopulation | LIF] = {
        entry.name: StreamInput(shape=order[entry.name].shape, tape=tape.nodes[entry.name], name=entry.name)
    }
    sent = {entry.name: OutputRange(min(0, entry.low), max(0, entry.high))}
    starts: dict[int, list[Start]] = {}
    neurons: dict[str, LIF] = {}
    for population in program.populations:
        name = population.name
        processes[name] = neurons[name] = _lif(population, order[name], tape)
        sent[name] = OutputRange(0, 1)
        starts.setdefault(timing.skew[name], []).extend(_starts(population, order[name], neurons[name]))
    for population in program.populations:
        connections = [
            Connection(
                population=population.name,
                index=index,
                projection=projection,
                wait=timing.waits[population.name, index],
                source=order[projection.source],
                target=order[population.name],
                sent=sent[projection.source],
            )
            for index, projection in enumerate(population.inputs)
        ]
        reach = sum(connection.reach for connection in connections)
        if reach >= 1 << (ACTIVATION_BITS - 1):
            raise BispikError(f"{population.name}: currents could reach {reach:,}, more than {ACTIVATION_BITS} bits")
        for connection in connections:
            if connection.projection.source in neurons and _sends_membrane(program, connection.projection.source):
                raise BispikError(f"{connection.projection.source}: only the host can read membranes")
            process = synapses(connection)
            _connect(processes[connection.projection.source].s_out, process.s_in)
            _connect(process.a_out, neurons[population.name].a_in)
    return StreamGraph(processes=processes, layouts=order, starts={step: s for step, s in starts.items() if s})


def _lif(population: IntegerStreamPopulation, layout: Layout, tape: StreamTape) -> LIF:
    parameters = lif_parameters(population.name, population.neurons)
    lif = LIF(
        shape=layout.shape,
        du=parameters.du,
        dv=parameters.dv,
        vth=parameters.vth,
        bias_mant=np.zeros(layout.shape, np.int32),  # see `Start`
        bias_exp=parameters.bias_exp[layout.order].reshape(layout.shape),
        name=population.name,
    )
    lif.proc_params["tape"] = tape.nodes[population.name]
    lif.proc_params["sends_membrane"] = population.neurons.output == "membrane"
    return lif


def _starts(population: IntegerStreamPopulation, layout: Layout, lif: LIF) -> Iterable[Start]:
    """Return what the neurons start with, if that is not rest."""
    parameters = lif_parameters(population.name, population.neurons)
    neurons = population.neurons
    for variable, values in (
        (lif.u, neurons.initial_current),
        (lif.v, neurons.initial),
        (lif.bias_mant, parameters.bias_mant),
    ):
        if values.any():
            yield Start(variable=variable, values=values[layout.order].reshape(layout.shape))


def _connect(source: OutPort, port: InPort) -> None:
    """Connect ports of the same order and number of neurons."""
    if source.shape == port.shape:
        source.connect(port)
    else:
        source.reshape(port.shape).connect(port)


def _sends_membrane(program: StreamProgram, name: str) -> bool:
    return program.population(name).neurons.output == "membrane"


def _require_connected(program: StreamProgram) -> None:
    """Raise if Lava, which follows connections, would not find a population."""
    found, before = {program.input.name}, 0
    while len(found) > before:
        before = len(found)
        for population in program.populations:
            group = {population.name, *(projection.source for projection in population.inputs)}
            if group & found:
                found |= group
    for population in program.populations:
        if population.name not in found:
            raise BispikError(
                f"{population.name}: nothing connects it with {program.input.name}; Lava cannot run it: leave it out"
            )
