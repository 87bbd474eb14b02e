"""``python -m benchmarks``: measure, print the table, write the results."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import compiling, counting, decode, example, lava, opening, prefill, quantising, streams, threads
from benchmarks.machine import describe, pinned, read_memory
from benchmarks.measure import Line, progress, take_turns
from benchmarks.report import BEGIN, BEGIN_COMPILER, END, END_COMPILER, table, write_page, write_results
from benchmarks.sizes import Sizes
from bispik.models.errors import BispikError

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
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
    "quantisation": (quantising.quantising,),
    "lava": (lava.lava,),
    "compiler": (compiling.compiling,),
}

COMPILER = {"compiler", "quantisation"}
"""Parts of ``compiler.json``; the others are those of ``simulator.json``."""


def measured(names: Iterable[str], sizes: Sizes) -> list[Line]:
    """Run some parts, each with the same random numbers whatever else runs."""
    with torch.inference_mode():
        return [line for name in names for part in PARTS[name] for line in part(sizes, np.random.default_rng(0))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; a results file is written if all that it holds was measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="How fast the simulator is, and what a compile takes."
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(PARTS),
        metavar="NAME",
        help=f"one part, again for more: {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--size",
        action="append",
        choices=[shape.name for shape in Sizes().compiled],
        metavar="NAME",
        help="compile only networks of this size, again for more (default: 10M, 125M, 350M, 1.3B)",
    )
    options = parser.parse_args(arguments)
    chosen, sizes = set(options.only or PARTS), Sizes()
    if options.size:
        sizes = replace(sizes, compiled=tuple(shape for shape in sizes.compiled if shape.name in options.size))
    torch.set_num_threads(1)
    try:
        with pinned(0):
            progress("memory bandwidth")
            read = take_turns({"read": read_memory(sizes.read_bytes)}, sizes.rounds)["read"].best
        machine = describe(1 / read, sizes.read_bytes)
        lines = measured([name for name in PARTS if name in chosen], sizes)
    except BispikError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    print(table(lines))
    if chosen >= PARTS.keys() - COMPILER:
        _write(machine, [line for line in lines if line.part not in COMPILER], "simulator", (BEGIN, END))
    if chosen >= COMPILER and not options.size:
        _write(machine, [line for line in lines if line.part in COMPILER], "compiler", (BEGIN_COMPILER, END_COMPILER))
    return 0


def _write(machine: dict[str, Any], lines: Sequence[Line], name: str, marks: tuple[str, str]) -> None:
    results = RESULTS / f"{name}.json"
    write_results(machine, lines, results)
    write_page(machine, lines, PAGE, *marks)
    print(f"written: {os.path.relpath(results)} and {os.path.relpath(PAGE)}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
