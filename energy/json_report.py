"""The report as plain values: what ``--json`` and ``report.json`` hold, and every number behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bispik.backends.counts import EVENTS, SYNOPS, Event, IntArray
from bispik.energy.account import EnergyReport
from bispik.energy.activity_views import firing_rates, spikes_per_synapse
from bispik.energy.audit import Audit
from bispik.energy.baselines import baseline_constants
from bispik.energy.constants import Constant
from bispik.energy.latency import LIMITS, RUNS
from bispik.energy.lines import EnergyLine
from bispik.energy.plots import rate_distribution
from bispik.energy.published import published
from bispik.energy.ranges import Range
from bispik.energy.raster import raster_json
from bispik.energy.report import ReportInput
from bispik.energy.run_account import RunAccount
from bispik.energy.uncertainty import to_halve
from bispik.energy.views import grade_of, grade_shares


def report_json(report: ReportInput) -> dict[str, Any]:
    """Return ``energy``, ``time``, ``placement``, ``audit``, ``counts`` and what they rest on.

    Energies are joules, per token where the key says so, over the whole run elsewhere; ``energy.lines`` sum to
    ``energy.totals``. Where a key holds one number of a range, it is the default. ``measured_elsewhere`` are published
    measurements of other networks, to be quoted beside.
    """
    energy, audit = report.energy, report.audit
    return {
        "execution_mode": report.execution_mode,
        "energy": {
            **energy_summary(energy),
            "other_schedule": energy_summary(report.other_schedule()),
            "totals": {scope: energy.scope(scope).to_dict() for scope in ("dynamic", "static", "host")}
            | {"all": energy.total.to_dict()},
            "lines": [_line(energy, line) for line in energy.lines],
            "neurocores": _neurocores(report),
            "tokens": _tokens(report),
            "baselines": _baselines(energy),
            "sensitivity": [
                {"constant": swing.constant, "j_per_token": swing.joules / energy.tokens}
                for swing in energy.sensitivity
            ],
            "to_halve": to_halve_json(energy, energy.tokens),
            "constants": [_constant(c) for c in (*energy.profile.constants.values(), *baseline_constants().values())],
        },
        "measured_elsewhere": [anchor.to_dict() for anchor in published().anchors],
        "time": time_json(report),
        "placement": report.traffic().to_dict(),
        "audit": audit_json(audit),
        "fully_binary": {"answer": audit.fully_binary, "verdict": audit.verdict},
        "counts": report.counts.to_dict() | _counts(report),
        "spikes_per_synapse": spikes_per_synapse(report.mapped.program, report.counts),
        "firing_rates": firing_rates(report.mapped.program, report.counts),
        "rate_distribution": rate_distribution(report.observed).to_dict() if report.observed else None,
        "raster": raster_json(report.observed) if report.observed else [],
        "text": None
        if report.text is None
        else {"prompt": report.text.prompt, "continuation": report.text.continuation},
    }


def time_steps_json(steps: Mapping[Event, IntArray], positions: IntArray) -> dict[str, Any]:
    """Return the events of every time step, (n, T) each, as columns with the token's position and the step's number."""
    tokens, each = next(iter(steps.values())).shape
    return {
        "position": np.repeat(positions, each).tolist(),
        "step": np.tile(np.arange(each), tokens).tolist(),
        **{event: counts.ravel().tolist() for event, counts in steps.items()},
    }


def _counts(report: ReportInput) -> dict[str, Any]:
    """Every event by token, node and neurocore."""
    counts = report.counts
    by_node = {event: counts.by_node(event) for event in EVENTS}
    by_core = {event: counts.by_neurocore(event).tolist() for event in EVENTS}
    return {
        "per_token": {
            "position": counts.positions.tolist(),
            **{event: counts.per_token[event].tolist() for event in EVENTS},
        },
        "by_node": [
            {"node": node, "layer": node.partition("/")[0], **{event: by_node[event][node] for event in EVENTS}}
            for node in dict.fromkeys(counts.node)
        ],
        "by_neurocore": {"index": [core.index for core in report.mapped.neurocores], **by_core},
    }


def energy_summary(energy: EnergyReport) -> dict[str, Any]:
    """Return the few numbers of an account that everybody asks for."""
    tokens = energy.tokens
    per_spike = energy.per_spike
    return {
        "profile": energy.profile.name,
        "banner": energy.profile.banner,
        "schedule": energy.schedule,
        "tokens_counted": tokens,
        "j_per_token": energy.per_token.to_dict(),
        "dynamic_j_per_token": energy.scope("dynamic").default / tokens,
        "static_j_per_token": energy.scope("static").default / tokens,
        "host_j_per_token": energy.scope("host").default / tokens,
        "dynamic_j_per_spike": None if per_spike is None else per_spike.to_dict(),
        "seconds_per_token": (energy.seconds / tokens).to_dict() if energy.seconds.default else None,
        "synops_per_token": energy.synops / tokens,
        "spikes_per_token": energy.spikes / tokens,
        "ratio_to_ann_fp32": energy.ratio(energy.baselines[0]).default,
        "grade_shares": dict(grade_shares(energy)),
    }


def to_halve_json(account: RunAccount, each: int) -> list[dict[str, Any]]:
    """Return what would have to be measured, in order, for half the total's range; joules divided by ``each``."""
    return [
        {"constants": list(found.unknown.constants), "left": (found.range / each).to_dict()}
        for found in to_halve(account)
    ]


