"""The example network, decoded token by token: sim against Lava, and what counting costs."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np

from benchmarks.counting import counting_costs, decoding
from benchmarks.decode import milliseconds_of
from benchmarks.machine import pinned
from benchmarks.measure import Line, progress, take_turns, timed
from benchmarks.sizes import Sizes
from bispik.backends.registry import open_session
from bispik.cli.compile import main as compile_main
from bispik.cli.text import encode
from bispik.compiler.artifact import load_program
from bispik.compiler.mapping import MappedProgram

EXAMPLE = Path(__file__).parent.parent / "examples" / "kjv_shakespeare"
LAVA_GOAL = 500.0


def example(sizes: Sizes, _rng: np.random.Generator) -> list[Line]:
    """Compile the shipped checkpoint and measure it."""
    with compiled_example() as (mapped, folder):
        ids = held_out(mapped, sizes.example_tokens)
        with pinned(0):
            return [*counting_costs(mapped, ids, "example network", folder, sizes), *against_lava(mapped, ids, sizes)]


@contextmanager
def compiled_example() -> Generator[tuple[MappedProgram, Path]]:
    """Compile the shipped checkpoint; returns it and the folder, which goes with the block."""
    with tempfile.TemporaryDirectory() as name:
        progress("example: compiling the checkpoint")
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            status = compile_main([str(EXAMPLE / "checkpoint.pt"), "--target", "loihi2", "-o", name])
        if status != 0:
            raise RuntimeError(f"the example does not compile: bispik-compile gave {status}")
        yield load_program(Path(name) / "program.bspk"), Path(name)


def held_out(mapped: MappedProgram, tokens: int) -> list[int]:
    """Return the first tokens of the text that the example was not trained on."""
    text = (EXAMPLE / "heldout.txt").read_text()
    ids: list[int] = encode(mapped.program.tokenizer, text, "the held-out text")[:tokens].tolist()
    return ids


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
