"""The audit of a stream program: every operation that is not "add a weight when a spike arrives".

It follows the program, not the run: what the program contains is listed even where this run never used it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bispik.backends.stream.counts import STREAM_GRADED
from bispik.compiler.fixed_point import DECAY_ONE
from bispik.compiler.mapping import FanInPart
from bispik.compiler.stream.program import StreamProgram
from bispik.compiler.stream.shape import input_is_graded
from bispik.energy.audit import Place
from bispik.energy.ranges import Range, total
from bispik.energy.stream_account import StreamEnergyReport

GRADED_INPUT, PARTIAL_SUMS = "Graded input through weights", "Partial sums"

CROSSING = {GRADED_INPUT: "numbers of the input", PARTIAL_SUMS: "partial sums between neurocores"}
"""What crosses synapses there that is no spike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAuditEntry:
    """One kind of operation that no spike-driven addition does."""

    operation: str
    where: Place
    populations: tuple[str, ...]
    """In which it happens; empty on the host."""
    count: int
    """Over the whole run."""
    energy: Range
    """Joules, over the whole run."""
    carries_numbers: bool
    """Whether a number other than a binary spike meets weights here: the network is then not fully binary."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAudit:
    """All entries and what follows from them."""

    entries: tuple[StreamAuditEntry, ...]

    @property
    def fully_binary(self) -> bool:
        """Whether nothing but binary spikes crosses a synapse."""
        return not any(entry.carries_numbers for entry in self.entries)

    @property
    def verdict(self) -> str:
        """What crosses synapses, and what is computed in floating point."""
        tail = "On the chip: integers only. In floating point: nothing but the conversion of the input, before the run."
        if self.fully_binary:
            return f"Fully binary: yes, for only spikes cross synapses. {tail}"
        crossing = [CROSSING[entry.operation] for entry in self.entries if entry.carries_numbers]
        return f"Fully binary: no, because {' and '.join(crossing)} cross synapses. {tail}"


def stream_audit(program: StreamProgram, report: StreamEnergyReport, parts: Sequence[FanInPart] = ()) -> StreamAudit:
    """Return the audit of a program, with counts and energies of the run that was accounted for.

    Args:
        program: what ran.
        report: its account.
        parts: of what rows read, if the mapping cuts it.
    """
    return StreamAudit(entries=tuple(_entries(program, report, parts)))


def _entries(
    program: StreamProgram, report: StreamEnergyReport, parts: Sequence[FanInPart]
) -> Iterator[StreamAuditEntry]:
    graded = input_is_graded(program)
    entry, output = program.input, program.population(program.output)
    if graded:
        yield _entry(
            report,
            GRADED_INPUT,
            tuple(p.name for p in program.populations if any(i.source == entry.name for i in p.inputs)),
            tuple(STREAM_GRADED.values()),
            f"the input is a number from {entry.low} to {entry.high}: it meets each weight as one multiplication, or "
            "as that many additions",
            carries_numbers=True,
        )
    if parts:
        yield _entry(
            report,
            PARTIAL_SUMS,
            tuple(dict.fromkeys(part.node for part in parts)),
            ("graded_output",),
            "a row reads more than fits into one neurocore: each part of it adds up its weights and sends the sum, a "
            "number, to the row's neuron; no weight is met twice",
            carries_numbers=True,
        )
    names = tuple(population.name for population in program.populations)
    remembering = sum(bool((p.neurons.current_decay != DECAY_ONE).any()) for p in program.populations)
    currents = f"; {remembering} of {len(names)} populations decay a current as well" if remembering else ""
    yield _entry(
        report,
        "Neuron updates",
        names,
        ("update_active", "update_inactive", "update_waiting"),
        "the neuron model itself, every step: decay (a multiplication and a shift), bias, comparison, reset" + currents,
    )
    yield _entry(
        report,
        "Input values",
        (),
        ("input_values",),
        "the host sends each input that is not 0 to every neurocore that reads it"
        + (", as a number" if graded else ", as a spike"),
    )
    if output.neurons.output == "membrane":
        yield _entry(
            report,
            "Membranes read",
            (),
            ("output_membranes",),
            f"the host reads the membranes of {output.name} in every step; nothing on the chip does",
        )
    else:
        yield _entry(report, "Output spikes", (), ("output_spikes",), f"the host reads the spikes of {output.name}")


def _entry(
    report: StreamEnergyReport,
    operation: str,
    populations: tuple[str, ...],
    events: tuple[str, ...],
    reason: str,
    *,
    carries_numbers: bool = False,
) -> StreamAuditEntry:
    lines = [line for line in report.lines if line.event in events]
    return StreamAuditEntry(
        operation=operation,
        where="chip" if populations else "host",
        populations=populations,
        count=sum(line.count for line in lines),
        energy=total(line.energy for line in lines),
        carries_numbers=carries_numbers,
        reason=reason,
    )
