"""A large program from its file: how long until it runs, and the memory that it takes.

As a script, ``python -m benchmarks.opening PROGRAM`` is the process that is measured: it prints JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Line, progress
from benchmarks.shapes import Shape, random_model
from benchmarks.sizes import Sizes
from benchmarks.synthetic import spread, synthetic_program
from bispik.backends.sim import SimSession
from bispik.compiler.artifact import load_program, save_program
from bispik.compiler.program import IntegerPopulation, QuantizedProgram

ROOT = Path(__file__).parent.parent
STEPS = 4
TOKENS = 4
SECONDS_GOAL, MEMORY_GOAL = 2.0, 1.2
STATUS = ("VmRSS", "VmHWM")


def opening(sizes: Sizes, rng: np.random.Generator) -> list[Line]:
    """Write a program of the largest shape into a temporary folder, and open and run it in a process of its own."""
    shape = sizes.largest
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.bspk"
        progress(f"opening: writing a {shape.name} program")
        write_program(shape, sizes.window, path, rng)
        progress(f"opening: the {shape.name} program")
        command = [sys.executable, "-m", "benchmarks.opening", str(path)]
        runs = [json.loads(subprocess.check_output(command, cwd=ROOT)) for _ in range(2)]
    best = min(runs, key=lambda run: run["seconds"])
    ratio = max(run["resident_bytes"] / run["weight_bytes"] for run in runs)
    return [
        Line(
            part="opening",
            name=f"opening a {shape.name} program, until it is ready for the first token",
            value=best["seconds"],
            unit="s",
            goal=SECONDS_GOAL,
            at_most=True,
            note="checksum included, the file in the system's cache, all cores",
            details={"runs": runs},
        ),
        Line(
            part="opening",
            name=f"resident memory of a running {shape.name} program, all weights touched, against its weights",
            value=ratio,
            unit="×",
            goal=MEMORY_GOAL,
            at_most=True,
            note="the whole process, Python and libraries included",
        ),
    ]


def write_program(shape: Shape, window: int, path: Path, rng: np.random.Generator) -> None:
    """Write a synthetic program; its weights are never in memory twice."""
    with random_model(shape, rng) as model:
        save_program(spread(synthetic_program(model, STEPS, window, rng)), path)


def measure(path: Path) -> dict[str, Any]:
    """Open and run a program; seconds until it can run, bytes of weights and of resident memory."""
    started = time.perf_counter()
    program = load_program(path).program
    loaded = time.perf_counter() - started
    session = SimSession(program)
    seconds = time.perf_counter() - started
    before = _status()
    session.read(np.arange(TOKENS, dtype=np.int64) % program.readout.size)
    bytes_of_weights = 0
    for weight in _weights(program):
        weight.max()  # every page, also of rows that no token has needed yet
        bytes_of_weights += weight.nbytes
    after = _status()
    return {
        "seconds": seconds,
        "load_seconds": loaded,
        "weight_bytes": bytes_of_weights,
        "resident_bytes": after["VmHWM"],
        "resident_bytes_after_opening": before["VmRSS"],
    }


def _weights(program: QuantizedProgram) -> list[np.ndarray[Any, np.dtype[np.int8]]]:
    inputs = (projection for node in program.of_kind(IntegerPopulation) for projection in node.inputs)
    return [*(i.weight for i in inputs if i.weight is not None), program.readout.weight]


def _status() -> dict[str, int]:
    """Bytes of resident memory now and at most so far."""
    pairs = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {fields[0][:-1]: int(fields[1]) << 10 for fields in pairs if fields and fields[0][:-1] in STATUS}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
