"""Training: an OPT teacher on text, then a spiking student distilled from it.

Student loss = w * temperature^2 * KL(teacher || student at that temperature) + (1 - w) * cross-entropy.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bispik.models.bispikclm.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bispik.models.bispikclm.data import TokenText, encode_file, load_tokenizer, random_batch, train_tokenizer
from bispik.models.bispikclm.evaluate import evaluate
from bispik.models.bispikclm.initial_rates import set_initial_rates
from bispik.models.bispikclm.model import BiSpikCLM, compile_neurons
from bispik.models.bispikclm.run_config import Stage, TrainingRun
from bispik.models.bispikclm.teacher import (
    build_teacher,
    load_teacher,
    save_teacher,
    teacher_bits_per_byte,
    teacher_embeddings,
    teacher_logits,
)
from bispik.models.errors import BispikError

Report = Callable[[dict[str, Any]], None]
"""Receives one line of metrics as plain values."""

QUICK_TOKENS = 16_384
"""Tokens of validation text in evaluations on the way; the last one takes all."""


def corpus(run: TrainingRun) -> tuple[TokenText, TokenText]:
    """Return the training and validation tokens; trains the tokeniser if its file is not there.

    Raises:
        BispikError: if a text is missing, empty or too short, or the tokeniser has more tokens than the model.
    """
    if run.tokenizer.exists():
        tokenizer = load_tokenizer(run.tokenizer)
    else:
        tokenizer = train_tokenizer(run.train_text, run.model.vocab_size, run.tokenizer)
    tokens = tokenizer.get_vocab_size()
    if tokens > run.model.vocab_size:
        raise BispikError(
            f"{run.tokenizer}: the tokeniser has {tokens} tokens, the model {run.model.vocab_size}; "
            "set vocab_size to match, or remove the file to train a new one"
        )
    train, validation = encode_file(tokenizer, run.train_text), encode_file(tokenizer, run.validation_text)
    if len(train.ids) <= run.model.max_positions:
        raise BispikError(
            f"{run.train_text}: {len(train.ids)} tokens; more than max_positions ({run.model.max_positions}) are needed"
        )
    return train, validation


def learning_rate(stage: Stage, step: int) -> float:
    """Linear warm-up from 0, then a cosine from the peak to a tenth of it."""
    if step < stage.warmup:
        return stage.learning_rate * (step + 1) / stage.warmup
    progress = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return stage.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def optimise(
    model: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    text: TokenText,
    stage: Stage,
    run: TrainingRun,
    after: Callable[[int, dict[str, Any]], None],
) -> None:
    """Run one stage; ``after`` is called behind each step with its metrics.

    Raises:
        BispikError: if the loss or the gradient is no longer finite.
    """
    # Weight decay on matrices only: gains and biases are scales, not weights.
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": stage.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.95), fused=True)
    generator = np.random.default_rng(run.seed)
    model.train()
    started = time.monotonic()
    for step in range(stage.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(stage, step)
        ids = torch.from_numpy(random_batch(text, stage.batch, run.model.max_positions, generator))
        with torch.autocast("cpu", torch.bfloat16, enabled=run.precision == "bfloat16"):
            loss = loss_of(ids)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(model.parameters(), stage.gradient_clip)
        if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
            raise BispikError(f"step {step + 1}: the loss or its gradient is not finite; lower learning_rate")
        optimizer.step()
        optimizer.zero_grad()
        tokens = (step + 1) * stage.batch * run.model.max_positions
        seconds = time.monotonic() - started
        metrics = {"step": step + 1, "tokens": tokens, "loss": loss.item(), "gradient_norm": float(norm)}
        after(step + 1, {**metrics, "tokens_per_second": tokens / seconds})


def train_teacher(run: TrainingRun, report: Report) -> None:
    """Train an OPT of the student's shape; when it is done it is saved in ``run.teacher_folder``."""
    torch.manual_seed(run.seed)
    train, validation = corpus(run)
    model = build_teacher(run.model, run.teacher.dropout)

    def loss_of(ids: Tensor) -> Tensor:
        logits = teacher_logits(model, ids[:, :-1])
        return functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())

    def after(step: int, metrics: dict[str, Any]) -> None:
        if step % run.teacher.evaluate_every == 0 or step == run.teacher.steps:
            metrics = {**metrics, "bits_per_byte": teacher_bits_per_byte(model, validation, run.model.max_positions)}
        report({"stage": "teacher", **metrics})

    optimise(model, loss_of, train, run.teacher, run, after)
    save_teacher(model, run.teacher_folder)


