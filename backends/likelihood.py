"""How likely a text is: what the command line, multiple choice and the lm-eval class have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from bispik.backends.counted import open_counted
from bispik.backends.counts import EventCounts
from bispik.backends.host import logits, negative_log2_likelihood
from bispik.backends.registry import open_session
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.program import QuantizedProgram
from bispik.models.errors import BispikError

Ids: TypeAlias = npt.NDArray[np.int64]
Logits: TypeAlias = Callable[[Ids], npt.NDArray[np.float64]]
"""Maps a sequence from its beginning, (tokens,), to logits, (tokens, vocabulary)."""


class FreshRuns:
    """Logits of a program on a backend; every sequence is run from its beginning, in a session of its own."""

    def __init__(self, program: QuantizedProgram, backend: str) -> None:
        self.program, self.backend = program, backend
        self.execution_mode = ""
        """What ran, in words; empty before the first sequence."""

    def __call__(self, token_ids: Ids) -> npt.NDArray[np.float64]:
        """Map (tokens,) to (tokens, vocabulary).

        Raises:
            BispikError: if the backend is not available, or the tokens do not fit the program.
        """
        with closing(open_session(self.backend, self.program)) as session:
            self.execution_mode = session.execution_mode
            return logits(self.program, session.read(token_ids))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowScore:
    """How well a program predicts a window of a text."""

    bits: float
    """Sum over the tokens but the first of -log2 p(token | those before it)."""
    execution_mode: str
    """What ran, in words."""
    counts: EventCounts | None
    """Of all tokens but the last, which is not run; None if they were not asked for."""


def score_window(backend: str, count: bool, mapped: MappedProgram, ids: Ids) -> WindowScore:
    """Score a window, (tokens + 1,), in a session of its own; the same bits in any process.

    Raises:
        BispikError: if the backend is not available, or the tokens do not fit the program.
    """
    counted = open_counted(backend, mapped) if count else None
    with closing(counted or open_session(backend, mapped.program)) as session:
        reading = session.read(ids[:-1])
        return WindowScore(
            bits=negative_log2_likelihood(logits(mapped.program, reading), ids[1:]),
            execution_mode=session.execution_mode,
            counts=counted.counts() if counted else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Continuation:
    """Tokens whose likelihood is asked for, behind those that they are conditioned on."""

    ids: Ids
    """Both, (tokens,)."""
    scored: int
    """How many at the end are asked for, at least 1; at least one token stands before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """Of a continuation."""

    log_likelihood: float
    """Sum over its tokens of ln p(token | all before it), in nats."""
    greedy: bool
    """Whether the likeliest token was right every time."""


def encode_continuation(tokenizer: Tokenizer, context: str, continuation: str) -> Continuation:
    """Tokenise context and continuation together, as they would stand in a text, and say where the continuation begins.

    As in lm-eval, white space at the context's end counts to the continuation, and the split is where the context
    alone would end, by number of tokens. Where the tokeniser merges the context's last characters with the
    continuation's first, that token is scored as well, and what is run are always the tokens of the whole text.
    Without a context the first token stands for one: nothing says how likely a text begins with it.

    Raises:
        BispikError: if there are fewer than two tokens.
    """
    ids = np.array(tokenizer.encode(context + continuation).ids, dtype=np.int64)
    if len(ids) < 2:
        raise BispikError(f"{context + continuation!r} gives {len(ids)} tokens; at least 2 are needed to score one")
    context_tokens = len(tokenizer.encode(context.rstrip()).ids)
    return Continuation(ids=ids, scored=len(ids) - min(max(context_tokens, 1), len(ids) - 1))


def check_continuation(continuation: Continuation, window: int) -> None:
    """Refuse a continuation that does not fit the window whole.

    Raises:
        BispikError: saying by how much.
    """
    if continuation.scored > window:
        raise BispikError(f"{continuation.scored} tokens to score do not fit the window of {window}; shorten the text")


def shown(continuation: Continuation, window: int) -> Ids:
    """Return the tokens that a network is shown: all but the last, cut at the left to the window, as in lm-eval."""
    return continuation.ids[-(window + 1) : -1]


def likelihood_of(continuation: Continuation, logits_of: npt.NDArray[np.float64]) -> Likelihood:
    """Return the likelihood of a continuation from the logits of what was ``shown``, (tokens, vocabulary)."""
    targets = continuation.ids[-continuation.scored :]
    predicted = logits_of[-continuation.scored :]
    return Likelihood(
        log_likelihood=-negative_log2_likelihood(predicted, targets) * math.log(2),
        greedy=bool((predicted.argmax(axis=-1) == targets).all()),
    )


def likelihoods(
    logits_of: Logits,
    continuations: Sequence[Continuation],
    window: int,
    progress: Callable[[int], object] = lambda _done: None,
) -> list[Likelihood]:
    """Score continuations; those for which a network is shown the same tokens share one run.

    Args:
        logits_of: the network.
        continuations: what to score.
        window: tokens that the network has room for.
        progress: called with the number of continuations scored at once.

    Raises:
        BispikError: if a continuation does not fit the window.
    """
    alike: dict[bytes, list[int]] = {}
    for index, continuation in enumerate(continuations):
        check_continuation(continuation, window)
        alike.setdefault(shown(continuation, window).tobytes(), []).append(index)
    found: dict[int, Likelihood] = {}
    for indices in alike.values():
        run = logits_of(shown(continuations[indices[0]], window))
        found |= {index: likelihood_of(continuations[index], run) for index in indices}
        progress(len(indices))
    return [found[index] for index in range(len(continuations))]
