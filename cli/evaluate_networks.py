"""What ``bispik-eval`` evaluates: program, checkpoint and teacher behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from bispik.backends.likelihood import FreshRuns, WindowScore, score_window
from bispik.backends.many import Workers, map_sequences
from bispik.backends.registry import BACKENDS
from bispik.cli.text import beside
from bispik.compiler.artifact import load_program
from bispik.models.bispikclm.data import load_tokenizer, parse_tokenizer
from bispik.models.errors import BispikError

Row = Literal["float", "integer", "teacher"]
WindowScores = Callable[[Sequence[npt.NDArray[np.int64]], bool], Iterator[WindowScore]]
BatchLogits = Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """A row of the table."""

    row: Row
    where: str
    """Its file or folder."""
    vocabulary: int
    window: int
    """Tokens that it has room for."""
    logits: BatchLogits
    """Maps sequences from their beginning, (batch, tokens), to logits, (batch, tokens, vocabulary)."""
    batch: int
    """Sequences that it gains from running at once."""
    mode: Callable[[], str]
    """What ran, in words; asked behind the run."""
    hyperparameters: Mapping[str, Any]
    """As far as they are known."""
    tokenizer: Tokenizer | None
    """The one that it came with."""
    window_scores: WindowScores | None = None
    """If it scores windows of a text, (tokens + 1,) each, by itself, and counts events if it shall: yields scores in
    order. They do not depend on who runs which window."""


def load_networks(
    program: Path | None, backend: str, workers: Workers, checkpoint: Path | None, teacher: str | None
) -> tuple[Network, ...]:
    """Read what there is, and check that it belongs together.

    Raises:
        BispikError: if something cannot be read, or a network has another vocabulary, or the program was made from
            another network than the checkpoint.
    """
    networks = (
        *((_float(checkpoint),) if checkpoint else ()),
        *((_integer(program, backend, workers),) if program else ()),
        *((_teacher(teacher),) if teacher else ()),
    )
    first = networks[0]
    for other in networks[1:]:
        if other.vocabulary != first.vocabulary:
            raise BispikError(
                f"{other.where} knows {other.vocabulary:,} tokens, {first.where} {first.vocabulary:,}; "
                "only networks of one vocabulary can be compared"
            )
    if checkpoint and program:
        _check_same_network(*networks[:2])
    return networks


def common_tokenizer(networks: Sequence[Network], chosen: Path | None) -> Tokenizer:
    """Return the tokeniser of all networks.

    Raises:
        BispikError: if none is known, or they are not the same, or one gives ids that the networks do not know.
    """
    known = [(network.where, network.tokenizer) for network in networks if network.tokenizer is not None]
    if chosen is not None:
        known.insert(0, (str(chosen), load_tokenizer(chosen)))
    if not known:
        raise BispikError("no tokeniser is known; give one with --tokenizer")
    first_where, first = known[0]
    vocabulary = first.get_vocab()
    for where, tokenizer in known[1:]:
        if tokenizer.get_vocab() != vocabulary:
            raise BispikError(
                f"the tokenisers of {first_where} and {where} are not the same; "
                "only networks of one tokeniser can be compared"
            )
    if max(vocabulary.values(), default=0) >= networks[0].vocabulary:
        raise BispikError(
            f"the tokeniser of {first_where} gives ids up to {max(vocabulary.values())}, but {networks[0].where} knows "
            f"{networks[0].vocabulary} tokens; give the tokeniser that it was trained with (--tokenizer)"
        )
    return first


def _check_same_network(network: Network, program: Network) -> None:
    """Refuse a checkpoint that differs from what the program says of the network that it was made from."""
    for name, value in program.hyperparameters.items():
        if name in network.hyperparameters and network.hyperparameters[name] != value:
            raise BispikError(
                f"{program.where} was made from a network with {name} {value}, {network.where} has "
                f"{network.hyperparameters[name]}; give the checkpoint that it was compiled from"
            )


def _integer(path: Path, backend: str, workers: Workers) -> Network:
    if backend not in BACKENDS:
        raise BispikError(f"--backend {backend}: unknown; choose one of {', '.join(BACKENDS)}")
    mapped = load_program(path)
    program = mapped.program
    runs = FreshRuns(program, backend)

    def logits(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.stack([runs(sequence) for sequence in ids])

    def window_scores(windows: Sequence[npt.NDArray[np.int64]], count: bool) -> Iterator[WindowScore]:
        score = partial(score_window, backend, count)
        elsewhere = workers.elsewhere
        scores = map_sequences(score, path, windows, workers) if elsewhere else map(partial(score, mapped), windows)
        for found in scores:
            runs.execution_mode = found.execution_mode
            yield found

    return Network(
        row="integer",
        where=str(path),
        vocabulary=program.readout.size,
        window=program.window,
        logits=logits,
        batch=1,
        mode=lambda: runs.execution_mode,
        hyperparameters=program.hyperparameters,
        tokenizer=parse_tokenizer(program.tokenizer, str(path)) if program.tokenizer else None,
        window_scores=window_scores,
    )


def _float(path: Path) -> Network:
    import torch

    from bispik.models.bispikclm.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    model = checkpoint.network()

    @torch.no_grad()
    def logits(ids: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        return np.asarray(model(torch.from_numpy(ids))[0].float())

    return Network(
        row="float",
        where=str(path),
        vocabulary=checkpoint.config.vocab_size,
        window=checkpoint.config.max_positions,
        logits=logits,
        batch=8,
        mode=lambda: "PyTorch, float32",
        hyperparameters=checkpoint.config.to_dict(),
        tokenizer=_tokenizer(beside(path, None, "tokenizer.json")),
    )


def _teacher(source: str) -> Network:
    import torch

    from bispik.models.bispikclm.teacher import load_teacher, teacher_logits, teacher_positions, teacher_vocabulary

    teacher = load_teacher(source)

    @torch.no_grad()
    def logits(ids: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        return np.asarray(teacher_logits(teacher, torch.from_numpy(ids)).float())

    return Network(
        row="teacher",
        where=source,
        vocabulary=teacher_vocabulary(teacher),
        window=teacher_positions(teacher),
        logits=logits,
        batch=8,
        mode=lambda: "PyTorch, float32",
        hyperparameters={},
        tokenizer=_tokenizer(beside(Path(source) / "config.json", None, "tokenizer.json")),
    )


def _tokenizer(path: Path | None) -> Tokenizer | None:
    return load_tokenizer(path) if path else None
