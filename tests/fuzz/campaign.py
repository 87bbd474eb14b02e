"""Cases shared out among worker processes, and what became of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bispik.compiler.hdf5_guard import require_readable
from bispik.models.errors import BispikError
from tests.fuzz.kinds import KINDS
from tests.fuzz.worker import damaged_copy

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "RUST_BACKTRACE": "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A case that did not end well; ``python -m tests.fuzz.worker SEEDS WORK KIND:NUMBER:NUMBER+1`` repeats it."""

    kind: str
    number: int
    what: str


def shares(cases: int) -> dict[str, int]:
    """Share cases out among kinds, at least as many as asked for."""
    whole = sum(kind.share for kind in KINDS.values())
    return {name: -(-cases * kind.share // whole) for name, kind in KINDS.items()}


def unguarded_faults(seeds: Path, work: Path, cases: Mapping[str, int]) -> list[Fault]:
    """Run the first cases of some kinds; of HDF5 files, leave out what the guard refuses before they are read."""
    return [
        fault
        for fault in faults(seeds, work, cases)
        if not (KINDS[fault.kind].is_hdf5 and _is_refused(seeds, work, fault))
    ]


def _is_refused(seeds: Path, work: Path, fault: Fault) -> bool:
    kind = KINDS[fault.kind]
    _, damaged = damaged_copy(kind, fault.kind, fault.number, seeds / fault.kind)
    copy = work / f"{fault.number}-{kind.opened}"
    copy.write_bytes(damaged)
    try:
        require_readable(copy, seconds=3)
    except BispikError:
        return True
    finally:
        copy.unlink()
    return False


def faults(seeds: Path, work: Path, cases: Mapping[str, int]) -> Iterator[Fault]:
    """Run the first cases of some kinds; a worker that ends before its time is followed by another."""
    begun = dict.fromkeys(cases, -1)
    while jobs := [f"{kind}:{begun[kind] + 1}:{stop}" for kind, stop in cases.items() if begun[kind] + 1 < stop]:
        command = [sys.executable, "-m", "tests.fuzz.worker", str(seeds), str(work), *jobs]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT},
        ) as worker:
            assert worker.stdout is not None
            kind, told = "", ""
            for line in worker.stdout:
                told = line.rstrip()
                name, _, number = told.partition(":")
                if name in cases and number.isdigit():
                    kind, begun[name] = name, int(number)
                elif told.startswith("fault "):
                    yield Fault(kind=kind, number=begun[kind], what=told.removeprefix("fault "))
        if told == "end":
            return
        if not kind:
            raise RuntimeError(f"the worker does not start: {told}")
        yield Fault(kind=kind, number=begun[kind], what=f"ended the process: {_ended_by(worker.returncode)}: {told}")


def _ended_by(code: int) -> str:
    if -code in (signal.SIGALRM, signal.SIGPROF):
        return "it hung"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
