"""``bispik-report`` for a network from NIR: run it on a file of input, and account for that."""

from __future__ import annotations

import argparse
from pathlib import Path

from bispik.backends.stream.run import counted_stream
from bispik.cli.common import console, print_board, print_json
from bispik.cli.report_files import say_written, write_values
from bispik.cli.stream_options import read_sequences
from bispik.cli.stream_tables import program_json
from bispik.compiler.stream.artifact import load_stream
from bispik.energy.profiles import default_profile, load_profile
from bispik.energy.stream_html import StreamReportInput, render_stream_html
from bispik.energy.stream_report import stream_account, stream_json, stream_tables
from bispik.energy.uncertainty import draw, to_halve
from bispik.energy.use_tables import certainty_lines
from bispik.models.errors import BispikError
from bispik.models.files import written_whole


def report_stream(options: argparse.Namespace, source: Path) -> int:
    """Run every sequence of the input on ``sim`` and print the account of all of them together."""
    if options.input is None:
        raise BispikError(f"{source}: a network from NIR: say what to account for with --input FILE")
    mapped = load_stream(source)
    profile = load_profile(options.profile or default_profile(mapped.target.name))
    runs = [counted_stream(mapped, values, "sim") for values in read_sequences(options.input, mapped.program, options)]
    counts = sum((run.counts for run in runs[1:]), start=runs[0].counts)
    energy, mode = stream_account(mapped, counts, profile), runs[0].run.execution_mode
    values = {**program_json(mapped), **stream_json(mapped, counts, energy), "execution_mode": mode}
    each, unit = (energy.sequences, "inference") if energy.sequences else (energy.steps, "step")
    drawn = None if options.draws is None else draw(energy, options.draws, options.seed)
    if drawn:
        values[f"j_per_{unit}_drawn"] = drawn.to_dict(each)
    page = StreamReportInput(title=source.name, mapped=mapped, counts=counts, energy=energy, execution_mode=mode)
    if options.out:
        with written_whole(options.out) as temporary:
            temporary.write_text(render_stream_html(page), encoding="utf-8")
    write_values(options, values)
    if options.json:
        print_json(values)
        return 0
    terminal = console()
    for table in stream_tables(mapped, counts, energy):
        terminal.print(table)
    for line in certainty_lines(to_halve(energy), drawn, each, unit):
        terminal.print(line)
    if options.board:
        print_board(terminal, page.board())
    terminal.print(f"ran on {mode}")
    say_written(options)
    return 0
