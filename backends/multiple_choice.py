"""Zero-shot multiple choice: the choice that a network finds likeliest behind the prompt is its answer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from bispik.backends.likelihood import (
    Continuation,
    Logits,
    check_continuation,
    encode_continuation,
    likelihoods,
)
from bispik.models.errors import BispikError
from bispik.models.files import read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One question of a task file."""

    prompt: str
    choices: tuple[str, ...]
    """Each is what stands behind the prompt, with its leading space if it has one."""
    answer: int
    """Index of the right choice."""
    where: str
    """File and line, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An example in tokens."""

    example: Example
    choices: tuple[Continuation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Share of right answers, and its standard error, sqrt(p (1 - p) / (n - 1)); None for a single example."""

    value: float
    standard_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """How well a network answers."""

    accuracy: Score
    """The answer is the choice of the highest log-likelihood (lm-eval's ``acc``)."""
    accuracy_per_byte: Score
    """The highest log-likelihood per UTF-8 byte of the choice (lm-eval's ``acc_bytes``; ``acc_norm`` on ASCII)."""


def load_examples(path: Path) -> tuple[Example, ...]:
    """Read a task: JSON lines ``{"prompt": str, "choices": [str, ...], "answer": int}``; empty lines are skipped.

    Raises:
        BispikError: if the file cannot be read, holds no example, or a line is not one; file and line are named.
    """
    lines = enumerate(read_text(path, "task").split("\n"), start=1)
    examples = tuple(_example(line, f"{path}:{number}") for number, line in lines if line.strip())
    if not examples:
        raise BispikError(f"{path}: the task is empty; give one JSON object a line")
    return examples


def _example(line: str, where: str) -> Example:
    try:
        values: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BispikError(f"{where}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise BispikError(f"{where}: a {type(values).__name__}, not an object with prompt, choices and answer")
    if missing := [name for name in ("prompt", "choices", "answer") if name not in values]:
        raise BispikError(f"{where}: {', '.join(missing)} missing; an example has prompt, choices and answer")
    prompt, choices, answer = values["prompt"], values["choices"], values["answer"]
    if not isinstance(prompt, str):
        raise BispikError(f"{where}: prompt is a {type(prompt).__name__}, not a string")
    if not isinstance(choices, list) or not all(isinstance(choice, str) and choice for choice in choices):
        raise BispikError(f"{where}: choices must be a list of strings that are not empty")
    if len(choices) < 2:
        raise BispikError(f"{where}: {len(choices)} choices; at least 2 are needed")
    if isinstance(answer, bool) or not isinstance(answer, int):
        raise BispikError(f"{where}: answer is a {type(answer).__name__}, not the index of a choice")
    if not 0 <= answer < len(choices):
        raise BispikError(f"{where}: answer {answer} is out of range; the choices are 0 to {len(choices) - 1}")
    return Example(prompt=prompt, choices=tuple(choices), answer=answer, where=where)


def encode_examples(tokenizer: Tokenizer, examples: Sequence[Example], window: int) -> tuple[Question, ...]:
    """Tokenise examples; see `encode_continuation` for where a choice begins.

    Raises:
        BispikError: naming file and line, if a choice does not fit the window, or prompt and choice are one token.
    """
    return tuple(_encoded(tokenizer, example, window) for example in examples)


def _encoded(tokenizer: Tokenizer, example: Example, window: int) -> Question:
    try:
        choices = tuple(encode_continuation(tokenizer, example.prompt, choice) for choice in example.choices)
        for choice in choices:
            check_continuation(choice, window)
    except BispikError as error:
        raise BispikError(f"{example.where}: {error}") from error
    return Question(example=example, choices=choices)


def chance(questions: Sequence[Question]) -> float:
    """Accuracy of a blind guess."""
    return sum(1 / len(question.choices) for question in questions) / len(questions)


def answer_all(
    logits_of: Logits, questions: Sequence[Question], window: int, progress: Callable[[int], object]
) -> TaskResult:
    """Let a network answer; of equally likely choices the first is its answer.

    Args:
        logits_of: the network.
        questions: the task.
        window: tokens that the network is shown at most; longer texts are cut at the left.
        progress: called with the number of choices scored at once.
    """
    every = [choice for question in questions for choice in question.choices]
    scores = iter(likelihoods(logits_of, every, window, progress))
    right: list[bool] = []
    right_per_byte: list[bool] = []
    for question in questions:
        nats = np.array([next(scores).log_likelihood for _ in question.choices])
        num_bytes = np.array([len(choice.encode("utf-8")) for choice in question.example.choices])
        right.append(int(nats.argmax()) == question.example.answer)
        right_per_byte.append(int((nats / num_bytes).argmax()) == question.example.answer)
    return TaskResult(accuracy=_score(right), accuracy_per_byte=_score(right_per_byte))


def _score(right: Sequence[bool]) -> Score:
    number, share = len(right), sum(right) / len(right)
    return Score(value=share, standard_error=math.sqrt(share * (1 - share) / (number - 1)) if number > 1 else None)