def train_student(run: TrainingRun, report: Report) -> None:
    """Distil a spiking student from the teacher and save it at ``run.checkpoint``, first at each evaluation."""
    torch.manual_seed(run.seed)
    train, validation = corpus(run)
    teacher = load_teacher(run.teacher_folder, run.model).eval().requires_grad_(False)
    student = initial_student(run, teacher, train)
    if run.compile:
        compile_neurons(student)

    def loss_of(ids: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = teacher_logits(teacher, ids[:, :-1])
        return distillation_loss(student(ids[:, :-1])[0], wanted, ids[:, 1:], run)

    def after(step: int, metrics: dict[str, Any]) -> None:
        if step % run.student.evaluate_every == 0 and step != run.student.steps:
            metrics = {**metrics, **_evaluated(student, head(validation, QUICK_TOKENS))}
            save_checkpoint(Checkpoint.of(student), run.checkpoint)
        report({"stage": "student", **metrics})

    optimise(student, loss_of, train, run.student, run, after)
    # What users load is what is measured.
    save_checkpoint(Checkpoint.of(student), run.checkpoint, getattr(torch, run.checkpoint_dtype))
    stored = load_checkpoint(run.checkpoint).network()
    report({"stage": "stored student", "dtype": run.checkpoint_dtype, **_evaluated(stored, validation)})


def initial_student(run: TrainingRun, teacher: nn.Module, text: TokenText) -> BiSpikCLM:
    """Return a student with random weights, the teacher's embeddings, and the run's initial firing rates."""
    student = BiSpikCLM(run.model)
    with torch.no_grad():
        # The teacher's embeddings spare the student the slowest part of learning from scratch.
        tokens, positions = teacher_embeddings(teacher, run.model.max_positions)
        student.token_embedding.weight.copy_(tokens)
        student.position_embedding.weight.copy_(positions)
    first = random_batch(text, run.student.batch, run.model.max_positions, np.random.default_rng(run.seed))
    set_initial_rates(student, torch.from_numpy(first[:, :-1]), run.initial_rate, run.initial_score_rate)
    return student


def distillation_loss(logits: Tensor, wanted: Tensor, targets: Tensor, run: TrainingRun) -> Tensor:
    """Return the loss of the module's docstring, in nats per token.

    Args:
        logits: the student's, (batch, tokens, vocabulary).
        wanted: the teacher's, of the same shape.
        targets: the tokens that follow, (batch, tokens).
        run: weight and temperature.
    """
    logits, wanted = logits.float().flatten(0, 1), wanted.float().flatten(0, 1)
    soft = functional.kl_div(
        functional.log_softmax(logits / run.temperature, -1),
        functional.log_softmax(wanted / run.temperature, -1),
        reduction="batchmean",
        log_target=True,
    )
    hard = functional.cross_entropy(logits, targets.flatten())
    return run.soft_target_weight * run.temperature**2 * soft + (1 - run.soft_target_weight) * hard


def _evaluated(student: BiSpikCLM, text: TokenText) -> dict[str, Any]:
    result = evaluate(student, text)
    return {
        "bits_per_byte": result.bits_per_byte,
        "mean_rate": result.mean_rate,
        "firing_rates": result.firing_rates,
    }


def head(text: TokenText, tokens: int) -> TokenText:
    """Return the first tokens of a text; its bytes are taken in proportion."""
    tokens = min(tokens, len(text.ids))
    return TokenText(ids=text.ids[:tokens], num_bytes=round(text.num_bytes * tokens / len(text.ids)))


def json_lines(path: Path) -> Report:
    """Return a report that appends each line of metrics to a file as JSON.

    Raises:
        BispikError: if the file cannot be written, here or later.
    """

    def write(metrics: dict[str, Any]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as log:
                log.write(json.dumps(metrics) + "\n")
        except OSError as error:
            raise BispikError(f"{path}: the log cannot be written: {error.strerror or error}") from error

    return write
