"""``bispik-report``: the account of a program's energy, from the program itself or from a trace of a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bispik.backends.trace import TRACE, CountedTrace, count_trace
from bispik.cli.account import account_of, summary, tables, write_html
from bispik.cli.common import Parser, add_board, console, print_board, print_json, refuse_board_in_json, run
from bispik.cli.execute import run_program
from bispik.compiler.artifact import file_format, load_program
from bispik.compiler.stream.artifact import STREAM
from bispik.energy.json_report import report_json
from bispik.energy.profiles import list_profiles, load_profile
from bispik.models.errors import BispikError


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    result = Parser(
        prog="bispik-report",
        description="Account for the energy of a run. A program alone first runs on the held-out text that it carries.",
    )
    result.add_argument("source", type=Path, metavar="PROGRAM|TRACE", help="a program.bspk, or what --trace wrote")
    result.add_argument("--profile", default="loihi2", help=f"{', '.join(list_profiles())} or a .toml sheet")
    result.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the report as one HTML file")
    add_board(result)
    result.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    return run("bispik-report", lambda: _report(options))


def _report(options: argparse.Namespace) -> int:
    refuse_board_in_json(options)
    profile = load_profile(options.profile)
    if file_format(options.source) == STREAM.name:
        raise BispikError(
            f"{options.source}: a network from NIR; its account is what bispik-compile printed, and "
            "report.json beside it"
        )
    is_trace = file_format(options.source) == TRACE.name
    counted = count_trace(options.source) if is_trace else _sample_run(options.source)
    report = account_of(counted.mapped, counted.run, profile)
    if options.out:
        write_html(report, options.out)
    if options.json:
        print_json({**summary(report), **report_json(report)})
        return 0
    terminal = console()
    for table in tables(report):
        terminal.print(table)
    if options.board:
        print_board(terminal, report.board())
    terminal.print(f"ran on {counted.run.execution_mode}")
    if options.out:
        terminal.print(f"wrote {options.out}")
    return 0


def _sample_run(path: Path) -> CountedTrace:
    """Run a program's own sample of held-out text on ``sim``."""
    mapped = load_program(path)
    verification = mapped.program.verification
    if verification is None or not verification.sample:
        raise BispikError(f"{path}: holds no sample text; run it with bispik-run --trace FILE and report on that")
    return CountedTrace(mapped=mapped, run=run_program(mapped, "sim", verification.sample))