def time_json(report: ReportInput) -> dict[str, Any]:
    """Return how long a step and a token last, and what steps wait for: ``decode`` generates, ``prefill`` reads a text.

    ``waits_for`` holds shares of the time with all of the profile's times at their default.
    """
    return {
        RUNS[schedule]: {
            "schedule": schedule,
            "seconds_per_step": found.time.total / found.time.steps,
            "seconds_per_token": (found.seconds / found.tokens).to_dict(),
            "limited_by": found.time.limited_by,
            "waits_for": {limit: found.time.share(limit) for limit in LIMITS},
        }
        for schedule, found in report.by_schedule().items()
    }


def audit_json(audit: Audit) -> list[dict[str, Any]]:
    """Return the entries of an audit."""
    return [
        {
            "operation": entry.operation,
            "where": entry.where,
            "nodes": entry.nodes,
            "count_per_token": entry.count_per_token,
            "j_per_token": entry.energy_per_token.to_dict(),
            "number_type": entry.number_type,
            "carries_counts": entry.carries_counts,
            "reason": entry.reason,
        }
        for entry in audit.entries
    ]


def _line(energy: EnergyReport, line: EnergyLine) -> dict[str, Any]:
    return {
        "scope": line.scope,
        "layer": line.layer,
        "node": line.node,
        "event": line.event,
        "count": line.count,
        "joules": line.energy.to_dict(),
        "constant": line.constant,
        "grade": grade_of(energy, line),
        "source": energy.profile.constants[line.constant].source,
    }


def _tokens(report: ReportInput) -> list[dict[str, Any]]:
    energy, words = report.energy, report.words
    return [
        {
            "position": position,
            "id": int(report.token_ids[position]),
            "text": None if report.text is None else words[position],
            "generated": position >= report.prompt_tokens,
            "joules": joules,
            "seconds": seconds,
        }
        for position, joules, seconds in zip(
            report.counts.positions.tolist(), energy.token_joules.tolist(), energy.token_seconds.tolist(), strict=True
        )
    ]


def _neurocores(report: ReportInput) -> list[dict[str, Any]]:
    synops, messages = report.counts.by_neurocore(*SYNOPS.values()), report.counts.by_neurocore("message")
    return [
        {
            "index": core.index,
            "chip": core.chip,
            "x": core.x,
            "y": core.y,
            "use": {name: core.used(name) for name, _ in report.mapped.target.resources.items()},
            "synops": int(synops[place]),
            "messages": int(messages[place]),
            "dynamic_joules": Range(*report.energy.neurocore_joules[place].tolist()).to_dict(),
        }
        for place, core in enumerate(report.mapped.neurocores)
    ]


def _baselines(energy: EnergyReport) -> list[dict[str, Any]]:
    return [
        {
            "precision": baseline.precision,
            "macs_per_token": baseline.macs / energy.tokens,
            "bytes_per_token": baseline.bytes_moved / energy.tokens,
            "arithmetic_j_per_token": (baseline.arithmetic / energy.tokens).to_dict(),
            "memory_j_per_token": (baseline.memory / energy.tokens).to_dict(),
            "memory_compared": energy.profile.counts_memory,
            "ratio": energy.ratio(baseline).to_dict(),
        }
        for baseline in energy.baselines
    ]


def _constant(constant: Constant) -> dict[str, Any]:
    return {
        "name": constant.name,
        "value": constant.value.to_dict(),
        "grade": constant.grade,
        "source": constant.source,
    }
