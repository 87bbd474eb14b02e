"""``bispik-compile``: a trained checkpoint to NIR, Loihi 2 integers, neurocores, a run and an account of its energy."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from bispik.cli.common import Parser, add_board, console, print_json, refuse_board_in_json, run
from bispik.cli.emit import LANGUAGE_MODEL, NETWORK, refuse_emitted
from bispik.cli.stream_options import add_encoding, add_network, is_network, refuse_network_options
from bispik.compiler.target import list_targets, load_target
from bispik.models.errors import BispikError

RUN_TOKENS = 24
"""New tokens that ``--run`` generates unless told otherwise."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    result = Parser(
        prog="bispik-compile",
        description="Compile a trained spiking network to neuromorphic hardware, check that the integers are "
        "still the same network, and account for the energy of a token.",
    )
    result.add_argument(
        "source",
        nargs="?",
        type=Path,
        metavar="CKPT|NIR",
        help="a checkpoint (.pt, .safetensors, a folder of shards) or a network of any tool in NIR (.nir)",
    )
    result.add_argument("--config", metavar="NAME|TOML", help="with --dry-run: a shape without weights, as opt-1.3b")
    result.add_argument("--target", default="loihi2", help="a packaged target or a .toml sheet (default: loihi2)")
    result.add_argument("--system", help="the target's board (default: the smallest that fits)")
    result.add_argument(
        "--usable-neurocores", type=int, metavar="N", help="of each chip (default: what the target's sheet says)"
    )
    result.add_argument("-o", "--out", type=Path, default=Path("build"), metavar="DIR", help="default: build")
    result.add_argument("--bits", type=int, default=8, help="bits per synaptic weight, 1 to 8 (default: 8)")
    result.add_argument(
        "--budget",
        metavar="LIMIT",
        help="mixed precision within --bits: chips=N or neurocores=N with the least loss, or bpb=P%% more bits per "
        "byte than in floating point with the fewest bytes",
    )
    result.add_argument(
        "--rounding",
        choices=("spikes", "nearest", "naive"),
        default="spikes",
        help="how weights become integers: judged by what then spikes, each to the nearest, or with one scale a matrix "
        "(default: spikes)",
    )
    result.add_argument(
        "--neurons",
        choices=("bispik", "stock"),
        help="neuron program: ours, or Lava's own where there is one (hard reset, one threshold a population); "
        "default: bispik for checkpoints, stock for networks in NIR",
    )
    result.add_argument(
        "--calib",
        type=Path,
        metavar="FILE",
        help="calibration text (default: calibration.txt beside); for a network in NIR: input to verify it on",
    )
    result.add_argument("--held-out", type=Path, metavar="FILE", help="text to verify on (default: heldout.txt beside)")
    result.add_argument("--tokenizer", type=Path, metavar="FILE", help="default: tokenizer.json beside the checkpoint")
    result.add_argument("--window", type=int, metavar="N", help="tokens to have room for (default: what was trained)")
    result.add_argument("--head", choices=("chip", "host"), default="chip", help="where the LM head runs")
    result.add_argument("--profile", help="energy profile (default: that of the target's chip)")
    result.add_argument("--run", choices=("lava", "sim", "reference", "onnx"), help="then run the program")
    result.add_argument("--prompt", help="text for --run")
    result.add_argument("--max-new-tokens", type=int, default=RUN_TOKENS, metavar="N", help=f"default: {RUN_TOKENS}")
    result.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token (default)")
    result.add_argument("--top-k", type=int, default=0, metavar="K", help="sample among the K likeliest (default: all)")
    result.add_argument("--dump-after", choices=("lift", "nir", "quantize", "map"), metavar="STAGE")
    result.add_argument(
        "--emit",
        action="append",
        choices=tuple({**NETWORK, **LANGUAGE_MODEL}),
        default=[],
        help="write for other tools, too: the integers as ONNX, or for lava-dl (netx, of a network in NIR); a window "
        "of a language model as NIR that norse, snnTorch and SpikingJelly import; a run for SANA-FE (folder sanafe)",
    )
    result.add_argument(
        "--dry-run", action="store_true", help="only say what the network takes: several widths and windows"
    )
    result.add_argument(
        "--resume",
        action="store_true",
        help="keep what finished stages made in the output folder until all are done, and go on from there if the same "
        "compile was interrupted",
    )
    add_board(result)
    result.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    result.add_argument("--seed", type=int, default=0, help="of calibration, placement and sampling (default: 0)")
    add_network(result)
    add_encoding(result)
    result.add_argument("--list-targets", action="store_true", help="list targets and their systems, and stop")
    result.add_argument("--doctor", action="store_true", help="say what is installed and what is not, and stop")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    return run("bispik-compile", options, lambda: _dispatch(options))


def _dispatch(options: argparse.Namespace) -> int:
    if options.doctor:
        return _doctor(as_json=options.json)
    if options.list_targets:
        return _list_targets(as_json=options.json)
    if options.config is not None and options.source is not None:
        raise BispikError(f"--config {options.config} takes the place of {options.source}: give one of the two")
    if options.config is not None and not options.dry_run:
        raise BispikError(f"--config {options.config} has no weights to compile: add --dry-run, or give a checkpoint")
    if options.source is None and options.config is None:
        raise BispikError("no checkpoint given; see bispik-compile --help")
    if options.dry_run and (options.run or options.dump_after or options.emit or options.board):
        raise BispikError("--dry-run writes and runs nothing: leave out --run, --dump-after, --emit and --board")
    if options.dry_run and options.budget is not None:
        raise BispikError("--budget measures what bits cost, which takes weights and text: leave out --dry-run")
    refuse_board_in_json(options)
    if options.seed < 0:
        raise BispikError(f"--seed {options.seed}: give 0 or more")
    if options.source is not None and is_network(options.source):
        from bispik.cli.stream_compile import compile_stream

        refuse_emitted(options.emit, NETWORK, f"{options.source} is a network in NIR")
        return compile_stream(options)
    refuse_network_options(options)
    refuse_emitted(options.emit, LANGUAGE_MODEL, f"{options.config or options.source} is a language model")
    if options.prompt is not None and not options.run:
        raise BispikError("--prompt needs a backend to run on: give --run sim or --run lava")
    if options.run and options.prompt is None:
        raise BispikError("--run needs a text to begin with: give --prompt")
    if options.dry_run:
        from bispik.cli.plan_report import plan_only

        return plan_only(options)
    from bispik.cli.compile_report import compile_and_report

    return compile_and_report(options)


def _doctor(*, as_json: bool) -> int:
    from bispik.cli import doctor

    findings = doctor.examine()
    if as_json:
        print_json([{"part": f.part, "found": f.found or None, "note": f.note} for f in findings])
    else:
        console().print(doctor.table(findings))
    return 0


def _list_targets(*, as_json: bool) -> int:
    targets = [load_target(name) for name in list_targets()]
    if as_json:
        print_json({t.name: {name: system.chips.value for name, system in t.systems.items()} for t in targets})
        return 0
    table = Table("target", "system", "chips", "neurocores", title="targets", title_justify="left")
    for target in targets:
        for system in target.systems.values():
            table.add_row(target.name, system.name, str(system.chips.value), f"{target.neurocores(system):,}")
    console().print(table)
    return 0
