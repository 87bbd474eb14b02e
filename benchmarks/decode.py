"""One token at a time: against PyTorch, against the memory's bandwidth, and against a dense int8 model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from statistics import fmean

import numpy as np

from benchmarks import llama
from benchmarks.engine import Runner, Spikes
from benchmarks.machine import pinned, read_memory
from benchmarks.measure import Line, Times, Turn, progress, take_turns, timed
from benchmarks.shapes import Model, Shape, Stack, random_model, stack
from benchmarks.sizes import Sizes
from benchmarks.torch_models import DenseInt8, FloatStack
from bispik.backends.sim.kernel_path import chosen_path

GOALS = {4: {0.10: 30.0, 0.15: 24.0, 0.30: 16.0, 0.45: 14.0}, 2: {0.10: 26.0, 0.15: 20.0, 0.30: 12.0, 0.45: 9.5}}
"""By time steps and firing rate: how many times faster than PyTorch."""
TYPICAL_RATE = 0.15
DENSE_RATE = 0.9
EVENT_DRIVEN_BELOW = 0.75
"""Share of rows that are touched from which on reading all of them is the faster way."""
EVENT_SHARE, DENSE_SHARE, LARGE_SHARE = 70.0, 85.0, 60.0
PORTABLE_GOAL, INT8_GOAL = 15.0, 3.5


def against_torch(sizes: Sizes, rng: np.random.Generator) -> list[Line]:
    """Linear layers and head, one thread, at several firing rates; portable kernels; shares of the bandwidth."""
    lines: list[Line] = []
    shares: list[tuple[float, float, str]] = []
    with pinned(0), random_model(sizes.opt, rng) as model:
        for steps, goals in GOALS.items():
            built, floats = stack(model, steps, sizes.window), FloatStack(sizes.opt, steps)
            for rate, goal in goals.items():
                progress(f"decode: T = {steps}, {rate:.0%}")
                feed = [built.spikes(rng, 1, steps, rate) for _ in range(sizes.burst)]
                spikes = floats.spikes(1, rate)
                turns: dict[str, Turn] = {
                    "sim": Runner(built, chosen_path()).turn(feed),
                    "read": read_memory(sizes.read_bytes),
                    "step by step": timed(partial(floats.step_by_step, spikes)),
                    "layer by layer": timed(partial(floats.layer_by_layer, spikes)),
                    "steps as batch": timed(partial(floats.steps_as_batch, spikes)),
                }
                if rate == TYPICAL_RATE:
                    turns["portable"] = Runner(built, "portable").turn(feed)
                times = take_turns(turns, sizes.rounds)
                name = f"T = {steps}, {rate:.0%} firing"
                share = bound_share(built, feed, times)
                shares.append((share, touched_share(built, feed, sizes.opt), name))
                lines.append(_ratio(f"decode, {name}", times, "sim", goal, share))
                if rate == TYPICAL_RATE:
                    portable = bound_share(built, feed, times, "portable")
                    lines.append(_ratio(f"portable kernels, {name}", times, "portable", PORTABLE_GOAL, portable))
        share, note = dense_share(model, sizes, rng)
    sparse = [(value, name) for value, touched, name in shares if touched < EVENT_DRIVEN_BELOW]
    if sparse:
        lowest, where = min(sparse)
        lines.append(_share(f"share of the bandwidth bound, event-driven (lowest: {where})", lowest, EVENT_SHARE))
    lines.append(_share(f"share of the bandwidth bound, dense ({note})", share, DENSE_SHARE))
    return lines


def dense_share(model: Model, sizes: Sizes, rng: np.random.Generator) -> tuple[float, str]:
    """Share of the bound where nearly every row is touched, percent."""
    built = stack(model, 4, sizes.window)
    feed = [built.spikes(rng, 1, 4, DENSE_RATE) for _ in range(sizes.burst)]
    turns = {"sim": Runner(built, chosen_path()).turn(feed), "read": read_memory(sizes.read_bytes)}
    return bound_share(built, feed, take_turns(turns, sizes.rounds)), f"T = 4, {DENSE_RATE:.0%} firing"


def larger_models(sizes: Sizes, rng: np.random.Generator) -> list[Line]:
    """Linear layers and head of the larger shapes as shares of the bound."""
    lines: list[Line] = []
    for shape in sizes.larger:
        progress(f"decode: {shape.name}")
        with pinned(0), random_model(shape, rng) as model:
            built = stack(model, 4, sizes.window)
            feed = [built.spikes(rng, 1, 4, TYPICAL_RATE) for _ in range(sizes.burst)]
            turns = {"sim": Runner(built, chosen_path()).turn(feed), "read": read_memory(sizes.read_bytes)}
            times = take_turns(turns, sizes.rounds)
            share, milliseconds = bound_share(built, feed, times), 1e3 * times["sim"].best
            name = f"{shape.name} decode, T = 4, {TYPICAL_RATE:.0%} firing: share of the bandwidth bound"
            lines.append(_share(name, share, LARGE_SHARE, f"{milliseconds:.1f} ms per token", {"sim_ms": milliseconds}))
    return lines


def against_dense_int8(sizes: Sizes, rng: np.random.Generator) -> list[Line]:
    """A whole decode step behind a context, attention and keys included, against dense models of the shape in int8."""
    progress("decode: dense int8 models")
    with ExitStack() as stay:
        stay.enter_context(pinned(0))
        model = stay.enter_context(random_model(sizes.opt, rng))
        built = stack(model, 4, sizes.window, attention=True)
        before = built.spikes(rng, sizes.context, 4, TYPICAL_RATE)
        feed = [built.spikes(rng, 1, 4, TYPICAL_RATE) for _ in range(sizes.burst)]
        # The context is run in every turn, without being timed.
        turns = {
            "sim": Runner(built, chosen_path()).turn(feed, before),
            "int8": DenseInt8(sizes.opt, sizes.context).turn(),
        }
        if not (missing := llama.why_not(sizes.opt)):
            turns["llama.cpp"] = stay.enter_context(llama.dense_q8(sizes.opt, sizes.context, rng))
        times = take_turns(turns, sizes.rounds)
    name = f"whole step, T = 4, {TYPICAL_RATE:.0%} firing, {sizes.context} stored tokens"
    return [
        Line(
            part="decode",
            name=f"{name}, against {other}",
            value=times[key].best / times["sim"].best if key in times else None,
            unit="×",
            goal=INT8_GOAL,
            note=missing if key not in times else "",
            details=milliseconds_of({key: times[key] for key in ("sim", key) if key in times}),
        )
        for key, other in (("int8", "torch int8 OPT"), ("llama.cpp", "llama.cpp Q8_0, GPT-2 of that shape"))
    ]


def touched_share(built: Stack, feed: Sequence[Spikes], shape: Shape) -> float:
    """Share of all weights whose input spikes in any step, mean over tokens."""
    return fmean(built.touched_bytes(spikes) for spikes in feed) / shape.weights


def bound_share(built: Stack, feed: Sequence[Spikes], times: dict[str, Times], name: str = "sim") -> float:
    """Time to read the touched weights at the memory's bandwidth as a share of the time that was taken, percent."""
    touched = fmean(built.touched_bytes(spikes) for spikes in feed)
    return 100.0 * touched * times["read"].best / times[name].best


def milliseconds_of(times: dict[str, Times]) -> dict[str, dict[str, float]]:
    """Fastest and median turn of everything that was timed, milliseconds."""
    return {
        name: {"best_ms": round(1e3 * t.best, 4), "median_ms": round(1e3 * t.median, 4)}
        for name, t in times.items()
        if name != "read"
    }


def _ratio(name: str, times: dict[str, Times], which: str, goal: float, share: float) -> Line:
    other = {key: times[key].best / times[which].best for key in ("layer by layer", "steps as batch")}
    return Line(
        part="decode",
        name=name,
        value=times["step by step"].best / times[which].best,
        unit="×",
        goal=goal,
        note=", ".join(f"{value:.1f} × against {key}" for key, value in other.items()),
        details={
            **milliseconds_of(times),
            "share_of_bound_percent": round(share, 1),
            "memory_read_gb_per_second": round(1e-9 / times["read"].best, 1),
        },
    )


def _share(name: str, share: float, goal: float, note: str = "", details: dict[str, float] | None = None) -> Line:
    return Line(part="decode", name=name, value=share, unit="%", goal=goal, note=note, details=details or {})
