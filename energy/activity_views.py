"""Firing rates and neurocores as the report shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bispik.backends.counts import SYNOPS, EventCounts
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.program import IntegerAttention, IntegerPopulation, QuantizedProgram
from bispik.energy import formats
from bispik.energy.account import EnergyReport
from bispik.energy.baselines import dense_weights
from bispik.energy.heatmap import HeatMap, contents, heat_map
from bispik.energy.labels import ROLE_LABELS, layer_label

NEUROCORES_LISTED = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTable:
    """Spikes per neuron and step, by layer and role."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    outside: tuple[tuple[str, float], ...]
    """Populations that belong to no block."""
    mean: float
    """Over all neurons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeurocoreRow:
    """One neurocore in the table behind the pictures."""

    index: int
    place: str
    memory: float
    """Share of the neurocore's."""
    synops: float
    """Per token."""
    messages: float
    """Sent per token."""
    joules: float
    """Dynamic, default, per token."""
    contents: str


def firing_rates(program: QuantizedProgram, counts: EventCounts) -> dict[str, float]:
    """Return spikes per neuron and step of every population, and per stored token, head and step of every attention."""
    spikes = counts.by_node("spike")
    steps, seen = program.steps_per_token, int((counts.positions + 1).sum())
    rates: dict[str, float] = {}
    for node in program.nodes:
        if isinstance(node, IntegerPopulation):
            rates[node.name] = spikes[node.name] / (node.size * counts.steps)
        elif isinstance(node, IntegerAttention):
            rates[node.name] = spikes[node.name] / (node.heads * seen * steps)
    return rates


def spikes_per_synapse(program: QuantizedProgram, counts: EventCounts) -> float:
    """Return how many spikes, graded ones too, a weight of the dense projections and the head meets per token."""
    on_chip = dense_weights(program) - (0 if program.readout.on_chip else program.readout.weight.size)
    return counts.total("synop_dense", "synop_readout") / (on_chip * counts.tokens) if on_chip else 0.0


def rate_table(program: QuantizedProgram, counts: EventCounts) -> RateTable:
    """Return the firing rates as a table."""
    rates = firing_rates(program, counts)
    inside = {name: name.partition("/")[::2] for name in rates if "/" in name}
    layers, roles = (tuple(dict.fromkeys(part[i] for part in inside.values())) for i in (0, 1))
    by_place = {inside[name]: rate for name, rate in rates.items() if name in inside}
    populations = program.of_kind(IntegerPopulation)
    neurons = sum(population.size for population in populations)
    return RateTable(
        columns=tuple(ROLE_LABELS.get(role, role) for role in roles),
        rows=tuple((layer_label(layer), tuple(by_place.get((layer, role)) for role in roles)) for layer in layers),
        outside=tuple((layer_label(name), rate) for name, rate in rates.items() if name not in inside),
        mean=sum(rates[population.name] * population.size for population in populations) / neurons,
    )


def neurocore_rows(mapped: MappedProgram, counts: EventCounts, report: EnergyReport) -> list[NeurocoreRow]:
    """Return all neurocores, in the order of the mapping."""
    synops, messages = counts.by_neurocore(*SYNOPS.values()), counts.by_neurocore("message")
    limit = mapped.target.resources.memory.value
    return [
        NeurocoreRow(
            index=core.index,
            place=f"chip {core.chip}, router ({core.x}, {core.y})",
            memory=core.used("memory") / limit,
            synops=int(synops[place]) / counts.tokens,
            messages=int(messages[place]) / counts.tokens,
            joules=float(report.neurocore_joules[place, 1]) / counts.tokens,
            contents=contents(core, most=6),
        )
        for place, core in enumerate(mapped.neurocores)
    ]


def heat_maps(mapped: MappedProgram, rows: Sequence[NeurocoreRow]) -> list[HeatMap]:
    """Return pictures of memory, energy and traffic over the chips."""
    memory = [row.memory for row in rows]
    joules = [row.joules for row in rows]
    messages = [row.messages for row in rows]
    return [
        heat_map(mapped, "memory", "Memory used", memory, [formats.percent(v) for v in memory], (1.0, "100%")),
        heat_map(mapped, "energy", "Dynamic energy per token", joules, [formats.joules(v) for v in joules]),
        heat_map(mapped, "messages", "Messages sent per token", messages, [formats.count(v) for v in messages]),
    ]
