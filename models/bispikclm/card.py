"""The model card of a training run: what was trained on what, and how good it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from bispik.models.bispikclm.checkpoint import Checkpoint, load_checkpoint
from bispik.models.bispikclm.corpus import validation_text
from bispik.models.bispikclm.data import TokenText, load_tokenizer
from bispik.models.bispikclm.evaluate import Evaluation, evaluate
from bispik.models.bispikclm.run_config import Card, Losses, Stage, TrainingRun
from bispik.models.bispikclm.run_log import LogLine, read_log
from bispik.models.bispikclm.sample import continuation
from bispik.models.bispikclm.teacher import load_teacher, teacher_bits_per_byte
from bispik.models.errors import BispikError
from bispik.models.files import written_whole

_LAST_LINES = 20
"""Lines of the log over which a term of the loss is averaged."""


def write_card(run: TrainingRun) -> Path:
    """Evaluate the run's checkpoint on its validation text, read its log, and write its card; returns the card's path.

    Raises:
        BispikError: if the run has no ``[card]`` table, or its checkpoint, tokeniser, text or log cannot be read.
    """
    card = run.card
    if card is None:
        raise BispikError("the run has no [card] table, which says what the model card is called and about the data")
    log = read_log(run.log)
    checkpoint = load_checkpoint(run.checkpoint)
    tokenizer = load_tokenizer(run.data.tokenizer)
    if tokenizer.get_vocab_size() > checkpoint.config.vocab_size:
        raise BispikError(
            f"{run.data.tokenizer}: {tokenizer.get_vocab_size()} tokens, but {run.checkpoint} knows "
            f"{checkpoint.config.vocab_size}; give the tokeniser that it was trained with"
        )
    _check_stored_precision(run, checkpoint)
    prompt = tokenizer.encode(card.prompt).ids
    if not prompt:
        raise BispikError("[card]: the prompt is empty; give at least one word")
    network = checkpoint.network()
    validation = validation_text(run, tokenizer)
    result = evaluate(network, validation)
    drawn = continuation(
        network, torch.tensor(prompt), card.new_tokens, temperature=card.sampling_temperature, seed=run.seed
    )
    sections = (
        f"# {card.title}",
        _facts(run, checkpoint),
        _quality(result, _teacher_quality(run, validation, log)),
        f"## Data and licences\n\n{card.data.strip()}",
        _recipe(run, log),
        _sample(card, run.seed, tokenizer.decode(drawn)),
        _rates(result),
    )
    with written_whole(card.file) as temporary:
        temporary.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return card.file


def last_line(log: Sequence[LogLine], stage: str, key: str, where: Path) -> LogLine:
    """Return the last line of a stage that has a key."""
    found = [line for line in log if line.get("stage") == stage and key in line]
    if not found:
        raise BispikError(
            f"{where}: no line of stage '{stage}' with '{key}'; train with --stage {stage.rsplit(maxsplit=1)[-1]} first"
        )
    return found[-1]


def _facts(run: TrainingRun, checkpoint: Checkpoint) -> str:
    config = checkpoint.config
    shape = f"{config.num_layers} layers, {config.hidden_size} channels, {config.num_heads} heads"
    parameters = sum(parameter.numel() for parameter in checkpoint.network().parameters())
    size = run.checkpoint.stat().st_size
    reset = "soft (subtract the threshold)" if config.reset == "subtract" else "hard (to 0)"
    ternary = f", ternary spikes of {config.spike_amplitude:g}" if config.spikes == "ternary" else ""
    return _table(
        ("", ""),
        [
            ("File", f"`{run.checkpoint.name}`, {size / 1e6:.1f} MB, matrices in {run.checkpoint_dtype}"),
            ("SHA-256", f"`{checkpoint.sha256}`"),
            ("Parameters", f"{parameters:,}"),
            ("Shape", f"{shape}, {config.intermediate_size} channels in the feed-forward part"),
            ("Vocabulary and context", f"{config.vocab_size:,} and {config.max_positions} tokens"),
            ("Time steps per token", str(config.steps_per_token)),
            ("Neurons", f"decay {config.decay:g}, threshold {config.threshold:g}, {reset}{ternary}"),
        ],
    )


def _check_stored_precision(run: TrainingRun, checkpoint: Checkpoint) -> None:
    """Refuse to call a checkpoint half precision that is not: a run that was cut short leaves float32."""
    dtype: torch.dtype = getattr(torch, run.checkpoint_dtype)
    matrices = [tensor for tensor in checkpoint.tensors.values() if tensor.dim() > 1]
    if not all(torch.equal(matrix.float(), matrix.to(dtype).float()) for matrix in matrices):
        raise BispikError(
            f"{run.checkpoint}: not stored as {run.checkpoint_dtype}, as checkpoint_dtype says; "
            "finish the run with --stage student, or change checkpoint_dtype"
        )


def _teacher_quality(run: TrainingRun, validation: TokenText, log: Sequence[LogLine]) -> float:
    """Bits per byte of the teacher: measured on the same text if it is there, else what the log says."""
    if (Path(run.teacher.source) / "config.json").is_file():
        return teacher_bits_per_byte(load_teacher(run.teacher.source), validation, run.model.max_positions)
    return float(last_line(log, "stored teacher", "bits_per_byte", run.log)["bits_per_byte"])


def _quality(result: Evaluation, teacher: float) -> str:
    rows = [
        ("Teacher (OPT of the same shape)", f"{teacher:.3f}", "1"),
        ("This network", f"{result.bits_per_byte:.3f}", f"{result.bits_per_byte / teacher:.3f}"),
    ]
    return (
        f"## Quality\n\nOn the validation text, {result.tokens:,} tokens, in windows of the full context:\n\n"
        + _table(("", "bits per byte", "relative"), rows)
        + f"\n\nMean firing rate: {result.mean_rate:.1%} (spikes per neuron and time step, mean over populations)."
    )


def _recipe(run: TrainingRun, log: Sequence[LogLine]) -> str:
    rows = [
        _stage_row(name, stage, last_line(log, name, "tokens_per_second", run.log))
        for name, stage in (("teacher", run.teacher.training), ("student", run.student))
        if stage is not None
    ]
    return (
        f"## Recipe\n\nSeed {run.seed}; AdamW, linear warm-up, cosine decay. {_start(run)}\n\n"
        + _table(("", "steps", "batch", "tokens", "learning rate", "dropout", "minutes"), rows)
        + f"\n\nSpike-aware alignment distillation; {_losses(run.losses)}.\n\n"
        + _table(("term of the loss", "weight", "at the end"), _loss_rows(run, log))
    )


def _start(run: TrainingRun) -> str:
    embeddings = "random weights" if run.start.embeddings == "random" else "random weights and the teacher's embeddings"
    return f"The student starts from {embeddings}, its neurons' biases set for a firing rate of {run.start.rate:g}."


def _losses(losses: Losses) -> str:
    target = "no target for the firing rate"
    if losses.rate_target is not None:
        target = f"a firing rate above {losses.rate_target:.0%} is penalised"
    return f"soft targets at temperature {losses.temperature:g}, {target}"


def _loss_rows(run: TrainingRun, log: Sequence[LogLine]) -> list[tuple[str, ...]]:
    """Weight of each term that was on, and its mean over the last steps in the log."""
    rows: list[tuple[str, ...]] = []
    for field in dataclasses.fields(Losses):
        values = [float(line[field.name]) for line in log if line.get("stage") == "student" and field.name in line]
        if values:
            last = values[-_LAST_LINES:]
            rows.append(
                (field.name.replace("_", " "), f"{getattr(run.losses, field.name):g}", f"{sum(last) / len(last):.4f}")
            )
    return rows


def _stage_row(name: str, stage: Stage, last: LogLine) -> tuple[str, ...]:
    tokens, speed = int(last["tokens"]), float(last["tokens_per_second"])
    return (
        name,
        f"{int(last['step']):,}",
        str(stage.batch),
        f"{tokens / 1e6:.2f} M",
        f"{stage.learning_rate:g}",
        f"{stage.dropout:g}" if name == "teacher" else "none",
        f"{tokens / speed / 60:.0f}",
    )


def _sample(card: Card, seed: int, text: str) -> str:
    quoted = "\n".join(f"> {line}".rstrip() for line in f"**{card.prompt}**{text}".splitlines())
    return f"## Sample\n\nTemperature {card.sampling_temperature:g}, seed {seed}; the prompt is in bold.\n\n{quoted}"


def _rates(result: Evaluation) -> str:
    rows = [(f"`{name}`", f"{rate:.3f}") for name, rate in result.firing_rates.items()]
    return "## Firing rates\n\n" + _table(("population", "spikes per neuron and time step"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
