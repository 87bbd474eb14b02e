"""A training run as a TOML file."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.errors import BispikError
from bispik.models.files import read_text
from bispik.models.records import record

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One optimisation: AdamW with linear warm-up and cosine decay to a tenth of ``learning_rate``."""

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 100
    weight_decay: float = 0.1
    gradient_clip: float = 1.0
    dropout: float = 0.0
    """Of the teacher; the student has none."""
    evaluate_every: int = 500

    def __post_init__(self) -> None:
        _check(self, "must be at least 1", lambda v: v >= 1, "steps", "batch", "evaluate_every")
        _check(self, "must be positive and finite", lambda v: 0 < v < math.inf, "learning_rate", "gradient_clip")
        _check(self, "must be at least 0 and finite", lambda v: 0 <= v < math.inf, "warmup", "weight_decay")
        _check(self, "must be at least 0 and below 1", lambda v: 0 <= v < 1, "dropout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a model card says that cannot be measured, and the continuation that it shows."""

    file: Path
    title: str
    data: str
    """Markdown: where the text comes from and under which licences."""
    prompt: str
    new_tokens: int = 200
    sampling_temperature: float = 0.7

    def __post_init__(self) -> None:
        _check(self, "must be at least 1", lambda v: v >= 1, "new_tokens")
        _check(self, "must be positive and finite", lambda v: 0 < v < math.inf, "sampling_temperature")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """Files, network and stages of one run. Paths are relative to the TOML file."""

    train_text: Path
    validation_text: Path
    tokenizer: Path
    teacher_folder: Path
    checkpoint: Path
    log: Path
    seed: int
    soft_target_weight: float
    temperature: float
    initial_rate: float
    initial_score_rate: float
    model: BiSpikCLMConfig
    teacher: Stage
    student: Stage
    card: Card | None = None
    checkpoint_dtype: Literal["float32", "float16"] = "float32"
    """How the finished student's matrices are stored; the last evaluation is of what is stored."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Of matrix products in training. Without AMX or AVX512-BF16 in the CPU float32 is faster."""
    compile: bool = True
    """Fuse the neurons with ``torch.compile``; needs a C++ compiler."""

    def __post_init__(self) -> None:
        _check(self, "must be between 0 and 2**63 - 1", lambda v: 0 <= v < 1 << 63, "seed")
        _check(self, "must be between 0 and 1", lambda v: 0 <= v <= 1, "soft_target_weight")
        _check(self, "must be positive and finite", lambda v: 0 < v < math.inf, "temperature")
        _check(self, "must lie between 0 and 1", lambda v: 0 < v < 1, "initial_rate", "initial_score_rate")


def load_run(path: Path) -> TrainingRun:
    """Read a run from TOML.

    Raises:
        BispikError: for a file that cannot be read, an unknown or missing key, or a value of the wrong type or range.
    """
    try:
        values = tomllib.loads(read_text(path, "training run"))
    except (ValueError, RecursionError) as error:
        raise BispikError(f"{path}: not TOML: {error}") from error
    tables: dict[str, Any] = {
        "model": _table(BiSpikCLMConfig, values, "model", path),
        "teacher": _table(Stage, values, "teacher", path),
        "student": _table(Stage, values, "student", path),
    }
    if "card" in values:
        tables["card"] = _beside(_table(Card, values, "card", path), path)
    run: TrainingRun = _beside(_located(TrainingRun, {**values, **tables}, str(path)), path)
    return run


def _check(owner: Any, demand: str, holds: Any, *names: str) -> None:
    for name in names:
        if not holds(getattr(owner, name)):
            raise BispikError(f"{name} is {getattr(owner, name)}; it {demand}")


def _table(kind: type[Any], values: Mapping[str, Any], name: str, path: Path) -> Any:
    table = values.get(name)
    if not isinstance(table, dict):
        raise BispikError(f"{path}: table [{name}] is missing")
    return _located(kind, table, f"{path}: [{name}]")


def _located(kind: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """Build a record; an error of its own checks is told with its place too."""
    try:
        return record(kind, values, where)
    except BispikError as error:
        message = str(error)
        raise BispikError(message if message.startswith(where) else f"{where}: {message}") from error


def _beside(value: Any, path: Path) -> Any:
    """Return a record whose paths are relative to the folder of ``path``."""
    files = {f.name: path.parent / getattr(value, f.name) for f in dataclasses.fields(value) if f.type == "Path"}
    return dataclasses.replace(value, **files)
