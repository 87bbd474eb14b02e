"""The stages of a run: an OPT teacher on text, then a spiking student distilled from it (`spad`)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bispik.models.bispikclm.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bispik.models.bispikclm.corpus import check_tokenizer, corpus
from bispik.models.bispikclm.data import TokenText
from bispik.models.bispikclm.evaluate import evaluate
from bispik.models.bispikclm.integer_scales import ScaleSource
from bispik.models.bispikclm.model import BiSpikCLM, compile_neurons
from bispik.models.bispikclm.optimise import Report, Task, optimise
from bispik.models.bispikclm.processes import Processes, without_averaging
from bispik.models.bispikclm.qat import integers_of
from bispik.models.bispikclm.resume import TrainingState
from bispik.models.bispikclm.run_config import TrainingRun
from bispik.models.bispikclm.spad import Distillation
from bispik.models.bispikclm.start import initial_student
from bispik.models.bispikclm.teacher import (
    build_teacher,
    check_teacher,
    load_teacher,
    save_teacher,
    teacher_bits_per_byte,
    teacher_logits,
    teacher_signals,
    teacher_width,
)
from bispik.models.errors import BispikError

QUICK_TOKENS = 16_384
"""Tokens of validation text in evaluations on the way; the last one takes all."""


_ALONE = Processes()


def train_teacher(run: TrainingRun, report: Report, *, fresh: bool = False, processes: Processes = _ALONE) -> None:
    """Train an OPT of the student's shape; when it is done it is saved in the folder ``run.teacher.source``.

    Of several processes the first one reports and writes.

    Raises:
        BispikError: if the run does not say how, a text is unusable, training diverges, or a file cannot be written.
    """
    stage = run.teacher.training
    if stage is None:
        raise BispikError("the run has no [teacher.training] table, which says how its teacher is made")
    torch.manual_seed(run.seed)
    train, validation = _corpus(run, processes)
    model = build_teacher(run.model, stage.dropout, checkpoint_activations=stage.checkpoint_activations)
    replicated = processes.replicated(model)

    def terms(ids: Tensor) -> dict[str, Tensor]:
        logits = teacher_logits(replicated, ids[:, :-1])
        return {"loss": functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())}

    def quality(text: TokenText) -> dict[str, Any]:
        return {"bits_per_byte": teacher_bits_per_byte(model, text, run.model.max_positions)}

    task = Task(
        module=model,
        terms=terms,
        without_averaging=partial(without_averaging, replicated),
        evaluate=lambda: quality(head(validation, QUICK_TOKENS)),
    )
    state = TrainingState.of(run, "teacher", train)
    _begin(state, processes, fresh=fresh)
    optimise(task, train, stage, run, state, report, processes)
    if processes.first:
        _store_teacher(model, run, state)
        report({"stage": "stored teacher", **quality(validation)})
    processes.wait()


def _store_teacher(model: nn.Module, run: TrainingRun, state: TrainingState) -> None:
    save_teacher(model, Path(run.teacher.source), run.data.tokenizer)
    state.remove()


def train_student(
    run: TrainingRun,
    report: Report,
    *,
    scales: ScaleSource | None = None,
    fresh: bool = False,
    processes: Processes = _ALONE,
) -> None:
    """Distil a spiking student from the teacher and save it at ``run.checkpoint``, first at each evaluation.

    Of several processes the first one reports and writes.

    Args:
        run: files, network, stages.
        report: receives the metrics.
        scales: the quantiser, which a run with ``qat`` asks.
        fresh: forget the state of an interrupted run.
        processes: that train together.

    Raises:
        BispikError: if teacher, student and text do not fit together, training diverges, or a file cannot be written.
    """
    torch.manual_seed(run.seed)
    train, validation = _corpus(run, processes)
    teacher = load_teacher(run.teacher.source).to(processes.device)
    check_teacher(teacher, run)
    check_tokenizer(run)
    student = initial_student(run, teacher, train, processes.device)
    student.checkpoint_activations = run.student.checkpoint_activations
    distillation = Distillation(student, run.losses, teacher_width(teacher), processes)
    replicated = processes.replicated(distillation)
    if run.compile:
        compile_neurons(distillation)

    def terms(ids: Tensor) -> dict[str, Tensor]:
        result: dict[str, Tensor] = replicated(ids, teacher_signals(teacher, ids[:, :-1], run.losses))
        return result

    def quality() -> dict[str, Any]:
        save_checkpoint(Checkpoint.of(student), run.checkpoint)
        return _evaluated(student, head(validation, QUICK_TOKENS))

    state = TrainingState.of(run, "student", train)
    _begin(state, processes, fresh=fresh)
    with integers_of(run, student, train, scales) as before:
        task = Task(
            module=distillation,
            terms=terms,
            without_averaging=partial(without_averaging, replicated),
            before=before,
            evaluate=quality,
        )
        optimise(task, train, run.student, run, state, report, processes)
    if processes.first:
        # What users load is what is measured.
        save_checkpoint(Checkpoint.of(student), run.checkpoint, getattr(torch, run.checkpoint_dtype))
        state.remove()
        stored = load_checkpoint(run.checkpoint).network().to(processes.device)
        report({"stage": "stored student", "dtype": run.checkpoint_dtype, **_evaluated(stored, validation)})
    processes.wait()


def _corpus(run: TrainingRun, processes: Processes) -> tuple[TokenText, TokenText]:
    """Return the run's texts; the first process tokenises them, and the others read what it has written."""
    if not processes.first:
        processes.wait()
        return corpus(run)
    texts = corpus(run)
    processes.wait()
    return texts


def _begin(state: TrainingState, processes: Processes, *, fresh: bool) -> None:
    """Take an earlier run's state away if that is asked for, before any process looks for it."""
    if fresh and processes.first:
        state.remove()
    processes.wait()


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
