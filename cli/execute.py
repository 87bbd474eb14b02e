"""One run of a program, for the command lines that make one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing

from bispik.backends.activity import Activity, joined
from bispik.backends.generate import generate
from bispik.backends.host import Sampler
from bispik.backends.registry import open_session
from bispik.backends.trace import RunTrace
from bispik.cli.text import decode
from bispik.compiler.mapping import MappedProgram
from bispik.models.errors import BispikError


def run_program(
    mapped: MappedProgram,
    backend: str,
    prompt: Sequence[int],
    max_new_tokens: int,
    sampler: Sampler,
    show: Callable[[str], None] = lambda _piece: None,
) -> RunTrace:
    """Continue a prompt on a backend; ``show`` receives the text piece by piece.

    Raises:
        BispikError: if the backend is not available, or the prompt is empty or does not fit the window.
    """
    check_new_tokens(max_new_tokens)
    program = mapped.program
    tokens: list[int] = []
    parts: list[Activity] = []
    shown = ""
    started = time.perf_counter()
    with closing(open_session(backend, program)) as session:
        for new, activity in generate(session, program, prompt, max_new_tokens, sampler):
            tokens += new
            parts.append(activity)
            text = decode(program.tokenizer, tokens)
            # A character of several bytes may still be incomplete: it is shown once it is whole.
            whole = text.rstrip("\ufffd")
            show(whole[len(shown) :])
            shown = whole
        mode = session.execution_mode
    return RunTrace(
        mapped=mapped,
        backend=backend,
        execution_mode=mode,
        prompt_tokens=len(prompt),
        activity=joined(parts),
        text=decode(program.tokenizer, tokens) if program.tokenizer else "",
        seconds=time.perf_counter() - started,
    )


def check_new_tokens(number: int) -> None:
    """Refuse a negative number of new tokens."""
    if number < 0:
        raise BispikError(f"--max-new-tokens {number}: give 0 or more")
