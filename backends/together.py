"""Several sequences side by side on the fast simulator: each weight that is read serves all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from bispik.backends.activity import Reading, checked_tokens
from bispik.backends.counted import ChunkCounter
from bispik.backends.counts import EventCounter
from bispik.backends.counts.chunk import CountedChunk
from bispik.backends.host import logits
from bispik.backends.registry import RunOptions
from bispik.backends.run import PROMPT_TOKENS, Request, SequenceRun, run_sequence
from bispik.compiler.mapping import MappedProgram


def run_together(
    mapped: MappedProgram,
    requests: Sequence[Request],
    options: RunOptions,
    step: Callable[[int], None] = lambda _tokens: None,
) -> list[SequenceRun]:
    """Run prompts and continue them, all at once; each gives the tokens and counts that it would give alone.

    Membranes that saturate are counted for all sequences together, with the first that runs.

    Args:
        mapped: the program on its neurocores.
        requests: the sequences.
        options: how the simulator uses the machine.
        step: called with the number of tokens that were run, whenever some were.

    Raises:
        BispikError: if a prompt is empty or does not fit the window.
    """
    from bispik.backends.sim.batch import SimBatch
    from bispik.backends.sim.session import NativeDemands

    if mapped.parts:  # their sums are not among what the engine counts: see `open_counted`
        alone = [run_sequence(mapped, request, "sim", options) for request in requests]
        step(sum(len(run.token_ids) for run in alone))
        return alone
    started = time.perf_counter()
    program = mapped.program
    for request in requests:
        checked_tokens(program, request.prompt, 0)
    batch = SimBatch(program, len(requests), threads=options.threads or 1)
    going = [_Going(mapped, request) for request in requests]
    wanted = NativeDemands(batch.native, going[0].counted.counter.demands)
    while any(one.waiting for one in going):
        turns = [one.turn() for one in going]
        for one, found in zip(going, batch.read_counted(turns, wanted), strict=True):
            if found is not None:
                one.read(*found)
        step(sum(len(turn) for turn in turns if turn is not None))
    seconds = time.perf_counter() - started
    return [one.finish(batch.execution_mode, seconds) for one in going]


class _Going:
    """One of the sequences: what is to be run of it, and what was."""

    def __init__(self, mapped: MappedProgram, request: Request) -> None:
        self.program, self.request = mapped.program, request
        self.counted = ChunkCounter(EventCounter(mapped))
        self.sampler = request.sampling.sampler(request.stream)
        self.waiting = list(request.prompt)
        self.room = min(request.max_new_tokens, mapped.program.window - len(request.prompt))
        self.tokens: list[int] = []

    def turn(self) -> list[int] | None:
        """Return the tokens to run next; None if there are none."""
        turn, self.waiting = self.waiting[:PROMPT_TOKENS], self.waiting[PROMPT_TOKENS:]
        self.tokens += turn
        return turn or None

    def read(self, reading: Reading, chunk: CountedChunk) -> None:
        """Take what was read, and choose the next token if all of the prompt has been run."""
        self.counted.add(chunk)
        if not self.waiting and self.room > 0:
            self.room -= 1
            self.waiting = [self.sampler.choose(logits(self.program, reading)[-1])]

    def finish(self, mode: str, seconds: float) -> SequenceRun:
        """Return the run."""
        return SequenceRun(
            backend="sim",
            execution_mode=mode,
            prompt_tokens=len(self.request.prompt),
            token_ids=np.array(self.tokens, np.int64),
            counts=self.counted.counts(),
            seconds=seconds,
        )
