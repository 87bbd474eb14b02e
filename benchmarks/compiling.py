"""What a compile takes: wall time by stage, peak resident memory, neurocores, for networks of several sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Line, progress
from benchmarks.random_checkpoint import write_checkpoint
from benchmarks.shapes import Shape
from benchmarks.sizes import Sizes
from bispik.models.errors import BispikError, first_line

EXAMPLE = Path(__file__).parent.parent / "examples" / "kjv_shakespeare"

SECONDS = {"125M": 60.0, "350M": 150.0, "1.3B": 480.0}
GIGABYTES = {"125M": 1.5, "350M": 2.5, "1.3B": 4.0}
NEUROCORES = 1.08
"""Of the lower bound, at most."""
RANDOM, SEQUENTIAL = 0.25, 0.8
"""Links that messages pass, hops and links between chips, over those of a random and of the sequential placement."""
SPREAD = 1.3
"""Most that time or memory per parameter may differ between the sizes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """One run of ``bispik-compile`` in a process of its own."""

    shape: Shape
    parameters: int
    peak_bytes: int
    """Largest resident memory, files that are mapped included."""
    processor_seconds: float
    values: dict[str, Any]
    """What it printed."""

    @property
    def seconds(self) -> float:
        """Wall time of all stages."""
        return float(sum(self.values["seconds"].values()))

    def lines(self) -> list[Line]:
        """Time, memory, neurocores, ways of messages and time on the chips, with details."""
        name, mapping, compared = self.shape.name, self.values["mapping"], self.values["quantization"]["tokens"]
        bound = mapping["neurocores_lower_bound"]
        return [
            Line(
                part="compiler",
                name=f"whole compile, {name}",
                value=self.seconds,
                unit="s",
                goal=SECONDS.get(name),
                at_most=True,
                note=f"{self.processor_seconds:.0f} s of processor time; {compared:,} held-out tokens compared",
                details={"seconds": self.values["seconds"], "processor_seconds": self.processor_seconds},
            ),
            Line(
                part="compiler",
                name=f"peak resident memory, {name}",
                value=self.peak_bytes / 1e9,
                unit="GB",
                goal=GIGABYTES.get(name),
                at_most=True,
                note=f"{self.parameters / 1e6:,.1f} M parameters in half precision",
                details={"peak_bytes": self.values["peak_bytes"], "parameters": self.parameters},
            ),
            Line(
                part="compiler",
                name=f"neurocores against the lower bound, {name}",
                value=mapping["neurocores"] / bound,
                unit="×",
                goal=NEUROCORES,
                at_most=True,
                note=f"{mapping['neurocores']:,} of at least {bound:,}, {mapping['system']}",
            ),
            *self.placement_lines(),
            *self.time_lines(),
        ]

    def placement_lines(self) -> list[Line]:
        """How far messages go, at the traffic of the run that the compile counted, beside two other placements."""
        name, found = self.shape.name, self.values["placement"]
        between = found["busiest_link_between_chips"] or {"messages_per_step": 0.0}
        within = found["busiest_link"] or {"messages_per_step": 0.0}
        note = (
            f"{found['messages_per_step']:,.0f} messages a step, {found['inter_chip_messages_per_step']:,.0f} to other "
            f"chips; busiest link {within['messages_per_step']:,.0f}, between chips {between['messages_per_step']:,.0f}"
        )
        alone, ordered = "not measured: nothing leaves its router", "hops and links between chips alike; the same chips"
        return [
            Line(
                part="compiler",
                name=f"traffic-weighted hops against a random placement, {name}",
                value=found["links_against_random"],
                unit="×",
                goal=RANDOM,
                at_most=True,
                note=alone if found["links_against_random"] is None else note,
                details=found,
            ),
            Line(
                part="compiler",
                name=f"traffic-weighted hops against the sequential placement, {name}",
                value=found["links_against_sequential"],
                unit="×",
                goal=SEQUENTIAL,
                at_most=True,
                note=alone if found["links_against_sequential"] is None else ordered,
            ),
        ]

    def time_lines(self) -> list[Line]:
        """How long a token lasts on the chips, by the latency model."""
        lines: list[Line] = []
        for run, found in self.values["time"].items():
            limit = found["limited_by"]
            waits = (
                f"{100 * found['waits_for'][limit]:.0f}% of it for {limit.replace('_', ' ')}" if limit else "unknown"
            )
            lines.append(
                Line(
                    part="compiler",
                    name=f"{run} on the chips, modelled, a token of {self.shape.name}",
                    value=1e3 * found["seconds_per_token"]["default"],
                    unit="ms",
                    note=f"{1e6 * found['seconds_per_step']:.1f} µs a step; {waits}",
                    details=found,
                )
            )
        return lines


def compiling(sizes: Sizes, _rng: np.random.Generator) -> list[Line]:
    """Compile networks of an OPT shape with random weights, and compare what a parameter takes."""
    done: list[Compilation] = []
    for shape in sizes.compiled:
        with tempfile.TemporaryDirectory(prefix="bispik-bench-") as folder:
            progress(f"{shape.name}: writing a checkpoint")
            checkpoint = write_checkpoint(shape, sizes.window, Path(folder) / "checkpoint")
            progress(f"{shape.name}: compiling")
            done.append(compiled(checkpoint, shape, sizes.compiled_window, Path(folder) / "out"))
    lines = [line for compilation in done for line in compilation.lines()]
    if len(done) > 1:
        names = f"{done[0].shape.name} to {done[-1].shape.name}"
        lines += [
            _spread(f"seconds per parameter, {names}", [c.seconds / c.parameters for c in done], 1e6, "µs"),
            _spread(f"bytes per parameter, {names}", [c.peak_bytes / c.parameters for c in done], 1.0, "bytes"),
        ]
    return lines


def compiled(checkpoint: Path, shape: Shape, window: int, out: Path) -> Compilation:
    """Compile a checkpoint with the example's tokeniser and texts.

    Raises:
        BispikError: if the command failed.
    """
    texts = ["--tokenizer", "tokenizer.json", "--calib", "calibration.txt", "--held-out", "heldout.txt"]
    command = [sys.executable, "-c", "import sys; from bispik.cli.compile import main; sys.exit(main())"]
    command += [str(checkpoint), *(word if word.startswith("--") else str(EXAMPLE / word) for word in texts)]
    command += ["--window", str(window), "--json", "-o", str(out)]
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as faults:
        child = subprocess.Popen(command, stdout=printed, stderr=faults)
        try:
            _, status, usage = os.wait4(child.pid, 0)  # what this child alone has used
        except BaseException:
            child.kill()
            child.wait()
            raise
        child.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        faults.seek(0)
        if child.returncode:
            raise BispikError(f"{shape.name}: the compile failed: {first_line(RuntimeError(faults.read()))}")
        values: dict[str, Any] = json.load(printed)
    return Compilation(
        shape=shape,
        parameters=int(values["model"]["parameters"]),
        peak_bytes=usage.ru_maxrss * 1024,
        processor_seconds=usage.ru_utime + usage.ru_stime,
        values=values,
    )


def _spread(name: str, values: list[float], factor: float, unit: str) -> Line:
    shown = ", ".join(f"{value * factor:.3g}" for value in values)
    return Line(
        part="compiler",
        name=name,
        value=max(values) / min(values),
        unit="×",
        goal=SPREAD,
        at_most=True,
        note=f"the largest against the least: {shown} {unit}",
    )
