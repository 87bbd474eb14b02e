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
from bispik.models.bispikclm.documents import HUB, source_of
from bispik.models.errors import BispikError
from bispik.models.files import read_text
from bispik.models.records import record

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _check(owner: Any, demand: str, holds: Any, *names: str) -> None:
    for name in names:
        if not holds(getattr(owner, name)):
            raise BispikError(f"{name} is {getattr(owner, name)}; it {demand}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The texts of a run, and its tokeniser.

    A text is a UTF-8 file, a ``.jsonl`` file, or a data set on the hub:
    ``hub:OWNER/NAME?name=CONFIGURATION&split=train`` (all options: `documents.source_of`).
    """

    train: str
    validation: str
    tokenizer: Path
    """A ``tokenizer.json``; if it is not there, it is made as ``new_tokenizer`` says."""
    new_tokenizer: Literal["trained", "teacher"] = "trained"
    """``trained``: one of the model's ``vocab_size``, on the training text; ``teacher``: a copy of the teacher's."""
    field: str = "text"
    """Of a JSON line or a row: what holds the document."""
    max_tokens: int | None = None
    """No more of the training text is taken, from its beginning."""
    cache: Path = Path(".cache")
    """A folder for the texts as token ids, 2 or 4 bytes each."""

    def __post_init__(self) -> None:
        for name in ("train", "validation"):
            source_of(getattr(self, name), self.field)
        if self.max_tokens is not None:
            _check(self, "must be at least 2", lambda v: v >= 2, "max_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One optimisation: AdamW with linear warm-up and cosine decay to ``final_share`` of ``learning_rate``."""

    steps: int
    batch: int
    """Sequences per optimiser step."""
    learning_rate: float
    accumulate: int = 1
    """Parts in which a batch is run, one after the other, so that less memory is needed."""
    warmup: int = 100
    final_share: float = 0.1
    weight_decay: float = 0.1
    """0 makes it plain Adam."""
    gradient_clip: float = 1.0
    dropout: float = 0.0
    """Of the teacher; the student has none."""
    evaluate_every: int = 500
    checkpoint_activations: bool = False
    """Keep only each block's input and outputs for the backward pass and run the block once more there: less memory,
    about a third more time."""
    save_every: int = 500
    """Steps between saves of the training's state, from which a run that was killed goes on."""

    def __post_init__(self) -> None:
        _check(self, "must be at least 1", lambda v: v >= 1, "steps", "batch", "accumulate")
        _check(self, "must be at least 1", lambda v: v >= 1, "evaluate_every", "save_every")
        _check(self, "must be positive and finite", lambda v: 0 < v < math.inf, "learning_rate", "gradient_clip")
        _check(self, "must be at least 0 and finite", lambda v: 0 <= v < math.inf, "warmup", "weight_decay")
        _check(self, "must be at least 0 and below 1", lambda v: 0 <= v < 1, "dropout")
        _check(self, "must be between 0 and 1", lambda v: 0 <= v <= 1, "final_share")
        if self.batch % self.accumulate:
            raise BispikError(f"accumulate is {self.accumulate}; it must divide batch ({self.batch})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """The ANN that is distilled, and, where this run makes it, how."""

    source: str
    """A ``save_pretrained`` folder of an OPT, or a name on the hub (``facebook/opt-125m``)."""
    training: Stage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where the student starts."""

    rate: float = 0.15
    """Spikes per neuron and time step of every population before the first optimiser step."""
    score_rate: float = 0.12
    """The same of the attention scores."""
    embeddings: Literal["random", "teacher"] = "random"
    """``teacher`` copies the teacher's embedding tables, which must have the student's width."""
    checkpoint: Path | None = None
    """A trained student to start from instead; it must have the run's ``[model]``."""

    def __post_init__(self) -> None:
        _check(self, "must lie between 0 and 1", lambda v: 0 < v < 1, "rate", "score_rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerTraining:
    """Quantisation-aware training: the student's forward pass is the compiled program's integer arithmetic."""

    bits: int = 8
    """Bits per synaptic weight that the network will be compiled with."""
    neurons: Literal["bispik", "stock"] = "bispik"
    """Neuron program that it will be compiled with."""
    first: float = 0.7
    """Share of the steps that come before, in real numbers; a BatchNorm's statistics stand still afterwards."""
    refresh: int = 100
    """Steps between looks at the quantiser, which chooses the scales."""

    def __post_init__(self) -> None:
        _check(self, "must be 1 to 8", lambda v: 1 <= v <= 8, "bits")
        _check(self, "must be at least 0 and below 1", lambda v: 0 <= v < 1, "first")
        _check(self, "must be at least 1", lambda v: v >= 1, "refresh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Weights of the terms of `spad`, as published; 0 switches a term off."""

    embedding: float = 0.2
    attention: float = 0.1
    features: float = 0.1
    soft_targets: float = 0.3
    hard_targets: float = 0.3
    temperature: float = 2.0
    """Of the soft targets."""
    rate: float = 1.0
    rate_target: float | None = None
    """Mean firing rate that is not to be exceeded; without, nothing holds it down."""

    def __post_init__(self) -> None:
        weights = ("embedding", "attention", "features", "soft_targets", "hard_targets", "rate")
        _check(self, "must be at least 0 and finite", lambda v: 0 <= v < math.inf, *weights)
        _check(self, "must be positive and finite", lambda v: 0 < v < math.inf, "temperature")
        if self.rate_target is not None:
            _check(self, "must lie between 0 and 1", lambda v: 0 < v < 1, "rate_target")
        if not (self.soft_targets or self.hard_targets):
            raise BispikError("soft_targets and hard_targets are both 0; without either no token is learnt")


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

    checkpoint: Path
    log: Path
    seed: int
    data: Data
    model: BiSpikCLMConfig
    teacher: Teacher
    student: Stage
    start: Start = Start()
    losses: Losses = Losses()
    qat: IntegerTraining | None = None
    card: Card | None = None
    checkpoint_dtype: Literal["float32", "float16"] = "float32"
    """How the finished student's matrices are stored; the last evaluation is of what is stored."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Of matrix products in training. Without AMX or AVX512-BF16 in the CPU float32 is faster."""
    compile: bool = True
    """Fuse the neurons with ``torch.compile``; needs a C++ compiler."""

    def __post_init__(self) -> None:
        _check(self, "must be between 0 and 2**63 - 1", lambda v: 0 <= v < 1 << 63, "seed")
        if self.qat and self.model.spikes == "ternary":
            raise BispikError('[qat] knows binary spikes only, and [model] says spikes = "ternary"; remove [qat]')
        if self.qat and (self.model.block_norm != "none" or not self.model.embedding_spike):
            raise BispikError(
                "[qat] knows networks whose blocks exchange spikes and counts only, and [model] has block_norm or a "
                "real current into the first block; remove [qat]: such a network compiles without it"
            )


_TABLES: Mapping[str, tuple[type[Any], bool]] = {
    "data": (Data, True),
    "model": (BiSpikCLMConfig, True),
    "teacher": (Teacher, True),
    "student": (Stage, True),
    "start": (Start, False),
    "losses": (Losses, False),
    "qat": (IntegerTraining, False),
    "card": (Card, False),
}
"""By name: what a table of the TOML file holds, and whether it must be there."""


def load_run(path: Path, changes: Mapping[str, Any] | None = None) -> TrainingRun:
    """Read a run from TOML.

    Args:
        path: the file.
        changes: values that replace the file's, by dotted name (``losses.rate_target``): a command line's options.

    Raises:
        BispikError: for a file that cannot be read, an unknown or missing key, or a value of the wrong type or range.
    """
    values = read_toml(path, "training run")
    for name, value in (changes or {}).items():
        *tables, key = name.split(".")
        table = values
        for part in tables:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise BispikError(f"{path}: {name} cannot be set: {part} is no table")
        table[key] = value
    return _run(values, path)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return the values of a TOML file; ``what`` names it in errors.

    Raises:
        BispikError: if it cannot be read.
    """
    try:
        return tomllib.loads(read_text(path, what))
    except (ValueError, RecursionError) as error:
        raise BispikError(f"{path}: not TOML: {error}") from error


def _run(values: dict[str, Any], path: Path) -> TrainingRun:
    teacher = values.get("teacher")
    if isinstance(teacher, dict) and "training" in teacher:
        values["teacher"] = {**teacher, "training": _table(Stage, teacher, "training", path, "teacher.")}
    for name, (kind, required) in _TABLES.items():
        if required or name in values:
            values[name] = _beside(_table(kind, values, name, path), path)
    run: TrainingRun = _beside(_located(TrainingRun, values, str(path)), path)
    train, validation = (
        text if text.startswith(HUB) else str(path.parent / text) for text in (run.data.train, run.data.validation)
    )
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, train=train, validation=validation))
    folder = path.parent / run.teacher.source
    if run.teacher.training or folder.exists() or not is_hub_name(run.teacher.source):
        run = dataclasses.replace(run, teacher=dataclasses.replace(run.teacher, source=str(folder)))
    return run


def is_hub_name(source: str) -> bool:
    """Whether a teacher that is no folder may be a name on the hub: an owner and a name."""
    owner, slash, name = source.partition("/")
    return bool(owner.strip(".") and slash and name and "/" not in name)


def _table(kind: type[Any], values: Mapping[str, Any], name: str, path: Path, above: str = "") -> Any:
    table = values.get(name)
    if not isinstance(table, dict):
        raise BispikError(f"{path}: table [{above}{name}] is missing")
    return _located(kind, table, f"{path}: [{above}{name}]")


def _located(kind: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """Build a record; an error of its own checks is told with its place too."""
    try:
        return record(kind, values, where)
    except BispikError as error:
        message = str(error)
        raise BispikError(message if message.startswith(where) else f"{where}: {message}") from error


def _beside(value: Any, path: Path) -> Any:
    """Return a record whose paths are relative to the folder of ``path``."""
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    files = {name: path.parent / found for name, found in fields.items() if isinstance(found, Path)}
    return dataclasses.replace(value, **files)
