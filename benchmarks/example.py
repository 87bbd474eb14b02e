"""The example network, decoded token by token: sim against Lava, and what counting and recording cost."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np

from benchmarks.decode import milliseconds_of
from benchmarks.machine import pinned
from benchmarks.measure import Line, Turn, progress, take_turns, timed
from benchmarks.sizes import Sizes
from bispik.backends.activity import Reading
from bispik.backends.counted import open_counted
from bispik.backends.registry import DEFAULTS, open_session
from bispik.backends.run import Request, run_sequence
from bispik.backends.sim import SimSession
from bispik.backends.trace import writing_trace
from bispik.cli.compile import main as compile_main
from bispik.cli.text import encode
from bispik.compiler.artifact import load_program
from bispik.compiler.mapping import MappedProgram

EXAMPLE = Path(__file__).parent.parent / "examples" / "kjv_shakespeare"
LAVA_GOAL, COUNTING_GOAL = 500.0, 15.0

Read = Callable[[Sequence[int]], Reading]


def example(sizes: Sizes, _rng: np.random.Generator) -> list[Line]:
    """Compile the shipped checkpoint and measure it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        progress("example: compiling the checkpoint")
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            status = compile_main([str(EXAMPLE / "checkpoint.pt"), "--target", "loihi2", "-o", name])
        if status != 0:
            raise RuntimeError(f"the example does not compile: bispik-compile gave {status}")
        mapped = load_program(folder / "program.bspk")
        text = (EXAMPLE / "heldout.txt").read_text()
        ids = encode(mapped.program.tokenizer, text, "the held-out text")[: sizes.example_tokens].tolist()
        with pinned(0):
            return [*counting(mapped, ids, folder, sizes), *against_lava(mapped, ids, sizes)]


def against_lava(mapped: MappedProgram, ids: list[int], sizes: Sizes) -> list[Line]:
    """Tokens per second of both backends. Lava goes on in one sequence, since starting one takes seconds."""
    progress("example: Lava")
    few = sizes.lava_tokens
    with closing(open_session("lava", mapped.program)) as session:
        place = 0

        def on_lava() -> None:
            nonlocal place
            for token in ids[place : place + few]:
                session.feed([token])
            place += few

        rounds = min(sizes.few_rounds, len(ids) // few - 1)
        times = take_turns({"sim": decoding(mapped, ids), "lava": timed(on_lava, few)}, rounds)
    speeds = {f"{name}_tokens_per_second": round(1 / t.best, 2) for name, t in times.items()}
    return [
        Line(
            part="example",
            name="example network, decode token by token, against Lava",
            value=times["lava"].best / times["sim"].best,
            unit="×",
            goal=LAVA_GOAL,
            note=", ".join(f"{name} {1 / t.best:,.1f} tokens/s" for name, t in times.items()),
            details={**milliseconds_of(times), **speeds},
        )
    ]


def counting(mapped: MappedProgram, ids: list[int], folder: Path, sizes: Sizes) -> list[Line]:
    """What counts, recordings and traces add to the time of a decode that only reads."""
    progress("example: counting")
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
    }
    times = take_turns(turns, sizes.rounds)

    def cost(of: str, base: str, name: str, goal: float | None = None) -> Line:
        return Line(
            part="example",
            name=name,
            value=100.0 * (times[of].best / times[base].best - 1.0),
            unit="%",
            goal=goal,
            at_most=True,
            note=f"{1e3 * times[of].best:.3f} ms per token, without {1e3 * times[base].best:.3f}",
        )

    return [
        cost("counted", "read", "example network: counting costs, decode token by token", COUNTING_GOAL),
        cost(
            "counted at once",
            "read at once",
            f"example network: counting costs, {tokens} tokens at once",
            COUNTING_GOAL,
        ),
        cost("recorded", "read", "example network: recording every spike costs, for comparison"),
        cost("traced", "read", "example network: choosing tokens, counting and a trace on disk cost, for comparison"),
    ]


def decoding(mapped: MappedProgram, ids: list[int]) -> Turn:
    """A new sequence, token by token; only what the host reads."""

    def run() -> None:
        session = SimSession(mapped.program)
        for token in ids:
            session.read([token])

    return timed(run, len(ids))
