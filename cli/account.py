"""From a trace to its report: counts, account, files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from bispik.backends.observe import observe
from bispik.backends.run import SequenceRun
from bispik.cli.common import limits
from bispik.cli.text import decode, words_of
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.program import IntegerAttention, QuantizedProgram
from bispik.energy.account import account
from bispik.energy.json_report import audit_json, energy_summary, report_json, time_json
from bispik.energy.labels import RUN_LABELS
from bispik.energy.profiles import Profile
from bispik.energy.report import GeneratedText, ReportInput, render_board, render_html
from bispik.energy.tables import audit_table, energy_table, resource_table
from bispik.energy.time_tables import TimeRow, time_table, traffic_table
from bispik.models.files import written_whole


def account_of(mapped: MappedProgram, run: SequenceRun, profile: Profile) -> ReportInput:
    """Return everything that a report on a run is made of, but for single neurons: see `with_neurons`."""
    program = mapped.program
    ids = run.token_ids.tolist()
    prompt, text = (decode(program.tokenizer, part) for part in (ids[: run.prompt_tokens], ids))
    written = GeneratedText(prompt=prompt, continuation=text[len(prompt) :], words=words_of(program.tokenizer, ids))
    return ReportInput(
        title=f"BiSpikCLM, {program.hyperparameters.get('num_layers', '?')} layers",
        parameters=int(program.hyperparameters.get("parameters", 0)),
        mapped=mapped,
        counts=run.counts,
        energy=account(mapped, run.counts, profile),
        execution_mode=run.execution_mode,
        token_ids=run.token_ids,
        prompt_tokens=run.prompt_tokens,
        text=written if program.tokenizer else None,
    )


def with_neurons(report: ReportInput) -> ReportInput:
    """Return the report with what single neurons did, for which the first tokens are run again."""
    return dataclasses.replace(report, observed=observe(report.mapped.program, report.token_ids))


def write_html(report: ReportInput, path: Path) -> None:
    """Write the report as one HTML file."""
    with written_whole(path) as temporary:
        temporary.write_text(render_html(report), encoding="utf-8")


def write_reports(report: ReportInput, folder: Path) -> None:
    """Write ``report.html``, ``board.svg`` and ``report.json``."""
    write_html(report, folder / "report.html")
    with written_whole(folder / "board.svg") as temporary:
        temporary.write_text(render_board(report.board()), encoding="utf-8")
    with written_whole(folder / "report.json") as temporary:
        values = {**summary(report), **report_json(report)}
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def tables(report: ReportInput) -> Iterator[Table]:
    """Yield what the terminal shows of a report."""
    yield resource_table(report.mapped)
    yield traffic_table(report.traffic())
    accounts = report.by_schedule().items()
    yield time_table(
        [TimeRow(name=RUN_LABELS[name], seconds=a.seconds, pieces=a.tokens, split=a.time) for name, a in accounts],
        "token",
    )
    yield energy_table(report.energy)
    yield audit_table(report.audit)


def summary(report: ReportInput) -> dict[str, Any]:
    """Return the answers to the four questions as plain values: the same network? fits? what does a token cost?"""
    return {
        "model": _model(report),
        "quantization": _quantization(report.mapped.program),
        "mapping": _mapping(report.mapped),
        "placement": report.traffic().to_dict(),
        "time": time_json(report),
        "energy": energy_summary(report.energy),
        "audit": audit_json(report.audit),
        "execution_mode": report.execution_mode,
    }


def _model(report: ReportInput) -> dict[str, Any]:
    program = report.mapped.program
    attentions = program.of_kind(IntegerAttention)
    return {
        "parameters": report.parameters,
        "layers": len(attentions),
        "hidden": program.injection.size,
        "heads": attentions[0].heads if attentions else 0,
        "steps_per_token": program.steps_per_token,
        "window": program.window,
    }


def _quantization(program: QuantizedProgram) -> dict[str, Any]:
    values: dict[str, Any] = {
        "bits": program.bits,
        "neurons": program.neuron_program,
        "bits_by_node": program.bits_by_node,
    }
    if program.verification is None:
        return values
    found = program.verification
    return {
        **values,
        "tokens": found.tokens,
        "bpb_float": found.bpb_float,
        "bpb_integer": found.bpb_integer,
        "spike_agreement": found.spike_agreement,
        "populations": [dataclasses.asdict(population) for population in found.populations],
        "losses": [dataclasses.asdict(loss) for loss in found.losses],
    }


def _mapping(mapped: MappedProgram) -> dict[str, Any]:
    return {
        "target": mapped.target.name,
        "system": mapped.system.name,
        "chips": mapped.chips,
        "neurocores": len(mapped.neurocores),
        "neurocores_lower_bound": mapped.neurocores_lower_bound,
        "limits": limits(mapped.resources),
    }
