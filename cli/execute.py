"""One run of a program, for the command lines that make one."""

from __future__ import annotations

from collections.abc import Sequence

from bispik.backends.registry import DEFAULTS
from bispik.backends.run import Request, Sampling, SequenceRun, run_sequence
from bispik.cli.text import TextStream
from bispik.compiler.mapping import MappedProgram
from bispik.models.errors import BispikError

GREEDY = Sampling()


def run_program(
    mapped: MappedProgram,
    backend: str,
    prompt: Sequence[int],
    max_new_tokens: int = 0,
    sampling: Sampling = GREEDY,
) -> SequenceRun:
    """Continue a prompt on a backend.

    Raises:
        BispikError: if the backend is not available, or the prompt is empty or does not fit the window.
    """
    check_new_tokens(max_new_tokens)
    request = Request(prompt=tuple(prompt), max_new_tokens=max_new_tokens, sampling=sampling)
    return run_sequence(mapped, request, backend, DEFAULTS)


def text_of(mapped: MappedProgram, run: SequenceRun) -> str:
    """Return prompt and continuation; empty if the program has no tokeniser."""
    tokenizer = mapped.program.tokenizer
    return TextStream(tokenizer).text(run.token_ids.tolist()) if tokenizer else ""


def check_new_tokens(number: int) -> None:
    """Refuse a negative number of new tokens."""
    if number < 0:
        raise BispikError(f"--max-new-tokens {number}: give 0 or more")
