"""The loop of one training stage: batches, learning rate, gradients, metrics, and going on after a kill.

What happens in step n follows from the seed, n and the state behind step n - 1 alone, so a run that was killed goes on
from its last saved state with the losses that it would have had.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bispik.models.bispikclm.data import TokenText, random_batch
from bispik.models.bispikclm.processes import Processes
from bispik.models.bispikclm.resume import Progress, TrainingState
from bispik.models.bispikclm.run_config import Stage, TrainingRun
from bispik.models.errors import BispikError

Report = Callable[[dict[str, Any]], None]
"""Receives one line of metrics as plain values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a stage optimises."""

    module: nn.Module
    """All that is trained; saved and restored with the stage's state."""
    terms: Callable[[Tensor], dict[str, Tensor]]
    """Maps token ids (batch, tokens + 1) to scalars; ``loss`` is minimised, all are logged."""
    before: Callable[[int], None] = lambda _step: None
    """Called with the number of each step before it."""
    without_averaging: Callable[[], AbstractContextManager[None]] = nullcontext
    """Gradients of all parts of a batch but the last are made inside this: processes average once a step."""
    evaluate: Callable[[], dict[str, Any]] = dict
    """Returns metrics of the network as it stands; called every ``evaluate_every`` steps and not behind the last."""


def learning_rate(stage: Stage, step: int) -> float:
    """Linear warm-up from 0, then a cosine from the peak to ``final_share`` of it; ``step`` counts from 0."""
    if step < stage.warmup:
        return stage.learning_rate * (step + 1) / stage.warmup
    progress = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return stage.learning_rate * (stage.final_share + (1 - stage.final_share) * cosine)


def optimise(
    task: Task,
    text: TokenText,
    stage: Stage,
    run: TrainingRun,
    state: TrainingState,
    report: Report,
    processes: Processes,
) -> None:
    """Run one stage to its end, from the saved state if there is one.

    Every process draws the whole batch and takes its slice of each part. The first one evaluates, reports and saves.

    Raises:
        BispikError: if the loss or the gradient is no longer finite, the state cannot be read or written, or the
            processes cannot share a part of the batch.
    """
    processes.check_divides(stage.batch // stage.accumulate, f"{state.stage}: a part of the batch")
    optimizer = adamw(task.module, stage)
    done = state.load(task.module, optimizer)
    if processes.first:
        report({"stage": state.stage, "step": done.step, "event": "resumed" if done.step else "started"})
    started = time.monotonic() - done.seconds
    task.module.train()
    for step in range(done.step, stage.steps):
        task.before(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(stage, step)
        metrics = _step(task, _batch(text, stage, run, step), optimizer, stage, run, step, processes)
        if not processes.first:
            continue
        seconds = time.monotonic() - started
        if (step + 1) % stage.evaluate_every == 0 and step + 1 < stage.steps:
            metrics |= task.evaluate()
        tokens = (step + 1) * stage.batch * run.model.max_positions
        speed = {"tokens": tokens, "tokens_per_second": tokens / seconds}
        report({"stage": state.stage, "step": step + 1, **metrics, **speed})
        if (step + 1) % stage.save_every == 0 and step + 1 < stage.steps:
            state.save(task.module, optimizer, Progress(step=step + 1, seconds=time.monotonic() - started))


def adamw(module: nn.Module, stage: Stage) -> torch.optim.AdamW:
    """Return the optimiser; weight decay acts on matrices only: gains and biases are scales, not weights."""
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": stage.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.95), fused=True)


def _batch(text: TokenText, stage: Stage, run: TrainingRun, step: int) -> Tensor:
    generator = np.random.default_rng((run.seed, step))
    return torch.from_numpy(random_batch(text, stage.batch, run.model.max_positions, generator))


def _step(
    task: Task,
    ids: Tensor,
    optimizer: torch.optim.Optimizer,
    stage: Stage,
    run: TrainingRun,
    step: int,
    processes: Processes,
) -> dict[str, Any]:
    """Take one optimiser step; returns the terms, averaged over the parts of the batch and over all processes."""
    torch.manual_seed((run.seed + step + (processes.rank << 40)) % (1 << 63))  # dropout, another for each slice
    sums: dict[str, float] = {}
    parts = ids.chunk(stage.accumulate)
    for number, part in enumerate(parts, start=1):
        with task.without_averaging() if number < len(parts) else nullcontext():
            with torch.autocast(processes.device.type, torch.bfloat16, enabled=run.precision == "bfloat16"):
                terms = task.terms(processes.own_slice(part))
            (terms["loss"] / stage.accumulate).backward()  # type: ignore[no-untyped-call]
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + float(term.detach()) / stage.accumulate
    sums = processes.mean(sums)
    norm = float(nn.utils.clip_grad_norm_(task.module.parameters(), stage.gradient_clip))
    if not (math.isfinite(sums["loss"]) and math.isfinite(norm)):
        raise BispikError(f"step {step + 1}: the loss or its gradient is not finite; lower learning_rate")
    optimizer.step()
    optimizer.zero_grad()
    return {**sums, "gradient_norm": norm}
