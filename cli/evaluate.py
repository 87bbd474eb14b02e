"""``bispik-eval``: how good a network is on text and on multiple choice, in floats, in integers and as its teacher."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bispik.cli.common import Parser, add_workers, console, print_json, run
from bispik.models.errors import BispikError

BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Read by NumPy's linear algebra when it is first imported."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    result = Parser(
        prog="bispik-eval",
        description="Bits per byte and perplexity on a text, and accuracy on multiple choice, of a compiled program, "
        "of the checkpoint that it was made from, and of the teacher of that: the same tokens in the same windows.",
    )
    result.add_argument("program", nargs="?", type=Path, metavar="PROGRAM", help="a program.bspk: integer")
    result.add_argument("--checkpoint", type=Path, metavar="CKPT", help="a .pt or .safetensors file: float")
    result.add_argument("--teacher", metavar="NAME", help="an OPT: a save_pretrained folder, or a name on the hub")
    result.add_argument("--text", type=Path, metavar="FILE", help="text to predict")
    result.add_argument(
        "--tasks",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help='JSON lines {"prompt": text, "choices": [text, ...], "answer": index}',
    )
    result.add_argument(
        "--backend", default="sim", help="what runs the program: sim (default), reference, lava, loihi2"
    )
    result.add_argument("--tokens", type=int, metavar="N", help="predict only the first N tokens of the text")
    result.add_argument("--tokenizer", type=Path, metavar="FILE", help="default: the program's, or the one beside")
    result.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    result.add_argument("--counts", action="store_true", help="count the program's events on the text as well")
    add_workers(result, "windows of --text that the program runs")
    result.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all)")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    return run("bispik-eval", options, lambda: _evaluate(options))


def _evaluate(options: argparse.Namespace) -> int:
    if options.program is None and options.checkpoint is None and options.teacher is None:
        raise BispikError("no network given: give a program.bspk, --checkpoint or --teacher")
    if options.text is None and not options.tasks:
        raise BispikError("nothing to evaluate on: give --text FILE or --tasks FILE")
    if options.tokens is not None and options.tokens < 1:
        raise BispikError(f"--tokens {options.tokens}: give at least 1")
    if options.tokens is not None and options.text is None:
        raise BispikError("--tokens is about --text, which is not given")
    if options.threads is not None:
        _limit_threads(options.threads)
    from bispik.backends.many import Workers
    from bispik.cli import evaluate_flow, evaluate_tables

    if options.counts and (options.program is None or options.text is None):
        raise BispikError("--counts are events of a program on a text: give both, with --text")
    workers = Workers(jobs=options.jobs, dask=options.dask)
    if workers.elsewhere and (options.program is None or options.text is None):
        raise BispikError("--jobs and --dask share the windows of a text that a program runs: give both, with --text")

    request = evaluate_flow.EvaluateRequest(
        program=options.program,
        backend=options.backend,
        checkpoint=options.checkpoint,
        teacher=options.teacher,
        tokenizer=options.tokenizer,
        text=options.text,
        tokens=options.tokens,
        tasks=tuple(options.tasks),
        workers=workers,
        count=options.counts,
    )
    terminal = console()
    with evaluate_tables.Bars(terminal) as bars:
        evaluated = evaluate_flow.evaluate(request, bars.start)
    if options.json:
        print_json(evaluate_tables.as_json(evaluated))
        return 0
    for line in evaluate_tables.tables(evaluated):
        terminal.print(line, highlight=False, markup=False)
    return 0


def _limit_threads(number: int) -> None:
    if number < 1:
        raise BispikError(f"--threads {number}: give at least 1")
    if "numpy" not in sys.modules:  # else it has made up its mind
        os.environ |= dict.fromkeys(BLAS_THREADS, str(number))
    import torch

    torch.set_num_threads(number)
