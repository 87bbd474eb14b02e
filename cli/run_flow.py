"""The way of ``bispik-run``: prompts to requests, run here or by workers, shown as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bispik.backends.many import Workers, map_sequences
from bispik.backends.registry import RunOptions
from bispik.backends.run import Request, Sampling, SequenceRun, run_sequence
from bispik.backends.together import run_together
from bispik.backends.trace import writing_trace
from bispik.cli.text import TextStream, encode, read_ids
from bispik.compiler.mapping import MappedProgram
from bispik.models.errors import BispikError
from bispik.models.files import read_text

Write = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What the user asks for."""

    program: Path
    prompts: tuple[str, ...]
    """In words; empty if there is a file."""
    prompts_file: Path | None
    tokens_file: Path | None
    max_new_tokens: int
    sampling: Sampling
    backend: str
    options: RunOptions
    workers: Workers
    trace: Path | None
    probes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.probes and self.trace is None:
            raise BispikError("--probe records membranes in a trace; give --trace FILE")
        if self.trace is not None and self.workers.elsewhere:
            raise BispikError("--trace is written while this process runs the sequence; leave out --jobs and --dask")


def requests(asked: RunRequest, mapped: MappedProgram) -> tuple[Request, ...]:
    """Return the sequences to run; each has a random stream of its own, by its place.

    Raises:
        BispikError: if a prompt cannot be read or is empty, or several are to be traced into one file.
    """
    tokenizer = mapped.program.tokenizer
    if asked.tokens_file is not None:
        prompts = [read_ids(asked.tokens_file)]
    elif asked.prompts_file is not None:
        named = enumerate(read_prompts(asked.prompts_file), start=1)
        prompts = [encode(tokenizer, text, f"{asked.prompts_file}: prompt {number}") for number, text in named]
    else:
        named = enumerate(asked.prompts, start=1)
        many = len(asked.prompts) > 1
        prompts = [encode(tokenizer, text, f"prompt {n}" if many else "the prompt") for n, text in named]
    if asked.trace is not None and len(prompts) > 1:
        raise BispikError(f"--trace records one sequence; {len(prompts)} prompts are given")
    return tuple(
        Request(prompt=tuple(ids.tolist()), max_new_tokens=asked.max_new_tokens, sampling=asked.sampling, stream=index)
        for index, ids in enumerate(prompts)
    )


def read_prompts(path: Path) -> list[str]:
    """Read JSON lines: each a text, or an object with the text under ``prompt``.

    Raises:
        BispikError: naming the line that is neither, or if there is none.
    """
    prompts: list[str] = []
    for number, line in enumerate(read_text(path, "prompts").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BispikError(f"{path}, line {number}: not JSON: {error}") from error
        prompt = value.get("prompt") if isinstance(value, dict) else value
        if not isinstance(prompt, str):
            raise BispikError(f'{path}, line {number}: give a JSON text, or an object {{"prompt": text}}')
        prompts.append(prompt)
    if not prompts:
        raise BispikError(f"{path}: holds no prompt")
    return prompts


def run_all(
    asked: RunRequest, mapped: MappedProgram, sequences: Sequence[Request], write: Write
) -> Iterator[SequenceRun]:
    """Yield the run of each sequence, in order; ``write`` receives texts as they come, a line end behind each.

    Raises:
        BispikError: as `bispik.backends.run.run_sequence` and `bispik.backends.many.map_sequences`.
    """
    if not asked.workers.elsewhere and asked.backend == "sim" and len(sequences) > 1:
        for run in run_together(mapped, sequences, asked.options):
            write(TextStream(mapped.program.tokenizer).text(run.token_ids.tolist()) + "\n")
            yield run
        return
    if not asked.workers.elsewhere:
        for request in sequences:
            yield _run_here(asked, mapped, request, write)
        return
    work = partial(run_sequence, backend=asked.backend, options=asked.options)
    for run in map_sequences(work, asked.program, sequences, asked.workers):
        write(TextStream(mapped.program.tokenizer).text(run.token_ids.tolist()) + "\n")
        yield run


def _run_here(asked: RunRequest, mapped: MappedProgram, request: Request, write: Write) -> SequenceRun:
    stream = TextStream(mapped.program.tokenizer)
    with ExitStack() as stack:
        trace = stack.enter_context(writing_trace(asked.trace, mapped, asked.backend)) if asked.trace else None
        run = run_sequence(
            mapped,
            request,
            asked.backend,
            asked.options,
            probes=asked.probes,
            see_tokens=lambda tokens: write(stream.advance(tokens)),
            see_activity=trace.append if trace else None,
        )
        write(stream.finish(run.token_ids.tolist()) + "\n")
        if trace:
            trace.close(run)
    return run
