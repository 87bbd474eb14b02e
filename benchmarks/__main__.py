"""``python -m benchmarks``: measure, print the table, write the results."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks import counting, decode, example, opening, prefill, streams, threads
from benchmarks.machine import describe, pinned, read_memory
from benchmarks.measure import Line, progress, take_turns
from benchmarks.report import table, write_page, write_results
from benchmarks.sizes import Sizes
from bispik.models.errors import BispikError

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "simulator.json"
PAGE = ROOT / "docs" / "performance.md"

Part = Callable[[Sizes, np.random.Generator], list[Line]]

PARTS: Mapping[str, tuple[Part, ...]] = {
    "decode": (decode.against_torch,),
    "int8": (decode.against_dense_int8,),
    "prefill": (prefill.linears, prefill.attentions),
    "larger": (decode.larger_models,),
    "opening": (opening.opening,),
    "threads": (threads.two_threads,),
    "counting": (counting.counting,),
    "streams": (streams.stream_programs,),
    "example": (example.example,),
}


def measured(names: Iterable[str], sizes: Sizes) -> list[Line]:
    """Run some parts, each with the same random numbers whatever else runs."""
    with torch.inference_mode():
        return [line for name in names for part in PARTS[name] for line in part(sizes, np.random.default_rng(0))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; with ``--only``, print and write nothing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast the simulator is.")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(PARTS),
        metavar="NAME",
        help=f"one part, again for more: {', '.join(PARTS)}",
    )
    chosen = parser.parse_args(arguments).only
    sizes = Sizes()
    torch.set_num_threads(1)
    try:
        with pinned(0):
            progress("memory bandwidth")
            read = take_turns({"read": read_memory(sizes.read_bytes)}, sizes.rounds)["read"].best
        machine = describe(1 / read, sizes.read_bytes)
        lines = measured(chosen or PARTS, sizes)
    except BispikError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    print(table(lines))
    if not chosen:
        write_results(machine, lines, RESULTS)
        write_page(machine, lines, PAGE)
        print(f"written: {os.path.relpath(RESULTS)} and {os.path.relpath(PAGE)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
