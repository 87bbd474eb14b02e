"""When things happen on a clocked fabric, where every synaptic hop takes one time step (Lava, Loihi)."""

from __future__ import annotations

from bispik.compiler.program import IntegerInjection, QuantizedProgram


def skews(program: QuantizedProgram) -> dict[str, int]:
    """Return by node how many steps behind the injection its output of the same logical step appears.

    skew(node) = 1 + the largest skew of its sources; the injection and the population that it drives have 0,
    because the host writes that current into the neurons themselves.
    """
    injection = program.injection.name
    skew: dict[str, int] = {}
    for node in program.nodes:
        if isinstance(node, IntegerInjection) or node.sources == (injection,):
            skew[node.name] = 0
        else:
            skew[node.name] = 1 + max(skew[source] for source in node.sources)
    return skew
