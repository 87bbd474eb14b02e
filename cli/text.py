"""Text to token ids for the command lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bispik.compiler.graph import Population, SpikingGraph
from bispik.models.bispikclm.data import TokenText, parse_tokenizer
from bispik.models.errors import BispikError
from bispik.models.files import is_folder, read_text

CALIBRATION_WINDOWS = 4
"""Windows of text that weight scales are chosen on."""

CALIBRATION_TOKENS = 512
"""At most, in all windows together and in one of them: over the time steps, that is more vectors than are sampled."""

VERIFICATION_TOKENS = 2048
"""Held-out tokens on which integers and floats are compared, if that takes no more than the next number of products."""

FEWEST_VERIFICATION_TOKENS, VERIFICATION_WORK = 256, 2.5e11


def encode(tokenizer: str, text: str, what: str) -> npt.NDArray[np.int64]:
    """Return token ids of a text.

    Raises:
        BispikError: if there is no tokeniser or the text gives no token.
    """
    if not tokenizer:
        raise BispikError(f"{what}: no tokeniser is known; give one with --tokenizer, or token ids with --tokens")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BispikError(f"{what} is not valid text: {error.reason}") from error
    ids = np.array(parse_tokenizer(tokenizer, "tokeniser").encode(text).ids, dtype=np.int64)
    if len(ids) == 0:
        raise BispikError(f"{what} is empty; give at least one word")
    return ids


def check_prompt(ids: npt.NDArray[np.int64], window: int) -> None:
    """Refuse a prompt for which the window has no room."""
    if len(ids) > window:
        raise BispikError(
            f"the prompt's {len(ids)} tokens do not fit the window of {window}; shorten it or use a larger --window"
        )


def decode(tokenizer: str, ids: list[int]) -> str:
    """Return the text of token ids; without a tokeniser the ids themselves."""
    return TextStream(tokenizer).text(ids)


def words_of(tokenizer: str, ids: Sequence[int]) -> tuple[str, ...]:
    """Return the text of each token; together they are the text of all."""
    stream = TextStream(tokenizer)
    words = [stream.advance(ids[: number + 1]) for number in range(len(ids))]
    if words:
        words[-1] += stream.finish(ids)
    return tuple(words)


class TextStream:
    """The text of a growing list of tokens, in pieces that can be printed one behind the other."""

    def __init__(self, tokenizer: str) -> None:
        self._tokenizer = parse_tokenizer(tokenizer, "tokeniser") if tokenizer else None
        self._shown = ""

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of all; without a tokeniser the ids themselves."""
        if self._tokenizer is None:
            return " ".join(map(str, ids))
        text: str = self._tokenizer.decode(list(ids))
        return text

    def advance(self, ids: Sequence[int]) -> str:
        """Return what is new in the text of all tokens so far.

        Bytes at its end that are no whole character yet, which a decoder shows as U+FFFD, wait for the next token.
        """
        return self._new(self.text(ids).rstrip("\ufffd"))

    def finish(self, ids: Sequence[int]) -> str:
        """Return what is left to show when no token follows, incomplete characters included."""
        return self._new(self.text(ids))

    def _new(self, text: str) -> str:
        new = text[len(self._shown) :]
        self._shown += new
        return new


def read_ids(path: Path) -> npt.NDArray[np.int64]:
    """Read token ids, separated by white space or commas, from a text file."""
    words = read_text(path, "token ids").replace(",", " ").split()
    try:
        return np.array([int(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise BispikError(f"{path}: not a list of token ids: {error}") from error


def beside(checkpoint: Path, chosen: Path | None, name: str) -> Path | None:
    """Return the user's file, else the one of that name beside the checkpoint (in it, if it is a folder), else None."""
    if chosen is not None:
        return chosen
    neighbour = (checkpoint if is_folder(checkpoint) else checkpoint.parent) / name
    return neighbour if neighbour.is_file() else None


def choosing_text(tokenizer: str, path: Path, window: int, tokens: int) -> TokenText:
    """Return tokens of a calibration text behind the first window that `calibration_batch` takes, before the next.

    Raises:
        BispikError: if there are none.
    """
    ids = encode(tokenizer, read_text(path, "calibration text"), f"{path}: the calibration text")
    length = min(window, CALIBRATION_TOKENS)
    starts = _starts(len(ids), length)
    stop = int(starts[1]) if len(starts) > 1 else len(ids)
    some = ids[length : min(stop, length + tokens + 1)]
    if len(some) < 2:
        raise BispikError(
            f"{path}: all {len(ids)} tokens are taken for calibration; --budget needs more text to judge by"
        )
    return TokenText(ids=some, num_bytes=len(decode(tokenizer, some[1:].tolist()).encode()))


def _starts(tokens: int, length: int) -> npt.NDArray[np.int64]:
    """Return where the windows of calibration begin in a text."""
    windows = min(CALIBRATION_WINDOWS, CALIBRATION_TOKENS // length, tokens // length)
    return np.linspace(0, tokens - length, windows).astype(np.int64)


def calibration_batch(tokenizer: str, path: Path, window: int, vocabulary: int) -> npt.NDArray[np.int64]:
    """Return windows of text spread over a file, (windows, tokens); of long windows, the beginning of one.

    Raises:
        BispikError: if the text has fewer tokens than one of these, or ids beyond the network's vocabulary.
    """
    ids = encode(tokenizer, read_text(path, "calibration text"), f"{path}: the calibration text")
    _check_vocabulary(ids, vocabulary, path)
    length = min(window, CALIBRATION_TOKENS)
    if len(ids) < length:
        raise BispikError(f"{path}: {len(ids)} tokens of calibration text; at least one window of {length} is needed")
    return np.stack([ids[start : start + length] for start in _starts(len(ids), length)])


def verification_tokens(graph: SpikingGraph) -> int:
    """Return on how many tokens integers and floats are compared: fewer for a large network."""
    products = graph.steps_per_token * sum(
        math.prod(projection.weight.shape)
        for population in graph.of_kind(Population)
        for projection in population.inputs
        if projection.weight is not None
    )
    return int(np.clip(VERIFICATION_WORK / max(1, products), FEWEST_VERIFICATION_TOKENS, VERIFICATION_TOKENS))


def verification_text(tokenizer: str, path: Path, vocabulary: int, tokens: int) -> TokenText:
    """Return the first tokens of a held-out text, and their length in bytes."""
    ids = encode(tokenizer, read_text(path, "held-out text"), f"{path}: the held-out text")[: tokens + 1]
    _check_vocabulary(ids, vocabulary, path)
    if len(ids) < 2:
        raise BispikError(f"{path}: {len(ids)} tokens of held-out text; at least 2 are needed")
    return TokenText(ids=ids, num_bytes=len(decode(tokenizer, ids[1:].tolist()).encode()))


def _check_vocabulary(ids: npt.NDArray[np.int64], vocabulary: int, path: Path) -> None:
    if ids.max() >= vocabulary:
        raise BispikError(
            f"{path}: the tokeniser gives id {ids.max()}, but the network knows {vocabulary} tokens; "
            "give the tokeniser that it was trained with (--tokenizer)"
        )
