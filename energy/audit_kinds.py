"""What a compiled program contains that is not "add a weight when a spike arrives": kinds of operations, and where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bispik.backends.counts import SYNOPS
from bispik.compiler.mapping import FanInPart
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
from bispik.energy.lines import Scope

NumberType: TypeAlias = Literal["integer", "float"]

SIGNED_SPIKES = "Signed spikes through synapses"

NORMS = "Norms inside blocks"

INJECTED = "Injected currents"

PARTIAL_SUMS = "Partial sums"

SIGNED_NUMBERS = frozenset({SIGNED_SPIKES, NORMS, INJECTED, PARTIAL_SUMS})
"""Operations that, where they carry counts, carry negative numbers too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Lines of the account that make up one entry."""

    operation: str
    events: tuple[str, ...]
    nodes: tuple[str, ...] = ()
    scope: Scope = "dynamic"
    number_type: NumberType = "integer"
    carries_counts: bool = False
    reason: str


def kinds_of(program: QuantizedProgram, parts: Sequence[FanInPart] = ()) -> Iterator[Kind]:
    """Yield the kinds of operations in a program, those on the chip first.

    ``parts`` are those of rows that its mapping cuts.
    """
    yield from _signed_spikes(program)
    yield from _through_synapses(program)
    yield from _residual_joins(program)
    yield from _norms(program)
    yield from _partial_sums(parts)
    yield from _neuron_work(program)
    yield from _host_work(program)


def _signed_spikes(program: QuantizedProgram) -> Iterator[Kind]:
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
        yield Kind(
            operation=SIGNED_SPIKES,
            events=tuple(SYNOPS.values()),
            nodes=nodes,
            carries_counts=True,
            reason="a spike is -1 or 1: its message carries a sign, a graded payload of one bit, and each synapse that "
            "it meets adds or subtracts its weight",
        )


def _through_synapses(program: QuantizedProgram) -> Iterator[Kind]:
    signed = any(node.neurons.spikes == "ternary" for node in program.of_kind(IntegerPopulation))
    sign = "signed " if signed else ""
    attention = f"A·V is a {sign}count of spikes, {'up' if signed else '0'} to the number of tokens"
    residual = f"the residual stream is a {sign}count of spikes"
    real = "the stream is the embedding's real current, in fixed point, and the spikes that joined it"
    norm = "a norm's output is a signed number in fixed point"
    through = "meets each weight as one multiplication, or as that many additions"
    into = "enters one membrane as one number"
    attentions, norms = _names(program, IntegerAttention), _names(program, IntegerNorm)
    streams, counts = real_streams(program), _counting_joins(program)
    for operation, sources, dense, reason in (
        ("Attention counts through weights", attentions, True, f"{attention}; it {through}"),
        ("Attention counts into neurons", attentions, False, f"{attention}; it {into}"),
        ("Residual counts through weights", counts, True, f"{residual}; it {through}"),
        ("Residual counts into neurons", counts, False, f"{residual}; it {into}"),
        ("Real stream through weights", streams, True, f"{real}; it {through}"),
        ("Real stream into neurons", streams, False, f"{real}; it {into}, times that neuron's own weight"),
        ("Norms through weights", norms, True, f"{norm}; it {through}"),
        ("Norms into neurons", norms, False, f"{norm}; it {into}, times that neuron's own weight"),
    ):
        if nodes := _readers(program, sources, dense):
            event = "graded_dense" if dense else "graded_one_to_one"
            yield Kind(operation=operation, events=(event,), nodes=nodes, carries_counts=True, reason=reason)
    readout = program.readout
    if readout.on_chip and not isinstance(program.node(readout.source), IntegerPopulation):
        over, what = ("the real stream", "number") if readout.source in streams else ("counts", "count")
        reason = (
            f"the head sums weight times {what} over a token's steps; the final norm's gain and mean are folded into it"
        )
        yield Kind(
            operation=f"Language-model head over {over}",
            events=("graded_readout",),
            nodes=(readout.name,),
            carries_counts=True,
            reason=reason,
        )


def _residual_joins(program: QuantizedProgram) -> Iterator[Kind]:
    for operation, joins, reason in (
        (
            "Residual joins",
            _counting_joins(program),
            "a block's spike is added to its channel's residual count, with neither weight nor neuron",
        ),
        (
            "Spikes into the real stream",
            real_streams(program),
            "a block's spike is shifted into its channel's unit and added, with neither weight nor neuron",
        ),
    ):
        # The join that the host alone writes has no synapse; its currents are listed as injected.
        if nodes := tuple(name for name in joins if program.node(name).sources != (program.injection.name,)):
            yield Kind(
                operation=operation,
                events=("synop_one_to_one", "graded_one_to_one"),
                nodes=nodes,
                carries_counts=True,
                reason=reason,
            )


def real_streams(program: QuantizedProgram) -> tuple[str, ...]:
    """Names of the joins that carry the embedding's current itself instead of counts of spikes."""
    found: list[str] = []
    for join in program.of_kind(IntegerJoin):
        if program.injection.name in join.inputs or not set(found).isdisjoint(join.inputs):
            found.append(join.name)
    return tuple(found)


