"""The Lava backend against the straightforward graph: a Process a layer, each an operating-system process of Lava's."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager

import numpy as np

from benchmarks.decode import milliseconds_of
from benchmarks.example import compiled_example, held_out
from benchmarks.measure import Line, Turn, progress, take_turns, timed
from benchmarks.sizes import Sizes
from bispik.backends.lava.network import build_network, run_configuration
from bispik.backends.lava.runtime import nothing_registered
from bispik.backends.lava.session import LavaSession
from bispik.backends.lava.tape import Tape
from bispik.backends.lava.vendor import RunSteps
from bispik.compiler.program import QuantizedProgram
from bispik.compiler.schedule import skews

GOAL = 0.5
"""Of the straightforward graph's time for a step."""


def lava(sizes: Sizes, _rng: np.random.Generator) -> list[Line]:
    """Time per step of the example network."""
    with compiled_example() as (mapped, _):
        return against_lavas_runtime(mapped.program, held_out(mapped, sizes.example_tokens), sizes)


def against_lavas_runtime(program: QuantizedProgram, ids: list[int], sizes: Sizes) -> list[Line]:
    """Both ways taking turns on the same tokens."""
    few = sizes.lava_tokens
    rounds = min(sizes.lava_rounds, len(ids) // few - 1)
    lines: list[Line] = []
    for populations_whole, what in (
        (True, "one Process a layer"),
        (False, "Lava's `Dense` and neurons for each layer"),
    ):
        progress(f"lava: {what}")
        with (
            closing(LavaSession(program)) as session,
            straightforward(program, Tape(program, ()), populations_whole) as (plain, processes),
        ):
            ours, theirs = _Tokens(session.feed, ids, few), _Tokens(plain, ids, few)
            steps = steps_of(program, few)
            turns: dict[str, Turn] = {"ours": timed(ours.next, steps), "straightforward": timed(theirs.next, steps)}
            times = take_turns(turns, rounds)
            workers = session.workers
        lines.append(
            Line(
                part="lava",
                name=f"example network, time per step on Lava, of that of {what} on Lava's own runtime",
                value=times["ours"].best / times["straightforward"].best,
                unit="×",
                goal=GOAL if populations_whole else None,
                at_most=True,
                note=f"fastest turns: {1e3 * times['ours'].best:.2f} ms in {workers} operating-system processes, "
                f"{1e3 * times['straightforward'].best:.2f} ms in {processes}",
                details=milliseconds_of(times),
            )
        )
    return lines


class _Tokens:
    """Hands the next tokens of a text to a function."""

    def __init__(self, feed: Callable[[list[int]], object], ids: list[int], few: int) -> None:
        self._feed, self._ids, self._few, self._place = feed, ids, few, 0

    def next(self) -> None:
        self._feed(self._ids[self._place : self._place + self._few])
        self._place += self._few


def steps_of(program: QuantizedProgram, tokens: int) -> int:
    """Return how many steps a feed takes: until the last token has left the network, in whole windows of a token."""
    steps = program.steps_per_token
    return -(-(tokens * steps + max(skews(program).values())) // steps) * steps


@contextmanager
def straightforward(
    program: QuantizedProgram, tape: Tape, populations_whole: bool
) -> Generator[tuple[Callable[[list[int]], object], int]]:
    """Start the same Processes with nothing of ours but their models.

    Yields what feeds them tokens, and the number of operating-system processes.
    """
    configuration, entry = run_configuration(not populations_whole), program.injection
    with nothing_registered():
        process = build_network(program, tape)[entry.name]
        process.create_runtime(run_cfg=configuration)
    step = position = 0

    def feed(ids: list[int]) -> None:
        nonlocal step, position
        table = entry.token_table[ids].astype(np.int32) + entry.position_table[position : position + len(ids)]
        gains = np.array(entry.step_gain, np.int32)
        tape.begin(step, (table[:, None, :] * gains[:, None]).reshape(-1, entry.size))
        steps = steps_of(program, len(ids))
        process.run(RunSteps(num_steps=steps, blocking=True), configuration)
        step, position = step + steps, position + len(ids)

    try:
        yield feed, len(process.runtime._messaging_infrastructure.actors)
    finally:
        process.stop()
