"""What is common to all programs on the neurocores of a target system, and the mapped language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bispik.compiler.program import QuantizedProgram
from bispik.compiler.target import System, Target

SliceKind: TypeAlias = Literal["population", "join", "norm", "attention", "readout", "partial"]
"""``partial``: a `FanInPart`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FanInPart:
    """A part of what the rows of a node read, where a row reads more than fits into one neurocore.

    For each row it adds up weight times outputs [start, stop) of one source, and sends the sum, as a number, to the
    neurocore of that row, which is the relay's other end: there the sums of all parts arrive through synapses of weight
    1. That takes a step of the fabric more. The numbers of the program are what they are without.
    """

    name: str
    """Of the part: slices, counts and lines of an account bear it."""
    node: str
    index: int
    """Of the node's input; all of its outputs are in one part or another."""
    source: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRange:
    """The part [start, stop) of a source node's outputs that reaches a slice through input ``index`` of its node."""

    index: int
    source: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Outputs [start, stop) of one node on one neurocore.

    For attention, ``start`` and ``stop`` are channels (whole heads), and [first_token, last_token) the stored tokens.
    Of a stream's populations they are places in the order of `bispik.compiler.stream.layout`.
    """

    node: str
    kind: SliceKind
    start: int
    stop: int
    inputs: tuple[InputRange, ...]
    use: Mapping[str, int]
    """Resources that this slice takes, by resource name of the target."""
    first_token: int = 0
    last_token: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Neurocore:
    """One used neurocore, its place, and the slices that it holds."""

    index: int
    chip: int
    x: int
    y: int
    slices: tuple[Slice, ...]

    def used(self, resource: str) -> int:
        """Total use of a resource by the slices."""
        return sum(part.use.get(resource, 0) for part in self.slices)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUse:
    """Use of one resource over the whole mapping, against the limit of one neurocore."""

    resource: str
    unit: str
    limit: int
    total: int
    """Over all neurocores."""
    busiest: int
    """Largest use of a neurocore."""
    neurocores_at_least: int
    """ceil(total / limit): no mapping can do with fewer."""


@dataclass(frozen=True, kw_only=True, eq=False)  # without slots: counting keeps its plan of a mapping by weak reference
class Mapped:
    """Where the parts of a program lie; what the program is, the classes below say."""

    target: Target
    system: System
    neurocores: tuple[Neurocore, ...]
    resources: tuple[ResourceUse, ...]
    parts: tuple[FanInPart, ...] = ()
    """Of the nodes whose rows read more than fits into one neurocore; in the order of these nodes."""
    skew: Mapping[str, int]
    """Steps behind the host's input by which its output of the same logical step appears on a clocked fabric."""

    @property
    def chips(self) -> int:
        """Number of chips that hold at least one slice."""
        return len({core.chip for core in self.neurocores})

    @property
    def neurocores_lower_bound(self) -> int:
        """The largest, over resources, of total use / limit of one neurocore, rounded up."""
        return max(use.neurocores_at_least for use in self.resources)


@dataclass(frozen=True, kw_only=True, eq=False)
class MappedProgram(Mapped):
    """A language model on neurocores: everything that a run, a trace and an energy account need."""

    program: QuantizedProgram
