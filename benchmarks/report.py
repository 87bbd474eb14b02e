"""What was measured, as JSON and as a Markdown table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.measure import Line
from bispik.models.files import read_text, written_whole

BEGIN, END = "<!-- measured: make bench writes from here -->", "<!-- measured: to here -->"
BEGIN_COMPILER, END_COMPILER = (mark.replace("measured", "compiler") for mark in (BEGIN, END))
MET = {True: "yes", False: "**no**", None: ""}


def write_results(machine: dict[str, Any], lines: Sequence[Line], path: Path) -> None:
    """Write everything that is known."""
    content = {"machine": machine, "lines": [{**asdict(line), "met": line.met} for line in lines]}
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_page(
    machine: dict[str, Any], lines: Sequence[Line], path: Path, begin_mark: str = BEGIN, end_mark: str = END
) -> None:
    """Put machine and table between two marks of a page.

    Raises:
        ValueError: if the page has no such marks.
    """
    before, begin, rest = read_text(path, "page").partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not begin or not end:
        raise ValueError(f"{path} has no place for the results: {begin_mark} and {end_mark}")
    with written_whole(path) as temporary:
        temporary.write_text(f"{before}{begin_mark}\n\n{machine_text(machine)}\n\n{table(lines)}\n\n{end_mark}{after}")


def machine_text(machine: dict[str, Any]) -> str:
    """One sentence about the machine."""
    vectors = [flag for flag in machine["cpu_flags"] if flag in {"avx2", "avx512_vnni", "amx_int8", "asimddp"}]
    cpu, caches = machine["cpu"], ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    return (
        f"{machine['date'][:10]}, {cpu['model name']} (family {cpu['cpu family']}, model {cpu['model']}; "
        f"{', '.join(vectors)}), {machine['cores']} cores, {caches}, "
        f"memory read at {1e-9 * machine['memory_read_bytes_per_second']:.1f} GB/s by one thread, "
        f"kernels `{machine['kernels']}`, PyTorch {machine['versions']['torch']}."
    )


def table(lines: Sequence[Line]) -> str:
    """A row per line."""
    rows = ["| | goal | measured | met | |", "|---|--:|--:|---|---|"]
    for line in lines:
        sign = "≤" if line.at_most else "≥"
        goal = "" if line.goal is None else f"{sign} {line.goal:g} {line.unit}"
        value = "–" if line.value is None else f"{line.value:,.2f} {line.unit}" if line.value < 10 else _large(line)
        rows.append(f"| {line.name} | {goal} | {value} | {MET[line.met]} | {line.note} |")
    return "\n".join(rows)


def _large(line: Line) -> str:
    return f"{line.value:,.1f} {line.unit}"
