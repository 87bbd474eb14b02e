"""``bispik-run``: run a compiled program on a prompt."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bispik.backends.counts import count_events
from bispik.backends.host import Sampler
from bispik.backends.registry import BACKENDS
from bispik.backends.trace import save_trace
from bispik.cli.common import Parser, console, print_json, run
from bispik.cli.execute import run_program
from bispik.cli.text import encode, read_ids
from bispik.compiler.artifact import load_program


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    result = Parser(prog="bispik-run", description="Run a compiled program on a prompt and continue its text.")
    result.add_argument("program", type=Path, metavar="PROGRAM", help="a program.bspk")
    prompt = result.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt", help="text to begin with")
    prompt.add_argument("--tokens", type=Path, metavar="FILE", help="token ids to begin with")
    result.add_argument("--backend", choices=tuple(BACKENDS), default="sim", help="default: sim")
    result.add_argument("--max-new-tokens", type=int, default=32, metavar="N", help="default: 32")
    result.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token (default)")
    result.add_argument("--top-k", type=int, default=0, metavar="K", help="sample among the K likeliest (default: all)")
    result.add_argument("--seed", type=int, default=0, help="of sampling (default: 0)")
    result.add_argument("--trace", type=Path, metavar="FILE", help="write everything that happened, for bispik-report")
    result.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    return run("bispik-run", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    mapped = load_program(options.program)
    ids = (
        encode(mapped.program.tokenizer, options.prompt, "the prompt")
        if options.tokens is None
        else read_ids(options.tokens)
    )

    def show(piece: str) -> None:
        if not options.json:
            print(piece, end="", flush=True)

    trace = run_program(
        mapped,
        options.backend,
        ids.tolist(),
        options.max_new_tokens,
        Sampler(options.temperature, options.top_k, options.seed),
        show,
    )
    show("\n")
    counts = count_events(mapped, trace.activity)
    if options.trace:
        save_trace(trace, options.trace)
    if options.json:
        print_json(
            {
                "backend": trace.backend,
                "execution_mode": trace.execution_mode,
                "text": trace.text,
                "tokens": trace.activity.token_ids.tolist(),
                "spikes": counts.total("spike"),
                "counts": counts.to_dict(),
                "seconds": trace.seconds,
            }
        )
    else:
        console().print(
            f"{trace.execution_mode}; {counts.tokens} tokens, {counts.total('spike'):,} spikes, "
            f"{counts.synops:,} synops, {trace.seconds:.1f} s",
            style="dim",
        )
    return 0
