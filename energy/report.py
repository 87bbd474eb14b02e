"""The report of one compiled and counted program: one self-contained page, or plain values for JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from bispik.backends.counts import EventCounts, IntArray, mesh_traffic
from bispik.backends.observe import Observed
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.program import IntegerAttention
from bispik.compiler.traffic import MeshTraffic
from bispik.energy import activity_views, formats, plots, raster, token_views, views
from bispik.energy.account import EnergyReport, account
from bispik.energy.audit import Audit, audit
from bispik.energy.baselines import baseline_constants
from bispik.energy.board import Board, board_of
from bispik.energy.board_svg import picture_of
from bispik.energy.constants import GRADES
from bispik.energy.labels import CONSTANT_LABELS, resource_label
from bispik.energy.latency import SCHEDULES, Schedule
from bispik.energy.published import published
from bispik.energy.uncertainty import to_halve

FILTERS: Mapping[str, Callable[..., Any]] = {
    "joules": formats.joules,
    "seconds": formats.seconds,
    "span": formats.span,
    "count": formats.count,
    "percent": formats.percent,
    "ratio": formats.ratio,
    "plain": formats.plain,
    "resource": resource_label,
}
"""What the templates write numbers with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedText:
    """What the counted run wrote."""

    prompt: str
    continuation: str
    words: tuple[str, ...]
    """The text of each token; a token that ends within a character has none, and its bytes are in the next one's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReportInput:
    """Everything that a report is made of."""

    title: str
    """Of the model."""
    parameters: int
    """Of the float network."""
    mapped: MappedProgram
    counts: EventCounts
    energy: EnergyReport
    execution_mode: str
    """What ran, in words, from the session."""
    text: GeneratedText | None = None
    token_ids: IntArray
    """(n,): what was run."""
    prompt_tokens: int
    """How many of them were given."""
    observed: Observed | None = None
    """Single neurons in that run; None if nobody looked."""

    @property
    def words(self) -> list[str]:
        """What stands for each token: its text, or its number without a tokeniser."""
        return [str(token) for token in self.token_ids.tolist()] if self.text is None else list(self.text.words)

    @property
    def audit(self) -> Audit:
        """The audit of the program, with this run's counts."""
        return audit(self.mapped.program, self.energy, self.mapped.parts)

    def traffic(self) -> MeshTraffic:
        """Return what passed the mesh."""
        return mesh_traffic(self.mapped, self.counts)

    def board(self) -> Board:
        """Return the picture of the board."""
        each = (self.energy.neurocore_joules[:, 1] / self.energy.tokens).tolist()
        return board_of(self.mapped, each, "token", self.traffic())

    def by_schedule(self) -> dict[Schedule, EnergyReport]:
        """Return the accounts of this run under both schedules, that of ``energy`` first."""
        return {found.schedule: found for found in (self.energy, self.other_schedule())}

    def other_schedule(self) -> EnergyReport:
        """Return the account of the same run under the schedule that ``energy`` does not use."""
        other: Schedule = "pipelined" if self.energy.schedule == "sequential" else "sequential"
        return account(self.mapped, self.counts, self.energy.profile, other)


def widths(bits: Iterable[int]) -> str:
    """Return widths in words: "8 bits", "2 to 8 bits"."""
    found = sorted(set(bits))
    span = str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"
    return f"{span} bit{'' if found == [1] else 's'}"


def render_html(report: ReportInput) -> str:
    """Return the report as one HTML page that loads nothing and runs no script."""
    return template("report.html.j2").render(_context(report))


def render_board(board: Board) -> str:
    """Return a board as one SVG file."""
    return template("board.svg.j2").render(picture=picture_of(board))


def template(name: str) -> Template:
    """Return a template of this package; what it is given is escaped."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(str(files("bispik.energy").joinpath("templates"))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment


def _context(report: ReportInput) -> dict[str, Any]:
    mapped, counts, energy = report.mapped, report.counts, report.energy
    program = mapped.program
    baselines, ticks = views.baseline_rows(energy)
    neurocores = activity_views.neurocore_rows(mapped, counts, energy)
    attentions = program.of_kind(IntegerAttention)
    tokens = token_views.token_rows(counts, energy, report.words, report.prompt_tokens)
    return {
        "report": report,
        "mapped": mapped,
        "program": program,
        "widths": widths(program.bits_by_node.values()),
        "counts": counts,
        "energy": energy,
        "profile": energy.profile,
        "audit": report.audit,
        "verification": program.verification,
        "layers": len(attentions),
        "heads": attentions[0].heads if attentions else 0,
        "spikes_per_synapse": activity_views.spikes_per_synapse(program, counts),
        "usable_neurocores": mapped.target.neurocores(mapped.system),
        "accounts": {account.schedule: account for account in (energy, report.other_schedule())},
        "schedules": SCHEDULES,
        "scopes": views.scope_rows(energy),
        "layer_rows": views.layer_rows(energy),
        "event_rows": views.event_rows(energy),
        "host_rows": views.host_rows(energy),
        "grade_shares": views.grade_shares(energy),
        "baselines": baselines,
        "ticks": ticks,
        "neurocores": neurocores,
        "neurocores_listed": activity_views.NEUROCORES_LISTED,
        "picture": picture_of(report.board()),
        "heat_maps": activity_views.heat_maps(mapped, neurocores),
        "rates": activity_views.rate_table(program, counts),
        "token_rows": tokens,
        "token_plot": token_views.token_plot(tokens),
        **_neuron_pictures(report),
        "to_halve": to_halve(energy),
        "anchors": published().anchors,
        "baseline_constants": baseline_constants(),
        "grades": GRADES,
        "constant_labels": CONSTANT_LABELS,
    }


def _neuron_pictures(report: ReportInput) -> dict[str, Any]:
    """Return what can be drawn of single neurons and of the comparison with the float network; None for the rest."""
    observed, verification = report.observed, report.mapped.program.verification
    return {
        "raster": raster.raster(observed, report.words) if observed else None,
        "distribution": plots.distribution_plot(plots.rate_distribution(observed)) if observed else None,
        "scatter": plots.scatter_plot(verification.populations) if verification else None,
    }
