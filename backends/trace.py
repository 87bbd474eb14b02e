"""A run on disk: what ran, on what, and everything that happened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bispik.backends.activity import Activity, check_activity
from bispik.compiler.artifact import Format, check_mapped, load, save
from bispik.compiler.mapping import MappedProgram

TRACE = Format(name="bispik-trace", version="2", what="trace of a run")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunTrace:
    """One sequence on one backend, with the mapped program that ran, so that an account needs nothing else."""

    mapped: MappedProgram
    backend: str
    execution_mode: str
    prompt_tokens: int
    activity: Activity
    text: str
    """Prompt and continuation; empty if the program has no tokeniser."""
    seconds: float
    """Wall time of the run."""


def save_trace(trace: RunTrace, path: Path) -> None:
    """Write a trace."""
    save(trace, TRACE, path)


def load_trace(path: Path) -> RunTrace:
    """Read a trace.

    Raises:
        BispikError: if the file is missing, no trace, of another version, altered or inconsistent.
    """
    trace = load(RunTrace, TRACE, path)
    check_mapped(trace.mapped, str(path))
    check_activity(trace.mapped.program, trace.activity, str(path))
    return trace
