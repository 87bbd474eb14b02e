"""The audit: every operation of a compiled program that is not "add a weight when a spike arrives".

It follows the program, not the run: what the program contains is listed even where this run never used it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bispik.backends.counts import SYNOPS
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
from bispik.energy.account import EnergyReport
from bispik.energy.lines import EnergyLine, Scope
from bispik.energy.ranges import Range, total

Place: TypeAlias = Literal["chip", "host"]

NumberType: TypeAlias = Literal["integer", "float"]

SIGNED_SPIKES = "Signed spikes through synapses"


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
        counts = ", ".join(entry.operation.lower() for entry in self.entries if entry.carries_counts)
        signed = any(entry.operation == SIGNED_SPIKES for entry in self.entries)
        numbers = "numbers other than a binary spike" if signed else "numbers larger than a spike"
        return f"Fully binary: no, because {numbers} cross synapses ({counts}). {tail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """Lines of the account that make up one entry."""

    operation: str
    events: tuple[str, ...]
    nodes: tuple[str, ...] = ()
    scope: Scope = "dynamic"
    number_type: NumberType = "integer"
    carries_counts: bool = False
    reason: str


def audit(program: QuantizedProgram, report: EnergyReport) -> Audit:
    """Return the audit of a program, with counts and energies of the run that was accounted for."""
    kinds = (
        *_signed_spikes(program),
        *_through_synapses(program),
        *_residual_joins(program),
        *_norms(program),
        *_neuron_work(program),
        *_host_work(program),
    )
    return Audit(entries=tuple(_entry(kind, report) for kind in kinds))


def _signed_spikes(program: QuantizedProgram) -> Iterator[_Kind]:
    """Synops of single ternary spikes; those into joins are among the residual joins, as those of binary spikes are."""
    ternary = {node.name for node in program.of_kind(IntegerPopulation) if node.neurons.spikes == "ternary"}

    def meets_signs(node: IntegerNode) -> bool:
        match node:
            case IntegerPopulation():
                return not ternary.isdisjoint(node.sources)
            case IntegerAttention():
                return node.neurons.spikes == "ternary" or not ternary.isdisjoint(node.sources)
            case IntegerReadout():
                return node.on_chip and node.source in ternary
            case IntegerInjection() | IntegerJoin() | IntegerNorm():
                return False

    nodes = tuple(node.name for node in program.nodes if meets_signs(node))
    if nodes:
        yield _Kind(
            operation=SIGNED_SPIKES,
            events=tuple(SYNOPS.values()),
            nodes=nodes,
            carries_counts=True,
            reason="a spike is -1 or 1: its message carries a sign, a graded payload of one bit, and each synapse that "
            "it meets adds or subtracts its weight",
        )


def _through_synapses(program: QuantizedProgram) -> Iterator[_Kind]:
    signed = any(node.neurons.spikes == "ternary" for node in program.of_kind(IntegerPopulation))
    sign = "signed " if signed else ""
    attention = f"A·V is a {sign}count of spikes, {'up' if signed else '0'} to the number of tokens"
    residual = f"the residual stream is a {sign}count of spikes"
    if real_streams(program):
        residual = "the residual stream carries the embedding's real current, in fixed point"
    norm = "a norm's output is a signed number in fixed point"
    through = "meets each weight as one multiplication, or as that many additions"
    into = "enters one membrane as one number"
    for operation, source, dense, reason in (
        ("Attention counts through weights", IntegerAttention, True, f"{attention}; it {through}"),
        ("Attention counts into neurons", IntegerAttention, False, f"{attention}; it {into}"),
        ("Residual counts through weights", IntegerJoin, True, f"{residual}; it {through}"),
        ("Residual counts into neurons", IntegerJoin, False, f"{residual}; it {into}"),
        ("Norms through weights", IntegerNorm, True, f"{norm}; it {through}"),
        ("Norms into neurons", IntegerNorm, False, f"{norm}; it {into}, times that neuron's own weight"),
    ):
        if nodes := _readers(program, source, dense):
            event = "graded_dense" if dense else "graded_one_to_one"
            yield _Kind(operation=operation, events=(event,), nodes=nodes, carries_counts=True, reason=reason)
    readout = program.readout
    if readout.on_chip and not isinstance(program.node(readout.source), IntegerPopulation):
        reason = (
            "the head sums weight times count over a token's steps; the final norm's gain and mean are folded into it"
        )
        yield _Kind(
            operation="Language-model head over counts",
            events=("graded_readout",),
            nodes=(readout.name,),
            carries_counts=True,
            reason=reason,
        )


def _residual_joins(program: QuantizedProgram) -> Iterator[_Kind]:
    if joins := program.of_kind(IntegerJoin):
        yield _Kind(
            operation="Residual joins",
            events=("synop_one_to_one", "graded_one_to_one"),
            nodes=tuple(join.name for join in joins),
            carries_counts=True,
            reason="a block's spike is added to its channel's residual count, with neither weight nor neuron"
            if not real_streams(program)
            else "a block's spike is shifted into the unit of its channel's real current and added to it",
        )


def real_streams(program: QuantizedProgram) -> tuple[str, ...]:
    """Names of the joins that carry the embedding's current itself instead of counts of spikes."""
    found: list[str] = []
    for join in program.of_kind(IntegerJoin):
        if program.injection.name in join.inputs or not set(found).isdisjoint(join.inputs):
            found.append(join.name)
    return tuple(found)


