"""The report of a counted run of a stream program: rich tables for the terminal, plain values for JSON."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from bispik.backends.stream.counts import STREAM_SYNOPS, StreamCounts
from bispik.compiler.stream.mapping import MappedStream
from bispik.energy import formats
from bispik.energy.json_report import to_halve_json
from bispik.energy.labels import CONSTANT_LABELS, STREAM_EVENT_LABELS, STREAM_SCOPE_LABELS
from bispik.energy.latency import LIMITS
from bispik.energy.lines import EnergyLine
from bispik.energy.ranges import Range, total
from bispik.energy.stream_account import StreamEnergyReport, stream_account
from bispik.energy.stream_audit import StreamAudit, stream_audit
from bispik.energy.tables import resource_table
from bispik.energy.time_tables import TimeRow, time_table, traffic_table
from bispik.energy.views import grade_of, grade_shares

__all__ = ["StreamEnergyReport", "stream_account", "stream_json", "stream_tables"]


def stream_tables(mapped: MappedStream, counts: StreamCounts, report: StreamEnergyReport) -> tuple[Table, ...]:
    """Return resources, traffic, time, events, energy and audit as tables for the terminal."""
    audit = stream_audit(mapped.program, report, mapped.parts)
    each = ("inference", report.sequences) if report.sequences else ("step", report.steps)
    row = TimeRow(name="step by step", seconds=report.seconds, pieces=each[1], split=report.time)
    return (
        resource_table(mapped),
        traffic_table(report.traffic),
        time_table([row], each[0]),
        _event_table(report),
        _energy_table(counts, report),
        _audit_table(audit, report),
    )


def stream_json(mapped: MappedStream, counts: StreamCounts, report: StreamEnergyReport) -> dict[str, Any]:
    """Return ``energy``, ``time``, ``placement``, ``audit`` and ``counts``, and what they rest on.

    Energies are joules over the whole run unless the key says otherwise; ``energy.lines`` sum to ``energy.totals``.
    """
    audit = stream_audit(mapped.program, report, mapped.parts)
    per_spike, per_inference = report.per_spike, report.per_inference
    return {
        "energy": {
            "profile": report.profile.name,
            "banner": report.profile.banner,
            "steps": report.steps,
            "sequences": report.sequences,
            "j_per_step": report.per_step.to_dict(),
            "j_per_inference": None if per_inference is None else per_inference.to_dict(),
            "dynamic_j_per_spike": None if per_spike is None else per_spike.to_dict(),
            "j_per_step_in_real_time": (report.total_in_real_time / report.steps).to_dict(),
            "seconds": report.seconds.to_dict(),
            "seconds_per_step": (report.seconds / report.steps).to_dict(),
            "faster_than_real_time": report.faster_than_real_time,
            "totals": {scope: report.scope(scope).to_dict() for scope in ("dynamic", "static", "host")}
            | {"all": report.total.to_dict()},
            "lines": [_line(report, line) for line in report.lines],
            "neurocores": _neurocores(mapped, counts, report),
            "step_joules": report.step_joules.tolist(),
            "step_seconds": report.step_seconds.tolist(),
            "sensitivity": [{"constant": swing.constant, "joules": swing.joules} for swing in report.sensitivity],
            "to_halve": to_halve_json(report, report.sequences or report.steps),
            "grade_shares": dict(grade_shares(report)),
            "constants": [
                {"name": c.name, "value": c.value.to_dict(), "grade": c.grade, "source": c.source}
                for c in report.profile.constants.values()
            ],
        },
        "time": {
            "seconds_per_step": report.time.total / report.time.steps,
            "limited_by": report.time.limited_by,
            "waits_for": {limit: report.time.share(limit) for limit in LIMITS},
        },
        "placement": report.traffic.to_dict(),
        "audit": [
            {
                "operation": entry.operation,
                "where": entry.where,
                "populations": list(entry.populations),
                "count": entry.count,
                "joules": entry.energy.to_dict(),
                "carries_numbers": entry.carries_numbers,
                "reason": entry.reason,
            }
            for entry in audit.entries
        ],
        "fully_binary": {"answer": audit.fully_binary, "verdict": audit.verdict},
        "counts": counts.to_dict() | {"per_step": {event: n.tolist() for event, n in counts.per_step.items()}},
        "firing_rates": firing_rates(counts),
    }


def firing_rates(counts: StreamCounts) -> dict[str, float]:
    """Return spikes per neuron and step by population; 0 for one that sends its membrane."""
    neurons = dict.fromkeys(counts.node, 0)
    for node, size in zip(counts.node, counts.neurons.tolist(), strict=True):
        neurons[node] += size
    return {node: spikes / (neurons[node] * counts.steps) for node, spikes in counts.by_node("spike").items()}


def _line(report: StreamEnergyReport, line: EnergyLine) -> dict[str, Any]:
    return {
        "scope": line.scope,
        "node": line.node,
        "event": line.event,
        "count": line.count,
        "joules": line.energy.to_dict(),
        "constant": line.constant,
        "grade": grade_of(report, line),
        "source": report.profile.constants[line.constant].source,
    }


def _neurocores(mapped: MappedStream, counts: StreamCounts, report: StreamEnergyReport) -> list[dict[str, Any]]:
    synops, messages = counts.by_neurocore(*STREAM_SYNOPS.values()), counts.by_neurocore("message")
    return [
        {
            "index": core.index,
            "chip": core.chip,
            "x": core.x,
            "y": core.y,
            "use": {name: core.used(name) for name, _ in mapped.target.resources.items()},
            "synops": int(synops[place]),
            "messages": int(messages[place]),
            "dynamic_joules": Range(*report.neurocore_joules[place].tolist()).to_dict(),
        }
        for place, core in enumerate(mapped.neurocores)
    ]


def _event_table(report: StreamEnergyReport) -> Table:
    table = Table(title=f"Events of {report.steps:,} time steps", title_justify="left")
    table.add_column("Event")
    for name in ("Count", "Per step", "Joules", "Low to high"):
        table.add_column(name, justify="right")
    for event in dict.fromkeys(line.event for line in report.lines if line.scope != "static"):
        lines = [line for line in report.lines if line.event == event]
        count, energy = sum(line.count for line in lines), total(line.energy for line in lines)
        table.add_row(
            STREAM_EVENT_LABELS[event],
            f"{count:,}",
            formats.count(count / report.steps),
            formats.joules(energy.default),
            formats.span(energy, "J") if energy.width else "",
        )
    return table


def _energy_table(counts: StreamCounts, report: StreamEnergyReport) -> Table:
    each = report.sequences or report.steps  # steps in the middle of a sequence are no inference
    unit = "inference" if report.sequences else "step"
    table = Table(
        title=f"Energy per {unit}, profile {escape(report.profile.name)}: {escape(report.profile.banner)}",
        title_justify="left",
    )
    table.add_column("Part")
    for name in ("Joules", "Low to high", "Share"):
        table.add_column(name, justify="right")
    whole = report.total.default or 1.0
    for node in dict.fromkeys(counts.node):
        energy = total(line.energy for line in report.lines if line.node == node)
        _add(table, f"  {node}", energy / each, energy.default / whole, style="dim")
    table.add_section()
    for scope in ("dynamic", "static", "host"):
        energy = report.scope(scope)
        _add(table, STREAM_SCOPE_LABELS[scope], energy / each, energy.default / whole)
    _add(table, "All", report.total / each, 1.0, style="bold")
    waiting = report.total_in_real_time / each
    span = formats.span(waiting, "J") if waiting.width else ""
    table.add_row("All, if it waits for the network's own time", formats.joules(waiting.default), span, "")
    table.caption = _sentences(report)
    table.caption_justify = "left"
    return table


def _sentences(report: StreamEnergyReport) -> str:
    synops, spikes = report.synops / report.steps, report.spikes / report.steps
    words = f"Per step {formats.joules(report.per_step.default)}, {formats.count(synops)} synops, "
    words += f"{formats.count(spikes)} spikes"
    if faster := report.faster_than_real_time:
        each = formats.seconds(report.seconds.default / report.steps)
        words += f", {each} on the chip: {formats.count(faster)} times as fast as the network's own time"
    sequences = formats.number_of(report.sequences, "sequence")
    words += f"; counted over {sequences}, {report.steps:,} steps."
    if report.sensitivity:
        words += f"\nThe largest unknown: {CONSTANT_LABELS[report.sensitivity[0].constant].lower()}."
    return words


def _audit_table(audit: StreamAudit, report: StreamEnergyReport) -> Table:
    table = Table(title=audit.verdict, title_justify="left")
    for name in ("Not a spike-driven addition", "Runs on"):
        table.add_column(name)
    for name in ("Per step", "Joules"):
        table.add_column(name, justify="right")
    for entry in audit.entries:
        energy = formats.joules(entry.energy.default)
        table.add_row(entry.operation, entry.where, formats.count(entry.count / report.steps), energy)
    return table


def _add(table: Table, label: str, energy: Range, share: float, style: str = "") -> None:
    low_to_high = formats.span(energy, "J") if energy.width else ""
    table.add_row(escape(label), formats.joules(energy.default), low_to_high, formats.percent(share), style=style)
