"""A program as connected Lava Processes: one for each population, join, norm, attention and readout."""

from __future__ import annotations

from typing import TypeAlias

from bispik.backends.lava.clock import Clock
from bispik.backends.lava.inputs import MAX_INPUTS, port_name
from bispik.backends.lava.processes.attention.process import Attention
from bispik.backends.lava.processes.injection.process import Injection
from bispik.backends.lava.processes.join.process import Join
from bispik.backends.lava.processes.lif_reset.models import ObservedLifResetModel
from bispik.backends.lava.processes.norm.process import Norm
from bispik.backends.lava.processes.population.process import Population
from bispik.backends.lava.processes.readout.process import Readout
from bispik.backends.lava.tape import Tape
from bispik.backends.lava.vendor import InPort, LIFReset, Loihi2SimCfg
from bispik.compiler.bounds import injected_range, output_ranges
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNode,
    IntegerNorm,
    IntegerPopulation,
    IntegerReadout,
    QuantizedProgram,
)
from bispik.compiler.schedule import skews
from bispik.models.errors import BispikError

NodeProcess: TypeAlias = Injection | Population | Join | Norm | Attention | Readout


def run_configuration(lava_processes: bool) -> Loihi2SimCfg:
    """Return how Lava chooses the models: the CPU simulator of Loihi 2 in fixed point.

    Args:
        lava_processes: populations become Lava's `Dense` and a Process for the neurons, instead of one of ours.
    """
    return Loihi2SimCfg(
        select_tag="fixed_pt",
        select_sub_proc_model=lava_processes,
        exception_proc_model_map={LIFReset: ObservedLifResetModel},
    )


def build_network(program: QuantizedProgram, tape: Tape) -> dict[str, NodeProcess]:
    """Return the program's Processes by node, connected.

    Raises:
        BispikError: if a node has more inputs than a Process has ports.
    """
    builder = _Builder(program, tape)
    processes = {node.name: builder.process(node) for node in program.nodes}
    injection = next(process for process in processes.values() if isinstance(process, Injection))
    for node in program.nodes:
        process = processes[node.name]
        for source, port in zip(node.sources, _input_ports(process), strict=False):
            _connect(processes[source], port)
        if isinstance(process, Attention):
            injection.gate_out.connect(process.gate_in)
    return processes


def _connect(source: NodeProcess, port: InPort) -> None:
    if isinstance(source, Readout):
        raise BispikError(f"{source.name}: the host reads it; no node can")
    source.s_out.connect(port)


class _Builder:
    """Makes the Process of a node."""

    def __init__(self, program: QuantizedProgram, tape: Tape) -> None:
        self.program, self.tape = program, tape
        self.skew = skews(program)
        self.sizes = {node.name: node.size for node in program.nodes}
        ranges = output_ranges(program.nodes, program.window)
        injection = program.injection
        self.outputs = {injection.name: injected_range(injection), **ranges}

    def process(self, node: IntegerNode) -> NodeProcess:
        if len(node.sources) > MAX_INPUTS:
            raise BispikError(f"{node.name}: {len(node.sources)} inputs; the Lava backend has ports for {MAX_INPUTS}")
        tape = self.tape.nodes[node.name]
        clock = Clock(self.program.steps_per_token, self.skew[node.name])
        hops = [self.skew[node.name] - self.skew[source] for source in node.sources]
        match node:
            case IntegerInjection():
                return Injection(size=node.size, tape=tape, name=node.name)
            case IntegerPopulation():
                sizes = [self.sizes[source] for source in node.sources]
                outputs = [self.outputs[source] for source in node.sources]
                return Population(
                    node=node, sizes=sizes, outputs=outputs, hops=hops, clock=clock, tape=tape, name=node.name
                )
            case IntegerJoin():
                return Join(size=node.size, exponents=node.exponents, hops=hops, clock=clock, tape=tape, name=node.name)
            case IntegerNorm():
                return Norm(node=node, hops=hops[0], clock=clock, tape=tape, name=node.name)
            case IntegerAttention():
                window = self.program.window
                return Attention(node=node, window=window, hops=hops, clock=clock, tape=tape, name=node.name)
            case IntegerReadout():
                return Readout(node=node, hops=hops[0], clock=clock, tape=tape, name=node.name)


def _input_ports(process: NodeProcess) -> list[InPort]:
    """Return the ports of a node's sources, in their order."""
    match process:
        case Injection():
            return []
        case Population() | Join():
            return [getattr(process, port_name(index)) for index in range(MAX_INPUTS)]
        case Norm():
            return [getattr(process, port_name(0))]
        case Attention():
            return [process.q_in, process.k_in, process.v_in]
        case Readout():
            return [process.s_in]
