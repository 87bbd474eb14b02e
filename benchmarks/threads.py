"""Two threads against one: the same bits, how much faster, and how much slower when the cores are busy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np

from benchmarks.decode import TYPICAL_RATE, milliseconds_of
from benchmarks.engine import Runner, Spikes
from benchmarks.machine import pinned
from benchmarks.measure import Line, Times, progress, take_turns
from benchmarks.shapes import Stack, random_model, stack
from benchmarks.sizes import Sizes
from bispik.backends.sim.kernel_path import chosen_path

STEPS = 4
SLOWDOWN_MAX = 1.5
BUSY = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile os.getppid() == int(sys.argv[2]): pass"


def two_threads(sizes: Sizes, rng: np.random.Generator) -> list[Line]:
    """Decode and prefill on two cores.

    Raises:
        AssertionError: if two threads compute other numbers than one.
    """
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        note = "not measured: this process may use one core only"
        return [Line(part="threads", name="two threads", value=None, unit="×", note=note)]
    lines: list[Line] = []
    with pinned(0, 1), random_model(sizes.opt, rng) as model:
        built = stack(model, STEPS, sizes.window)
        one = [built.spikes(rng, 1, STEPS, TYPICAL_RATE) for _ in range(sizes.burst)]
        many = [built.spikes(rng, sizes.prefill_tokens, STEPS, TYPICAL_RATE)]
        for name, feed in (("decode", one), (f"prefill, {sizes.prefill_tokens} tokens", many)):
            progress(f"threads: {name}")
            quiet = _compare(built, feed, sizes.rounds)
            speed = quiet["one"].best / quiet["two"].best
            lines.append(
                Line(
                    part="threads",
                    name=f"two threads against one, {name}: the same bits",
                    value=speed,
                    unit="×",
                    details=milliseconds_of(quiet),
                )
            )
            with busy_cores():
                loaded = _compare(built, feed, sizes.load_rounds if feed is one else sizes.rounds)
            slowdown = loaded["two"].mean / loaded["one"].mean
            lines.append(
                Line(
                    part="threads",
                    name=f"two threads under load against one under the same load, {name}: time",
                    value=slowdown,
                    unit="×",
                    goal=SLOWDOWN_MAX,
                    at_most=True,
                    note="means, a busy process on each core",
                    details=milliseconds_of(loaded),
                )
            )
    return lines


def _compare(built: Stack, feed: list[Spikes], rounds: int) -> dict[str, Times]:
    runners = {"one": Runner(built, chosen_path()), "two": Runner(built, chosen_path(), threads=2)}
    times = take_turns({name: runner.turn(feed) for name, runner in runners.items()}, rounds)
    first, second = (runner.accumulators for runner in runners.values())
    assert first is not None
    assert second is not None
    assert np.array_equal(first, second), "two threads computed something else than one"
    return times


@contextmanager
def busy_cores() -> Generator[None]:
    """Keep every core that this process may use busy with a process of its own."""
    cores = sorted(os.sched_getaffinity(0))
    arguments = [[sys.executable, "-c", BUSY, str(core), str(os.getpid())] for core in cores]
    running = [subprocess.Popen(argument) for argument in arguments]
    try:
        yield
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()
