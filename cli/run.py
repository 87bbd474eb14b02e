"""``bispik-run``: run a compiled program, a language model on prompts and other networks on files of input."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bispik.backends.many import Workers, merged_counts
from bispik.backends.registry import BACKENDS, RunOptions
from bispik.backends.run import Sampling, SequenceRun
from bispik.cli.common import Parser, add_workers, console, print_json, run
from bispik.cli.execute import check_new_tokens, text_of
from bispik.cli.run_flow import RunRequest, requests, run_all
from bispik.cli.stream_options import INPUT, add_input, refuse_options
from bispik.compiler.artifact import file_format, load_program
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.stream.artifact import STREAM
from bispik.models.errors import BispikError
from bispik.models.files import require_file

NEW_TOKENS = 32
"""Tokens that a prompt is continued by unless told otherwise."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    result = Parser(
        prog="bispik-run",
        description="Run a compiled program: a language model on prompts, any other network on a file of input.",
    )
    result.add_argument("program", type=Path, metavar="PROGRAM", help="a program.bspk")
    prompt = result.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", action="append", metavar="TEXT", help="text to begin with; may be repeated")
    prompt.add_argument(
        "--prompts", type=Path, metavar="FILE", help='JSON lines: each a text, or an object {"prompt": text}'
    )
    prompt.add_argument("--tokens", type=Path, metavar="FILE", help="token ids to begin with")
    result.add_argument("--backend", choices=tuple(BACKENDS), default="sim", help="default: sim")
    result.add_argument("--max-new-tokens", type=int, metavar="N", help=f"default: {NEW_TOKENS}")
    result.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token (default)")
    result.add_argument("--top-k", type=int, default=0, metavar="K", help="sample among the K likeliest (default: all)")
    result.add_argument(
        "--seed", type=int, default=0, help="of sampling, for each prompt a stream, and of --encode rate (default: 0)"
    )
    result.add_argument("--threads", type=int, metavar="N", help="CPU threads of a sequence, where a backend has them")
    add_workers(result, "prompts, or the samples of a --batch")
    result.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="write everything that happened, for bispik-report; of other networks than language models as HDF5",
    )
    result.add_argument(
        "--probe", action="append", default=[], metavar="POPULATION", help="trace its membranes, too; may be repeated"
    )
    result.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    add_input(result)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    return run("bispik-run", options, lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    if options.seed < 0:
        raise BispikError(f"--seed {options.seed}: give 0 or more")
    require_file(options.program)
    if file_format(options.program) == STREAM.name:
        from bispik.cli.stream_run import run_stream_program

        return run_stream_program(options)
    mapped = load_program(options.program)
    refuse_options(options, INPUT, f"is for networks from NIR; {options.program} is a language model")
    if options.prompt is None and options.prompts is None and options.tokens is None:
        raise BispikError("nothing to run: give --prompt TEXT, --prompts FILE or --tokens FILE")
    max_new_tokens = NEW_TOKENS if options.max_new_tokens is None else options.max_new_tokens
    asked = RunRequest(
        program=options.program,
        prompts=tuple(options.prompt or ()),
        prompts_file=options.prompts,
        tokens_file=options.tokens,
        max_new_tokens=max_new_tokens,
        sampling=Sampling(temperature=options.temperature, top_k=options.top_k, seed=options.seed),
        backend=options.backend,
        options=RunOptions(threads=options.threads),
        workers=Workers(jobs=options.jobs, dask=options.dask),
        trace=options.trace,
        probes=tuple(options.probe),
    )
    check_new_tokens(asked.max_new_tokens)

    def write(piece: str) -> None:
        if piece and not options.json:
            print(piece, end="", flush=True)

    runs = tuple(run_all(asked, mapped, requests(asked, mapped), write))
    counts = merged_counts(entry.counts for entry in runs)
    if options.json:
        values = [_values(mapped, entry) for entry in runs]
        several = {"runs": values, "spikes": counts.total("spike"), "counts": counts.to_dict()}
        print_json(values[0] if len(values) == 1 else several)
    else:
        seconds = sum(entry.seconds for entry in runs)
        console().print(
            f"{runs[0].execution_mode}; {counts.tokens} tokens, {counts.total('spike'):,} spikes, "
            f"{counts.synops:,} synops, {seconds:.1f} s",
            style="dim",
        )
    return 0


def _values(mapped: MappedProgram, entry: SequenceRun) -> dict[str, Any]:
    return {
        "backend": entry.backend,
        "execution_mode": entry.execution_mode,
        "text": text_of(mapped, entry),
        "tokens": entry.token_ids.tolist(),
        "spikes": entry.counts.total("spike"),
        "counts": entry.counts.to_dict(),
        "seconds": entry.seconds,
    }
