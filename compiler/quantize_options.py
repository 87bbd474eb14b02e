"""What the user chooses about the integers, and whether a network allows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from bispik.compiler.graph import Population, SpikingGraph
from bispik.compiler.matching import FEEDBACK_BITS
from bispik.compiler.program import NeuronProgram
from bispik.models.errors import BispikError

Rounding: TypeAlias = Literal["spikes", "nearest", "naive"]
"""``spikes``: where bits are few, by what populations then spike, with feedback between weights. ``nearest``: scales
that suit the currents, each weight to the nearest, as in quantisation-aware training. ``naive``: one scale a matrix,
its largest weight at the end of the range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOptions:
    """What the user chooses."""

    bits: int = 8
    """Bits per synaptic weight, 1 to 8."""
    neuron_program: NeuronProgram = "bispik"
    window: int
    """Tokens that keys and values have room for."""
    head_on_chip: bool = True
    seed: int = 0
    """Picks the sampled input vectors; see `sample`."""
    rounding: Rounding = "spikes"
    node_bits: Mapping[str, int] = field(default_factory=dict[str, int])
    """By population or readout: bits of its matrix, where they differ from ``bits``."""

    def bits_of(self, name: str) -> int:
        """Bits per weight of a population's or readout's matrix."""
        return self.node_bits.get(name, self.bits)

    def matches(self, name: str) -> bool:
        """Whether spikes choose a node's integers: few bits, and neurons that may differ from one another."""
        may = self.rounding == "spikes" and self.neuron_program == "bispik"
        return may and self.bits_of(name) <= FEEDBACK_BITS


def check_options(graph: SpikingGraph, options: QuantizeOptions) -> None:
    """Check what the user chose against the network.

    Raises:
        BispikError: if a choice is impossible for it.
    """
    neurons = {node.name: node.neurons for node in graph.of_kind(Population)}
    check_choices(
        options,
        max_positions=graph.max_positions,
        ternary=[name for name, found in neurons.items() if found.spikes == "ternary"],
        soft=[name for name, found in neurons.items() if found.reset == "soft"],
    )


def check_choices(options: QuantizeOptions, *, max_positions: int, ternary: Sequence[str], soft: Sequence[str]) -> None:
    """Check what the user chose against what has to be known of a network.

    Args:
        options: the choices.
        max_positions: tokens that the network has positions for.
        ternary: names of the populations with ternary spikes.
        soft: names of the populations that subtract their threshold.

    Raises:
        BispikError: if a choice is impossible for it.
    """
    if not 1 <= options.bits <= 8:
        raise BispikError(f"--bits {options.bits}: weights have 1 to 8 bits")
    if not 1 <= options.window <= max_positions:
        raise BispikError(
            f"--window {options.window}: the network was trained with {max_positions} positions; "
            f"choose 1 to {max_positions}"
        )
    if options.neuron_program == "stock" and ternary:
        raise BispikError(
            f"--neurons stock: Lava's own neuron only spikes 0 or 1, but {len(ternary)} populations of this network "
            f"(the first is {ternary[0]}) have ternary spikes; use --neurons bispik"
        )
    if options.neuron_program == "stock" and soft:
        raise BispikError(
            f"--neurons stock: Lava's own neuron can only reset to zero, but {len(soft)} populations of this network "
            f"(the first is {soft[0]}) subtract their threshold; use --neurons bispik"
        )
