"""The audit: every operation of a compiled program that is not "add a weight when a spike arrives".

It follows the program, not the run: what the program contains is listed even where this run never used it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bispik.compiler.mapping import FanInPart
from bispik.compiler.program import QuantizedProgram
from bispik.energy.account import EnergyReport
from bispik.energy.audit_kinds import SIGNED_NUMBERS, Kind, NumberType, kinds_of
from bispik.energy.lines import EnergyLine
from bispik.energy.ranges import Range, total

Place: TypeAlias = Literal["chip", "host"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One kind of operation that no spike-driven addition does."""

    operation: str
    where: Place
    nodes: int
    """Nodes of the program in which it happens; 0 on the host."""
    count_per_token: float
    energy_per_token: Range
    """Joules."""
    number_type: NumberType
    carries_counts: bool
    """Whether a number other than a binary spike meets weights or membranes here: the network is then not fully
    binary."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """All entries and what follows from them."""

    entries: tuple[AuditEntry, ...]

    @property
    def fully_binary(self) -> bool:
        """Whether nothing but binary spikes crosses a synapse."""
        return not any(entry.carries_counts for entry in self.entries)

    @property
    def verdict(self) -> str:
        """Two sentences: what crosses synapses, and what is done in floating point."""
        floats = [entry.operation.lower() for entry in self.entries if entry.number_type == "float"]
        tail = f"On the chip: integers only. In floating point, on the host: {_listed(floats)}."
        if self.fully_binary:
            return f"Fully binary: yes, for only spikes cross synapses. {tail}"
        carrying = [entry.operation for entry in self.entries if entry.carries_counts]
        counts, signed = ", ".join(carrying).lower(), not SIGNED_NUMBERS.isdisjoint(carrying)
        numbers = "numbers other than a binary spike" if signed else "numbers larger than a spike"
        return f"Fully binary: no, because {numbers} cross synapses ({counts}). {tail}"


def audit(program: QuantizedProgram, report: EnergyReport, parts: Sequence[FanInPart] = ()) -> Audit:
    """Return the audit of a program, with counts and energies of the run that was accounted for.

    Args:
        program: what ran.
        report: its account.
        parts: of what rows read, if the mapping cuts it; what happens there happens in their nodes.
    """
    return Audit(entries=tuple(_entry(kind, report, parts) for kind in kinds_of(program, parts)))


def _entry(kind: Kind, report: EnergyReport, parts: Sequence[FanInPart]) -> AuditEntry:
    nodes = set(kind.nodes) if kind.scope == "dynamic" else {"host"}
    nodes |= {part.name for part in parts if part.node in nodes}
    count, energy = _per_token(report, lambda line: line.node in nodes and line.event in kind.events)
    return AuditEntry(
        operation=kind.operation,
        where="host" if kind.scope == "host" else "chip",
        nodes=len(kind.nodes),
        count_per_token=count,
        energy_per_token=energy,
        number_type=kind.number_type,
        carries_counts=kind.carries_counts,
        reason=kind.reason,
    )


def _per_token(report: EnergyReport, chosen: Callable[[EnergyLine], bool]) -> tuple[float, Range]:
    lines = [line for line in report.lines if chosen(line)]
    return sum(line.count for line in lines) / report.tokens, total(line.energy for line in lines) / report.tokens


def _listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
