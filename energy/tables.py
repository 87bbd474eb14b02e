"""The report in the terminal: rich tables of resources, energy and audit."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from bispik.compiler.mapping import Mapped
from bispik.energy import formats
from bispik.energy.account import EnergyReport
from bispik.energy.audit import Audit
from bispik.energy.labels import SCOPE_LABELS, resource_label
from bispik.energy.ranges import Range
from bispik.energy.views import layer_rows


def resource_table(mapped: Mapped) -> Table:
    """Return used against limit of every resource."""
    neurocores, chips = formats.number_of(len(mapped.neurocores), "neurocore"), formats.number_of(mapped.chips, "chip")
    fewest = f"(no mapping can do with fewer than {mapped.neurocores_lower_bound:,})"
    title = f"{neurocores} on {chips} of {escape(mapped.system.name)} {fewest}"
    table = Table(title=title, title_justify="left")
    table.add_column("Resource of a neurocore")
    for name in ("Busiest", "Limit", "Used", "All neurocores"):
        table.add_column(name, justify="right")
    for use in mapped.resources:
        table.add_row(
            resource_label(use.resource),
            f"{use.busiest:,}",
            f"{use.limit:,} {use.unit}",
            formats.percent(use.busiest / use.limit),
            f"{use.total:,}",
        )
    return table


def energy_table(report: EnergyReport) -> Table:
    """Return joules per token by part and layer, and the ratios to the ANN of the same shape."""
    table = Table(
        title=f"Energy per token, profile {report.profile.name}: {report.profile.banner}", title_justify="left"
    )
    table.add_column("Part")
    for name in ("Joules", "Low to high", "Share"):
        table.add_column(name, justify="right")
    whole = report.total.default or 1.0
    for row in layer_rows(report):
        _add(table, f"  {row.label}", row.value, row.value.default * report.tokens / whole, style="dim")
    table.add_section()
    for scope in ("dynamic", "static", "host"):
        energy = report.scope(scope)
        _add(table, SCOPE_LABELS[scope], energy / report.tokens, energy.default / whole)
    _add(table, "All", report.per_token, 1.0, style="bold")
    table.add_section()
    for baseline in report.baselines:
        cost = report.cost_of(baseline) / report.tokens
        table.add_row(
            f"ANN of the same shape, {baseline.precision}",
            formats.joules(cost.default),
            formats.span(cost, "J") if cost.width else "",
            formats.ratio(report.ratio(baseline).default),
        )
    table.caption = f"{energy_sentence(report)}.\n×: this network, static power left out, over the ANN"
    table.caption_justify = "left"
    return table


def energy_sentence(report: EnergyReport) -> str:
    """Return counts per token, and time if the profile knows any."""
    synops, spikes = report.synops / report.tokens, report.spikes / report.tokens
    words = f"Per token {formats.count(synops)} synops, {formats.count(spikes)} spikes"
    if report.seconds.default:
        words += f", {formats.seconds(report.seconds.default / report.tokens)} ({report.schedule})"
    return f"{words}; counted over {report.tokens} tokens"


def audit_table(audit: Audit) -> Table:
    """Return every operation that is not the addition of a weight when a spike arrives."""
    table = Table(title=audit.verdict, title_justify="left")
    for name in ("Not a spike-driven addition", "Runs on", "Numbers"):
        table.add_column(name)
    for name in ("Per token", "Joules"):
        table.add_column(name, justify="right")
    for entry in audit.entries:
        table.add_row(
            entry.operation,
            entry.where,
            entry.number_type,
            formats.count(entry.count_per_token),
            formats.joules(entry.energy_per_token.default),
        )
    return table


def _add(table: Table, label: str, energy: Range, share: float, style: str = "") -> None:
    low_to_high = formats.span(energy, "J") if energy.width else ""
    table.add_row(escape(label), formats.joules(energy.default), low_to_high, formats.percent(share), style=style)
