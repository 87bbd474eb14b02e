"""``bispik-report --paper`` and ``--compare``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bispik.backends.trace import CountedTrace
from bispik.cli.common import console, print_json
from bispik.cli.report_files import say_written, write_values
from bispik.energy.compare import compare_table, compared, pareto_points
from bispik.energy.paper import paper_table
from bispik.energy.paper_program import program_points
from bispik.energy.paper_tables import paper_json, paper_tables
from bispik.energy.pareto import front, render_pareto
from bispik.energy.report import ReportInput
from bispik.models.errors import BispikError
from bispik.models.files import written_whole


def paper(options: argparse.Namespace, counted: CountedTrace | None) -> int:
    """Print the papers' table, with a program's place in it if there is one."""
    if options.out or options.profile:
        raise BispikError("--paper has a convention of its own and no page: leave out --profile and --out")
    table = paper_table()
    points = None if counted is None else program_points(counted.mapped, counted.run.counts)
    values = paper_json(table, points)
    write_values(options, values)
    if options.json:
        print_json(values)
        return 0
    terminal = console()
    for entry in paper_tables(table, points):
        terminal.print(entry)
    say_written(options)
    return 0


def compare(options: argparse.Namespace, reports: Sequence[ReportInput]) -> int:
    """Print one row for each report, and draw quality against energy."""
    if options.out and options.out.suffix != ".svg":
        raise BispikError(f"--out {options.out}: the picture of --compare is written as .svg")
    rows = [compared(name, report) for name, report in zip(_names(options.sources), reports, strict=True)]
    points = pareto_points(rows)
    used = sorted({f"{report.energy.profile.name}: {report.energy.profile.banner}" for report in reports})
    note = f"Profile {'; '.join(used)}"
    values = {
        "profiles": used,
        "programs": [row.to_dict() for row in rows],
        "unbeaten": [point.mark for point in front(points)],
    }
    if options.out:
        if not points:
            raise BispikError("--out: no program was verified on held-out text, so that nothing can be drawn")
        with written_whole(options.out) as temporary:
            picture = render_pareto(points, energy="Dynamic energy per token, low to high", note=note)
            temporary.write_text(picture, encoding="utf-8")
    write_values(options, values)
    if options.json:
        print_json(values)
        return 0
    console().print(compare_table(rows, note))
    say_written(options)
    return 0


def _names(sources: Sequence[Path]) -> list[str]:
    """Name each source by what of its path is not that of all; by its folder, if every file has the same name."""
    names = [source.parent if len({s.name for s in sources}) == 1 else source for source in sources]
    if len(set(names)) < len(names):
        return [str(source) for source in sources]
    shared = 0
    while len({name.parts[: shared + 1] for name in names}) == 1 and all(len(n.parts) > shared + 1 for n in names):
        shared += 1
    return [str(Path(*name.parts[shared:])) for name in names]
