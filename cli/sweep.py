"""``bispik-sweep``: train variants of one run, and say what each costs in quality, spikes and energy."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from bispik.cli.common import Parser, console, print_json, progress, run
from bispik.energy.formats import joules
from bispik.models.files import written_whole

COLUMNS = ("variant", "T", "bits", "float", "integer", "against float", "firing rate", "dynamic energy", "all energy")


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    result = Parser(
        prog="bispik-sweep",
        description="Train variants of one run, compile each at several widths, and compare bits per byte, firing "
        "rates and energy per token: sweep.json, sweep.md and pareto.svg.",
    )
    result.add_argument("sweep", type=Path, metavar="SWEEP.toml", help="the run, what varies, and the widths")
    result.add_argument("-o", "--out", type=Path, required=True, help="folder for checkpoints, logs and results")
    result.add_argument("--target", default="loihi2", help="target, or a sheet of your own (default: loihi2)")
    result.add_argument("--profile", default="loihi2", help="energy profile (default: loihi2)")
    result.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    result.add_argument("--json", action="store_true", help="print the results as one JSON object on stdout")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    return run("bispik-sweep", options, lambda: _sweep(options))


def _sweep(options: argparse.Namespace) -> int:
    import torch

    from bispik.cli.sweep_flow import Outcome, run_sweep
    from bispik.compiler.target import load_target
    from bispik.energy.pareto import Point, render_pareto
    from bispik.energy.profiles import load_profile
    from bispik.models.bispikclm.sweep_config import load_sweep

    if options.threads:
        torch.set_num_threads(options.threads)
    sweep, target, profile = (
        load_sweep(options.sweep, options.out),
        load_target(options.target),
        load_profile(options.profile),
    )
    terminal = console()
    with progress(terminal) as show:
        outcomes = list(run_sweep(sweep, target, profile, show))

    def row(found: Outcome) -> tuple[str, ...]:
        change = found.held_out_bpb_integer / found.held_out_bpb_float - 1
        return (
            found.variant,
            str(found.steps_per_token),
            str(found.bits),
            f"{found.validation_bpb:.3f}",
            f"{found.held_out_bpb_integer:.3f}",
            f"{change:+.1%}",
            f"{found.mean_rate:.1%}",
            joules(found.dynamic_joules.default),
            joules(found.all_joules.default),
        )

    points = [
        Point(
            name=f"{o.variant}, {o.bits} bit, {joules(o.dynamic_joules.default)} a token",
            series=f"T = {o.steps_per_token}",
            mark=f"{o.variant}, {o.bits} bit",
            joules=o.dynamic_joules,
            bits_per_byte=o.held_out_bpb_integer,
        )
        for o in outcomes
    ]
    note = f"Profile {profile.name}: {profile.banner}"
    picture = render_pareto(points, energy="Dynamic energy per token, low to high", note=note)
    values = {"profile": profile.name, "outcomes": [o.to_dict() for o in outcomes]}
    rows = [row(o) for o in outcomes]
    _write(options.out / "sweep.json", json.dumps(values, indent=1) + "\n")
    _write(options.out / "sweep.md", _markdown(rows))
    _write(options.out / "pareto.svg", picture)
    if options.json:
        print_json(values)
    table = Table(*COLUMNS, title=note, title_justify="left")
    for cells in rows:
        table.add_row(*cells)
    terminal.print(table)
    return 0


def _write(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