def _counting_joins(program: QuantizedProgram) -> tuple[str, ...]:
    streams = real_streams(program)
    return tuple(name for name in _names(program, IntegerJoin) if name not in streams)


def _norms(program: QuantizedProgram) -> Iterator[Kind]:
    if norms := program.of_kind(IntegerNorm):
        yield Kind(
            operation=NORMS,
            events=("norm_operation", "synop_one_to_one", "graded_one_to_one"),
            nodes=tuple(norm.name for norm in norms),
            carries_counts=True,
            reason="numbers arrive, mean and deviation are taken over all channels, each is divided by the root, "
            "in fixed point: no spiking operation; no neurocore program for it is known, so an embedded processor of "
            "the chip does it",
        )


def _partial_sums(parts: Sequence[FanInPart]) -> Iterator[Kind]:
    if parts:
        yield Kind(
            operation=PARTIAL_SUMS,
            events=("graded_output",),
            nodes=tuple(dict.fromkeys(part.node for part in parts)),
            carries_counts=True,
            reason="a row reads more than fits into one neurocore: each part of it adds up its weights and sends the "
            "sum, a number, to the row's neuron; no weight is met twice",
        )


def _neuron_work(program: QuantizedProgram) -> Iterator[Kind]:
    updated = [node for node in program.nodes if not isinstance(node, IntegerInjection)]
    on_chip = [node.name for node in updated if not isinstance(node, IntegerReadout) or node.on_chip]
    yield Kind(
        operation="Neuron updates",
        events=("update_active", "update_inactive", "update_waiting"),
        nodes=tuple(on_chip),
        reason="the neuron model itself, every step: decay (a multiplication and a shift), bias, comparison, reset",
    )
    if attentions := program.of_kind(IntegerAttention):
        yield Kind(
            operation="Keys and values stored",
            events=("kv_bit_written",),
            nodes=tuple(attention.name for attention in attentions),
            reason="spikes, written while the network runs: the synapses that later queries and scores meet",
        )


def _host_work(program: QuantizedProgram) -> Iterator[Kind]:
    yield Kind(
        operation="Embedding look-up",
        events=("embedding_reads", "embedding_additions", "embedding_multiplications"),
        scope="host",
        reason="rows of token and position are read, added, and scaled where the current changes from step to step",
    )
    stream = real_streams(program)
    yield Kind(
        operation=INJECTED,
        events=("injected_currents",),
        scope="host",
        carries_counts=bool(stream),
        reason="the embedding enters the chip as a number in every step, and the first block takes it as it is"
        if stream
        else "the embedding enters the first neurons as a number in every step; they turn it into spikes",
    )
    counts = "real numbers" if program.readout.source in stream else "counts"
    if not program.readout.on_chip:
        yield Kind(
            operation="Language-model head",
            events=("head_multiply_accumulates",),
            scope="host",
            carries_counts=True,
            reason=f"one multiply-accumulate per weight over a token's {counts}: compiled with the head on the host",
        )
    yield Kind(
        operation="Readout",
        events=("accumulator_reads", "residual_reads", "residual_additions"),
        scope="host",
        reason=f"the head's accumulators and its source's {counts} leave the chip; these are added up over the steps",
    )
    yield Kind(
        operation="Final norm",
        events=("norm_operations",),
        scope="host",
        number_type="float",
        reason=f"the {counts}' variance gives one positive factor for all logits of a token: it changes no ranking",
    )
    if program.readout.bias.any():
        yield Kind(
            operation="Head bias",
            events=("bias_additions",),
            scope="host",
            number_type="float",
            reason="the final norm's bias, seen through the head: one addition per logit",
        )
    yield Kind(
        operation="Choice of the next token",
        events=("sampling_comparisons",),
        scope="host",
        number_type="float",
        reason="the largest logit, or a draw among the largest",
    )


def _names(
    program: QuantizedProgram, kind: type[IntegerJoin] | type[IntegerNorm] | type[IntegerAttention]
) -> tuple[str, ...]:
    return tuple(node.name for node in program.of_kind(kind))


def _readers(program: QuantizedProgram, sources: Sequence[str], dense: bool) -> tuple[str, ...]:
    """Names of the populations that one of the sources reaches through dense, or else one-to-one, synapses."""

    def reads(population: IntegerPopulation) -> bool:
        matrices = ((p.source, p.weight is not None and p.weight.ndim == 2) for p in population.inputs)
        return any(name in sources and is_matrix == dense for name, is_matrix in matrices)

    return tuple(population.name for population in program.of_kind(IntegerPopulation) if reads(population))
