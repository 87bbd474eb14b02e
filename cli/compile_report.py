"""``bispik-compile``'s action: compile, run, account and report."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.markup import escape

from bispik.backends.run import Sampling, SequenceRun
from bispik.cli.account import account_of, summary, tables, with_neurons, write_reports
from bispik.cli.common import console, print_board, print_json, progress, target_of
from bispik.cli.compile_flow import Compiled, CompileRequest, Stages, compile_network, request_digest
from bispik.cli.emit import EMITTED, LANGUAGE_MODEL, PROFILES, statement
from bispik.cli.emit_sanafe import emit_language_model
from bispik.cli.execute import check_new_tokens, run_program, text_of
from bispik.cli.kept_stages import kept_stages
from bispik.cli.precision import losses_line, parse_budget
from bispik.cli.text import encode
from bispik.energy.profiles import default_profile, load_profile
from bispik.energy.report import ReportInput
from bispik.models.files import folder_written_whole

ARTIFACTS = {
    "nir": "model.nir",
    "program": "program.bspk",
    "report": "report.html",
    "board": "board.svg",
    "json": "report.json",
}


def compile_and_report(options: argparse.Namespace) -> int:
    """Compile, verify, run, account, write the artifacts and print the tables."""
    request = _request(options)
    profile = load_profile(options.profile or default_profile(request.target.name))
    sampling = Sampling(temperature=options.temperature, top_k=options.top_k, seed=options.seed)
    check_new_tokens(options.max_new_tokens)
    terminal = console()
    digest = (lambda: request_digest(request)) if request.resume else None
    with (
        kept_stages(options.out, digest) as kept,
        folder_written_whole(options.out, others=EMITTED) as folder,
        progress(terminal) as show,
    ):
        stages = Stages(show)
        compiled = compile_network(replace(request, output=folder), stages, options.prompt, kept)
        with stages("run", f"running on {options.run or 'sim'}"):
            ran = _run(options, compiled, sampling)
        with stages("report", "accounting for energy and writing the reports"):
            report = with_neurons(account_of(compiled.mapped, ran, profile))
            write_reports(report, folder)
            if "sanafe" in options.emit:
                emit_language_model(compiled.mapped, ran.token_ids, profile, folder)
    artifacts = ARTIFACTS | {name: name for kind in options.emit for name in LANGUAGE_MODEL[kind]}
    if options.json:
        paths = {name: str(options.out / file) for name, file in artifacts.items()}
        print_json(_values(compiled, report, ran, paths))
    else:
        _print(terminal, options, compiled, report, ran)
        for name in artifacts.values():
            terminal.print(f"wrote {options.out / name}")
    return 0


def _request(options: argparse.Namespace) -> CompileRequest:
    return CompileRequest(
        source=options.source,
        target=target_of(options),
        system=options.system,
        output=options.out,
        bits=options.bits,
        neurons=options.neurons or "bispik",
        window=options.window,
        head_on_chip=options.head == "chip",
        calibration=options.calib,
        held_out=options.held_out,
        tokenizer=options.tokenizer,
        dump_after=options.dump_after,
        emit=tuple(dict.fromkeys(options.emit)),
        seed=options.seed,
        rounding=options.rounding,
        budget=None if options.budget is None else parse_budget(options.budget),
        resume=options.resume,
    )


def _run(options: argparse.Namespace, compiled: Compiled, sampling: Sampling) -> SequenceRun:
    """Run the user's prompt on the user's backend, or else the first window of the held-out text on ``sim``."""
    program, verification = compiled.mapped.program, compiled.mapped.program.verification
    if options.run is None:
        sample = verification.sample if verification else ()
        return run_program(compiled.mapped, "sim", sample)
    prompt = encode(program.tokenizer, options.prompt, "the prompt").tolist()
    return run_program(compiled.mapped, options.run, prompt, options.max_new_tokens, sampling)


def _values(compiled: Compiled, report: ReportInput, ran: SequenceRun, paths: dict[str, str]) -> dict[str, Any]:
    """The object that ``--json`` prints."""
    return {
        **summary(report),
        "nir": {"path": paths["nir"], "nodes": compiled.nir_nodes},
        "text": text_of(compiled.mapped, ran),
        "artifacts": paths,
        "seconds": compiled.seconds,
        "peak_bytes": compiled.peak_bytes,
    }


def _print(
    terminal: Console, options: argparse.Namespace, compiled: Compiled, report: ReportInput, ran: SequenceRun
) -> None:
    """The tables on stderr; the generated text, if there is one, on stdout."""
    if options.run:
        print(text_of(compiled.mapped, ran), flush=True)
    verification = compiled.mapped.program.verification
    resources, *others = tables(report)
    terminal.print(resources)
    if verification:
        terminal.print(
            f"float {verification.bpb_float:.3f}, integer {verification.bpb_integer:.3f} bits per byte on "
            f"{verification.tokens:,} held-out tokens; {verification.spike_agreement:.2%} of spikes agree"
        )
        if (losses := losses_line(verification.losses)) is not None:
            terminal.print(losses)
    if len(bits := Counter(compiled.mapped.program.bits_by_node.values())) > 1:
        shares = ", ".join(f"{width} bit: {count}" for width, count in sorted(bits.items(), reverse=True))
        terminal.print(f"Mixed precision, matrices by width: {shares}")
    for table in others:
        terminal.print(table)
    if options.board:
        print_board(terminal, report.board())
    terminal.print(f"ran on {ran.execution_mode}")
    for kind in dict.fromkeys(options.emit):
        for line in statement(compiled.graph, compiled.mapped.program.window) if kind in PROFILES else ():
            terminal.print(escape(f"  {line}"))