def _norms(program: QuantizedProgram) -> Iterator[_Kind]:
    if norms := program.of_kind(IntegerNorm):
        yield _Kind(
            operation="Norms inside blocks",
            events=("norm_operation", "synop_one_to_one", "graded_one_to_one"),
            nodes=tuple(norm.name for norm in norms),
            carries_counts=True,
            reason="numbers arrive, mean and deviation are taken over all channels, each is divided by the root, "
            "in fixed point: no spiking operation; no neurocore program for it is known, so a processor of the chip "
            "does it",
        )


def _neuron_work(program: QuantizedProgram) -> Iterator[_Kind]:
    updated = [node for node in program.nodes if not isinstance(node, IntegerInjection)]
    on_chip = [node.name for node in updated if not isinstance(node, IntegerReadout) or node.on_chip]
    yield _Kind(
        operation="Neuron updates",
        events=("update_active", "update_inactive", "update_waiting"),
        nodes=tuple(on_chip),
        reason="the neuron model itself, every step: decay (a multiplication and a shift), bias, comparison, reset",
    )
    if attentions := program.of_kind(IntegerAttention):
        yield _Kind(
            operation="Keys and values stored",
            events=("kv_bit_written",),
            nodes=tuple(attention.name for attention in attentions),
            reason="spikes, written while the network runs: the synapses that later queries and scores meet",
        )


def _host_work(program: QuantizedProgram) -> Iterator[_Kind]:
    yield _Kind(
        operation="Embedding look-up",
        events=("embedding_reads", "embedding_additions", "embedding_multiplications"),
        scope="host",
        reason="rows of token and position are read, added, and scaled where the current changes from step to step",
    )
    stream = real_streams(program)
    yield _Kind(
        operation="Injected currents",
        events=("injected_currents",),
        scope="host",
        carries_counts=bool(stream),
        reason="the embedding enters the chip as a number in every step, and the first block takes it as it is"
        if stream
        else "the embedding enters the first neurons as a number in every step; they turn it into spikes",
    )
    if not program.readout.on_chip:
        yield _Kind(
            operation="Language-model head",
            events=("head_multiply_accumulates",),
            scope="host",
            carries_counts=True,
            reason="one multiply-accumulate per weight over a token's counts: compiled with the head on the host",
        )
    yield _Kind(
        operation="Readout",
        events=("accumulator_reads", "residual_reads", "residual_additions"),
        scope="host",
        reason="the head's accumulators and the residual counts leave the chip; the counts are added up over the steps",
    )
    yield _Kind(
        operation="Final norm",
        events=("norm_operations",),
        scope="host",
        number_type="float",
        reason="the counts' variance gives one positive factor for all logits of a token: it changes no ranking",
    )
    if program.readout.bias.any():
        yield _Kind(
            operation="Head bias",
            events=("bias_additions",),
            scope="host",
            number_type="float",
            reason="the final norm's bias, seen through the head: one addition per logit",
        )
    yield _Kind(
        operation="Choice of the next token",
        events=("sampling_comparisons",),
        scope="host",
        number_type="float",
        reason="the largest logit, or a draw among the largest",
    )


def _readers(
    program: QuantizedProgram, source: type[IntegerJoin] | type[IntegerNorm] | type[IntegerAttention], dense: bool
) -> tuple[str, ...]:
    """Names of the populations that such a source reaches through dense, or else one-to-one, synapses."""
    sources = {node.name for node in program.of_kind(source)}

    def reads(population: IntegerPopulation) -> bool:
        matrices = ((p.source, p.weight is not None and p.weight.ndim == 2) for p in population.inputs)
        return any(name in sources and is_matrix == dense for name, is_matrix in matrices)

    return tuple(population.name for population in program.of_kind(IntegerPopulation) if reads(population))


def _entry(kind: _Kind, report: EnergyReport) -> AuditEntry:
    nodes = set(kind.nodes) if kind.scope == "dynamic" else {"host"}
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
