"""When things happen on a clocked fabric, where every synaptic hop takes one time step (Lava, Loihi)."""

from __future__ import annotations

from collections.abc import Sequence

from bispik.compiler.mapping import FanInPart
from bispik.compiler.program import IntegerInjection, QuantizedProgram


def skews(program: QuantizedProgram, parts: Sequence[FanInPart] = ()) -> dict[str, int]:
    """Return by node how many steps behind the injection its output of the same logical step appears.

    skew(node) = 1 + the largest skew of its sources; the injection and the population that it drives have 0,
    because the host writes that current into the neurons themselves. A part of what a node reads is one of its
    sources.
    """
    injection = program.injection.name
    skew: dict[str, int] = {}
    for node in program.nodes:
        if isinstance(node, IntegerInjection) or node.sources == (injection,):
            skew[node.name] = 0
        else:
            own = [part for part in parts if part.node == node.name]
            skew.update((part.name, 1 + skew[part.source]) for part in own)
            skew[node.name] = 1 + max(skew[source] for source in (*node.sources, *(part.name for part in own)))
    return skew
