"""``bispik-report``: accounts of energy of programs and runs, one or several, and the papers' table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bispik.backends.counts.steps import events_by_step
from bispik.backends.registry import open_session
from bispik.backends.trace import TRACE, CountedTrace, count_trace
from bispik.cli.account import account_of, summary, tables, with_neurons, write_html
from bispik.cli.common import Parser, add_board, console, print_board, print_json, refuse_board_in_json, run
from bispik.cli.execute import run_program
from bispik.cli.report_files import say_written, write_values
from bispik.cli.stream_options import ENCODING, add_encoding, refuse_options
from bispik.compiler.artifact import file_format, load_program
from bispik.compiler.stream.artifact import STREAM
from bispik.energy.json_report import report_json, time_steps_json
from bispik.energy.operating import operating_point
from bispik.energy.profiles import default_profile, list_profiles, load_profile
from bispik.energy.report import ReportInput
from bispik.energy.uncertainty import draw, to_halve
from bispik.energy.use_tables import certainty_lines, use_table
from bispik.models.errors import BispikError

FOR_LANGUAGE_MODELS = {"batch_size": None, "token_rate": None, "time_steps": False}
"""Options that only language models have, with their defaults."""

FOR_NETWORKS = {"input": None, **ENCODING}
"""Options that only networks from NIR have, with their defaults."""

FOR_ONE = {**FOR_LANGUAGE_MODELS, **FOR_NETWORKS, "draws": None}
"""Options that only the report of one program has, with their defaults."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    result = Parser(
        prog="bispik-report",
        description="Account for the energy of a run. A language model alone first runs on the held-out text that it "
        "carries, a network from NIR on --input.",
    )
    result.add_argument(
        "sources", nargs="*", type=Path, metavar="PROGRAM|TRACE", help="a program.bspk, or what --trace wrote"
    )
    result.add_argument(
        "--profile", help=f"{', '.join(list_profiles())} or a .toml sheet (default: that of the program's chip)"
    )
    result.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        help="write the report as one HTML page; --compare: a picture (.svg)",
    )
    result.add_argument("--csv", type=Path, metavar="DIR", help="write every number of --json as CSV files")
    add_board(result)
    result.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    mode = result.add_mutually_exclusive_group()
    mode.add_argument(
        "--paper",
        action="store_true",
        help="the cost ratios of arXiv:2605.13859 from shapes alone, what reproduces them, and where a program lies",
    )
    mode.add_argument("--compare", action="store_true", help="several language models in one table")
    result.add_argument(
        "--batch-size", type=int, metavar="B", help="of a language model: sequences side by side (default: 1)"
    )
    result.add_argument(
        "--token-rate",
        type=float,
        metavar="R",
        help="tokens a second, of all sequences (default: the most there can be)",
    )
    result.add_argument(
        "--draws", type=int, metavar="N", help="draw the profile's unknowns at random N times, and say what comes out"
    )
    result.add_argument(
        "--time-steps", action="store_true", help="of a language model: events of every time step in --json and --csv"
    )
    result.add_argument("--input", type=Path, metavar="FILE", help="of a network from NIR: what to run on")
    result.add_argument("--seed", type=int, default=0, help="of --draws and --encode rate (default: 0)")
    add_encoding(result)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    return run("bispik-report", options, lambda: _dispatch(options))


def _dispatch(options: argparse.Namespace) -> int:
    sources: list[Path] = options.sources
    refuse_board_in_json(options)
    if options.paper or options.compare:
        refuse_options(options, FOR_ONE, "is for the report of one program: leave out --paper and --compare")
    if options.paper:
        from bispik.cli.report_tables import paper

        return paper(options, _language_model(options, sources[0]) if _at_most_one(sources, "--paper") else None)
    if options.compare:
        from bispik.cli.report_tables import compare

        if len(sources) < 2:
            raise BispikError(f"--compare takes two programs or traces at least, and {len(sources)} is given")
        return compare(options, [_report_of(options, source) for source in sources])
    if not _at_most_one(sources, "one report"):
        raise BispikError("no program given; see bispik-report --help")
    if file_format(sources[0]) == STREAM.name:
        from bispik.cli.stream_report import report_stream

        refuse_options(options, FOR_LANGUAGE_MODELS, f"is for language models; {sources[0]} is a network from NIR")
        return report_stream(options, sources[0])
    return _report(options, with_neurons(_report_of(options, sources[0])))


def _at_most_one(sources: Sequence[Path], what: str) -> bool:
    """Return whether there is one."""
    if len(sources) > 1:
        raise BispikError(f"{what} is of one program or trace; for a table of {len(sources)}, give --compare")
    return bool(sources)


def _language_model(options: argparse.Namespace, source: Path) -> CountedTrace:
    """Return a counted run: the one of a trace, or a program's on its own sample of held-out text, on ``sim``.

    Raises:
        BispikError: if the source is neither, or a program without such a sample, or an option is for networks.
    """
    if file_format(source) == STREAM.name:
        raise BispikError(f"{source}: a network from NIR, and this is for language models")
    refuse_options(options, FOR_NETWORKS, f"is for networks from NIR; {source} is a language model")
    if file_format(source) == TRACE.name:
        return count_trace(source)
    mapped = load_program(source)
    verification = mapped.program.verification
    if verification is None or not verification.sample:
        raise BispikError(f"{source}: holds no sample text; run it with bispik-run --trace FILE and report on that")
    return CountedTrace(mapped=mapped, run=run_program(mapped, "sim", verification.sample))


def _report_of(options: argparse.Namespace, source: Path) -> ReportInput:
    profile = load_profile(options.profile) if options.profile else None
    counted = _language_model(options, source)
    return account_of(counted.mapped, counted.run, profile or load_profile(default_profile(counted.mapped.target.name)))


def _by_time_step(report: ReportInput) -> dict[str, Any]:
    """Run the report's tokens again on ``sim``, recorded: a run's counts are by token."""
    with closing(open_session("sim", report.mapped.program)) as session:
        activity = session.feed(report.token_ids)
    return time_steps_json(events_by_step(report.mapped, activity), report.counts.positions)


def _report(options: argparse.Namespace, report: ReportInput) -> int:
    point = operating_point(
        report.mapped, report.counts, report.energy.profile, options.batch_size or 1, options.token_rate
    )
    drawn = None if options.draws is None else draw(report.energy, options.draws, options.seed)
    tokens = report.energy.tokens
    values = {**summary(report), **report_json(report), "in_use": point.to_dict()}
    if drawn:
        values["j_per_token_drawn"] = drawn.to_dict(tokens)
    if options.time_steps:
        values["counts"]["by_time_step"] = _by_time_step(report)
    if options.out:
        write_html(report, options.out)
    write_values(options, values)
    if options.json:
        print_json(values)
        return 0
    terminal = console()
    for table in tables(report):
        terminal.print(table)
    if options.board:
        print_board(terminal, report.board())
    for line in certainty_lines(to_halve(report.energy), drawn, tokens, "token"):
        terminal.print(line)
    terminal.print(use_table(point))
    terminal.print(f"ran on {report.execution_mode}")
    say_written(options)
    return 0
