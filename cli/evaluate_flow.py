"""The way of ``bispik-eval``: networks, one tokeniser, one window, then every network on the same tokens."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from bispik.backends.counts import EventCounts
from bispik.backends.many import Workers, merged_counts
from bispik.backends.multiple_choice import (
    Question,
    TaskResult,
    answer_all,
    chance,
    encode_examples,
    load_examples,
)
from bispik.cli.evaluate_networks import Network, Row, WindowScores, common_tokenizer, load_networks
from bispik.models.bispikclm.data import TokenText, encode_file

StartBar = Callable[[str, int], Callable[[int], None]]
"""Begins a progress bar of that title and length; what it returns takes steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest:
    """What the user asks for."""

    program: Path | None
    backend: str
    checkpoint: Path | None
    teacher: str | None
    tokenizer: Path | None
    text: Path | None
    tokens: int | None
    tasks: tuple[Path, ...]
    workers: Workers
    count: bool
    """Whether to count the program's events on the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextResult:
    """How well a network predicts a text."""

    bits_per_byte: float
    perplexity: float
    """exp(nats per predicted token)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEvaluation:
    """A text and the networks on it."""

    path: Path
    tokens: int
    """Predicted: all but the first."""
    num_bytes: int
    results: dict[Row, TextResult]
    counts: dict[str, Any] | None
    """The program's events on the text, as `EventCounts.to_dict`; None if they were not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvaluation:
    """A task and the networks on it."""

    path: Path
    examples: int
    chance: float
    results: dict[Row, TaskResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Everything for the tables."""

    windows: dict[Row, int]
    """What each network has room for."""
    window: int
    """What all were given: the smallest of these."""
    modes: dict[Row, str]
    text: TextEvaluation | None
    tasks: tuple[TaskEvaluation, ...]


def evaluate(request: EvaluateRequest, start: StartBar) -> Evaluated:
    """Evaluate all networks on all texts; whatever is wrong with a file is found before anything runs.

    Raises:
        BispikError: for wrong input.
    """
    networks = load_networks(request.program, request.backend, request.workers, request.checkpoint, request.teacher)
    tokenizer = common_tokenizer(networks, request.tokenizer)
    window = min(network.window for network in networks)
    text = _text(tokenizer, request.text, request.tokens) if request.text else None
    tasks = {path: encode_examples(tokenizer, load_examples(path), window) for path in request.tasks}
    return Evaluated(
        windows={network.row: network.window for network in networks},
        window=window,
        text=_on_text(networks, request.text, text, window, request.count, start) if request.text and text else None,
        tasks=tuple(_on_task(networks, path, questions, window, start) for path, questions in tasks.items()),
        modes={network.row: network.mode() for network in networks},
    )


def _text(tokenizer: Tokenizer, path: Path, tokens: int | None) -> TokenText:
    """Tokenise a text, or its beginning up to ``tokens`` predicted tokens."""
    whole = encode_file(tokenizer, path)
    if tokens is None or len(whole.ids) <= tokens + 1:
        return whole
    ids = whole.ids[: tokens + 1]
    return TokenText(ids=ids, num_bytes=len(tokenizer.decode(ids.tolist()).encode("utf-8")))


def _on_text(
    networks: tuple[Network, ...], path: Path, text: TokenText, window: int, count: bool, start: StartBar
) -> TextEvaluation:
    tokens = len(text.ids) - 1
    counts: EventCounts | None = None
    results: dict[Row, TextResult] = {}
    for network in networks:
        step = start(f"{network.row} on {path.name}", tokens)
        if network.window_scores:
            bits, counts = _scored(network.window_scores, text, window, count, step)
        else:
            bits = _bits_per_byte(network, text, window, step)
        perplexity = math.exp(bits * text.num_bytes * math.log(2) / tokens)
        results[network.row] = TextResult(bits_per_byte=bits, perplexity=perplexity)
    return TextEvaluation(
        path=path, tokens=tokens, num_bytes=text.num_bytes, results=results, counts=counts.to_dict() if counts else None
    )


def _scored(
    scores: WindowScores, text: TokenText, window: int, count: bool, step: Callable[[int], None]
) -> tuple[float, EventCounts | None]:
    """Return bits per byte and the events of a network that scores windows by itself."""
    windows = list(text.windows(window))
    bits = 0.0
    counts: list[EventCounts] = []
    for ids, score in zip(windows, scores(windows, count), strict=True):
        bits += score.bits
        counts += [score.counts] if score.counts else []
        step(len(ids) - 1)
    return bits / text.num_bytes, merged_counts(counts) if counts else None


def _bits_per_byte(network: Network, text: TokenText, window: int, step: Callable[[int], None]) -> float:
    import torch

    from bispik.models.bispikclm.evaluate import bits_per_byte

    def logits_of(ids: torch.Tensor) -> torch.Tensor:
        logits = torch.from_numpy(network.logits(ids.numpy()))
        step(ids.numel())
        return logits

    return bits_per_byte(logits_of, text, window, network.batch)


def _on_task(
    networks: tuple[Network, ...], path: Path, questions: tuple[Question, ...], window: int, start: StartBar
) -> TaskEvaluation:
    number = sum(len(question.choices) for question in questions)

    def one(network: Network) -> TaskResult:
        def logits_of(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
            logits: npt.NDArray[np.float64] = network.logits(ids[None])[0].astype(np.float64)
            return logits

        return answer_all(logits_of, questions, window, start(f"{network.row} on {path.name}", number))

    results: dict[Row, TaskResult] = {network.row: one(network) for network in networks}
    return TaskEvaluation(path=path, examples=len(questions), chance=chance(questions), results=results)
