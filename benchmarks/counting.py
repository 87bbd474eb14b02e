"""What counts, recordings and traces add to the time of a run that only reads."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.machine import pinned
from benchmarks.measure import Line, Turn, progress, take_turns, timed
from benchmarks.shapes import random_model
from benchmarks.sizes import Sizes
from benchmarks.synthetic import spread, synthetic_program
from bispik.backends.counted import open_counted
from bispik.backends.counts.count import make_plan
from bispik.backends.registry import DEFAULTS
from bispik.backends.run import Request, run_sequence
from bispik.backends.sim import SimSession
from bispik.backends.trace import writing_trace
from bispik.compiler.mapping import MappedProgram

COUNTING_GOAL = 15.0
STEPS = 4


def counting(sizes: Sizes, rng: np.random.Generator) -> list[Line]:
    """A whole network of the OPT shape with random weights; its neurons spike at 20 to 40%."""
    with pinned(0), random_model(sizes.opt, rng) as model, tempfile.TemporaryDirectory() as folder:
        mapped = spread(synthetic_program(model, STEPS, sizes.window, rng))
        ids = rng.integers(sizes.opt.vocabulary, size=sizes.counted_tokens).tolist()
        return counting_costs(mapped, ids, f"OPT-{sizes.opt.name} shape", Path(folder), sizes)


def counting_costs(mapped: MappedProgram, ids: list[int], network: str, folder: Path, sizes: Sizes) -> list[Line]:
    """What counts, recordings and traces add to the time of a decode that only reads."""
    progress(f"counting: {network}")
    program = mapped.program

    def counted() -> None:
        session = open_counted("sim", mapped)
        for token in ids:
            session.read([token])
        session.counts()

    def counted_at_once() -> None:
        session = open_counted("sim", mapped)
        session.read(ids)
        session.counts()

    def recorded() -> None:
        session = SimSession(program)
        for token in ids:
            session.feed([token])

    def traced() -> None:
        with writing_trace(folder / "run.trace", mapped, "sim") as trace:
            request = Request(prompt=tuple(ids[:1]), max_new_tokens=len(ids) - 1)
            trace.close(run_sequence(mapped, request, "sim", DEFAULTS, see_activity=trace.append))

    tokens = len(ids)
    turns: dict[str, Turn] = {
        "read": decoding(mapped, ids),
        "counted": timed(counted, tokens),
        "recorded": timed(recorded, tokens),
        "traced": timed(traced, tokens),
        "read at once": timed(lambda: SimSession(program).read(ids), tokens),
        "counted at once": timed(counted_at_once, tokens),
        "planned": timed(lambda: make_plan(mapped)),
    }
    times = take_turns(turns, sizes.rounds)

    def cost(of: str, base: str, name: str, goal: float | None = None) -> Line:
        return Line(
            part="counting",
            name=name,
            value=100.0 * (times[of].best / times[base].best - 1.0),
            unit="%",
            goal=goal,
            at_most=True,
            note=f"{1e3 * times[of].best:.3f} ms per token, without {1e3 * times[base].best:.3f}",
        )

    return [
        cost("counted", "read", f"{network}: counting costs, decode token by token", COUNTING_GOAL),
        cost(
            "counted at once",
            "read at once",
            f"{network}: counting costs, {tokens} tokens at once",
            COUNTING_GOAL,
        ),
        Line(
            part="counting",
            name=f"{network}: plan of what is counted, made once for a mapping",
            value=1e3 * times["planned"].best,
            unit="ms",
        ),
        cost("recorded", "read", f"{network}: recording every spike costs, for comparison"),
        cost("traced", "read", f"{network}: choosing tokens, counting and a trace on disk cost, for comparison"),
    ]


def decoding(mapped: MappedProgram, ids: list[int]) -> Turn:
    """A new sequence, token by token; only what the host reads."""

    def run() -> None:
        session = SimSession(mapped.program)
        for token in ids:
            session.read([token])

    return timed(run, len(ids))
