"""A stage's result as text, for ``--dump-after``."""

from __future__ import annotations

from bispik.compiler.graph import Attention, Injection, Join, Norm, Population, Readout, SpikingGraph
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.program import IntegerAttention, IntegerJoin, IntegerNorm, IntegerPopulation, QuantizedProgram


def describe_graph(graph: SpikingGraph) -> str:
    """One line per node: name, kind, size, sources, constants."""
    lines = [f"spiking graph: {len(graph.nodes)} nodes, {graph.steps_per_token} steps per token, dt {graph.dt} s"]
    for node in graph.nodes:
        line = f"{node.name:28} {type(node).__name__:11} {node.size:6}  from {', '.join(node.sources) or 'the host'}"
        match node:
            case Population() | Attention():
                neurons = node.neurons
                span = f"{neurons.threshold.min():.4g}..{neurons.threshold.max():.4g}"
                line += f"; decay {neurons.decay}, threshold {span} ({neurons.fire}), {neurons.reset} reset"
                line += ", ternary spikes" if neurons.spikes == "ternary" else ""
            case Injection() | Join() | Norm() | Readout():
                pass
        lines.append(line)
    return "\n".join(lines) + "\n"


def describe_program(program: QuantizedProgram) -> str:
    """One line per node: name, kind, size, exponents, constants in integers."""
    title = (
        f"quantised program: {len(program.nodes)} nodes, {program.bits} bit, {program.neuron_program} neurons, "
        f"window {program.window}, semantics {program.semantics_version}"
    )
    lines = [title]
    for node in program.nodes:
        line = f"{node.name:28} {type(node).__name__.removeprefix('Integer'):11} {node.size:6}"
        if isinstance(node, (IntegerPopulation, IntegerAttention)):
            neurons = node.neurons
            exponents = [p.exponent for p in node.inputs] if isinstance(node, IntegerPopulation) else [node.exponent]
            line += (
                f"  exponent {', '.join(map(str, exponents))}; decay {neurons.decay}, "
                f"threshold {neurons.threshold.min()}..{neurons.threshold.max()}, "
                f"bias {neurons.bias.min()}..{neurons.bias.max()}, {neurons.reset} reset, {neurons.program}"
                f"{', ternary spikes' if neurons.spikes == 'ternary' else ''}"
            )
        elif isinstance(node, IntegerJoin) and any(node.exponents):
            line += f"  exponent {', '.join(map(str, node.exponents))}"
        elif isinstance(node, IntegerNorm):
            line += f"  {node.fraction_bits} bits behind the point, root with {node.root_bits} more"
        lines.append(line)
    return "\n".join(lines) + "\n"


def describe_mapping(mapped: MappedProgram) -> str:
    """One line per neurocore: place and slices."""
    lines = [f"mapped to {mapped.target.name}, {mapped.system.name}: {len(mapped.neurocores)} neurocores"]
    for core in mapped.neurocores:
        parts = ", ".join(f"{part.node}[{part.start}:{part.stop}]" for part in core.slices)
        lines.append(f"{core.index:5}  chip {core.chip} ({core.x},{core.y})  {parts}")
    return "\n".join(lines) + "\n"
