"""Many tokens at once: linear layers and attention against PyTorch."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from benchmarks.decode import milliseconds_of
from benchmarks.engine import Runner
from benchmarks.machine import pinned
from benchmarks.measure import Line, progress, take_turns, timed
from benchmarks.shapes import Masks, attention_stack, random_model, stack
from benchmarks.sizes import Sizes
from benchmarks.torch_models import FloatStack, attention
from bispik.backends.sim.kernel_path import chosen_path

STEPS = 4
RATES = (0.10, 0.15)
ATTENTION_RATE = 0.15
LINEAR_GOALS = {True: 20.0, False: 6.0}
"""With and without AMX."""
ATTENTION_GOALS = {512: 70.0, 2048: 140.0}


def linears(sizes: Sizes, rng: np.random.Generator) -> list[Line]:
    """Linear layers and their neurons; PyTorch in the faster of two ways."""
    lines: list[Line] = []
    tokens, path = sizes.prefill_tokens, chosen_path()
    with pinned(0), random_model(sizes.opt, rng) as model:
        built = stack(model, STEPS, sizes.window, head=False)
        floats = FloatStack(sizes.opt, STEPS, head=False)
        for rate in RATES:
            progress(f"prefill: {rate:.0%}")
            spikes = floats.spikes(tokens, rate)
            turns = {
                "sim": Runner(built, path).turn([built.spikes(rng, tokens, STEPS, rate)]),
                "steps as batch": timed(partial(floats.steps_as_batch, spikes)),
                "step by step": timed(partial(floats.step_by_step, spikes)),
            }
            times = take_turns(turns, sizes.few_rounds)
            fastest = min(("steps as batch", "step by step"), key=lambda name: times[name].best)
            lines.append(
                Line(
                    part="prefill",
                    name=f"prefill linears, {tokens} tokens, T = {STEPS}, {rate:.0%} firing ({path})",
                    value=times[fastest].best / times["sim"].best,
                    unit="×",
                    goal=LINEAR_GOALS[path == "amx"],
                    note=f"PyTorch: {fastest}",
                    details=milliseconds_of(times),
                )
            )
    return lines


def attentions(sizes: Sizes, rng: np.random.Generator) -> list[Line]:
    """Scores, score neurons and values of one block, over whole sequences."""
    lines: list[Line] = []
    with pinned(0):
        for length in sizes.lengths:
            progress(f"prefill: attention over {length} tokens")
            built = attention_stack(sizes.opt, STEPS, length)
            spikes = built.spikes(rng, length, STEPS, ATTENTION_RATE)
            query, key, value = (float_heads(masks, sizes.opt.heads) for _, masks in spikes)
            mask = torch.ones(length, length).tril()
            turns = {
                "sim": Runner(built, chosen_path()).turn([spikes]),
                "torch": timed(partial(attention, query, key, value, mask)),
            }
            times = take_turns(turns, sizes.few_rounds)
            lines.append(
                Line(
                    part="prefill",
                    name=f"prefill attention, L = {length:,}, T = {STEPS}, {ATTENTION_RATE:.0%} firing",
                    value=times["torch"].best / times["sim"].best,
                    unit="×",
                    goal=ATTENTION_GOALS.get(length),
                    details=milliseconds_of(times),
                )
            )
    return lines


def float_heads(masks: Masks, heads: int) -> torch.Tensor:
    """The same spikes as numbers: (steps, heads, tokens, head_dim)."""
    _, tokens, size = masks.shape
    steps = [(masks[0] >> step) & 1 for step in range(STEPS)]
    spikes = np.stack(steps).reshape(STEPS, tokens, heads, size // heads).transpose(0, 2, 1, 3)
    return torch.from_numpy(np.ascontiguousarray(spikes, np.float32))
