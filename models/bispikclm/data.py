"""Text to token windows: tokenisers and packed sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from bispik.models.bispikclm.documents import Source, TextFile
from bispik.models.errors import BispikError, first_line, is_panic
from bispik.models.files import read_text, written_whole

TOKENIZER_CHARACTERS = 1 << 28
"""Of a JSON-lines file or data set, how much a tokeniser is trained on: more changes few merges and takes memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenText:
    """A text as token ids, with its length in UTF-8 bytes."""

    ids: npt.NDArray[np.integer[Any]]
    """Of any integer type, and perhaps a file mapped into memory."""
    num_bytes: int

    def windows(self, length: int) -> Iterator[npt.NDArray[np.int64]]:
        """Yield consecutive windows of at most ``length`` + 1 ids; each begins with the last id of the one before."""
        for start in range(0, len(self.ids) - 1, length):
            yield self.ids[start : start + length + 1].astype(np.int64)


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json``.

    Raises:
        BispikError: if the file is missing or is no tokeniser.
    """
    return parse_tokenizer(read_text(path, "tokeniser"), str(path))


def parse_tokenizer(text: str, where: str) -> Tokenizer:
    """Build a tokeniser from the text of a ``tokenizer.json``; ``where`` names it in the error.

    Truncation and padding that the file may ask for are switched off: every text is encoded in full.
    """
    try:
        tokenizer = Tokenizer.from_str(text)
    except BaseException as error:  # the library raises plain Exception, and what is less than that where Rust panics
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise BispikError(f"{where}: not a tokeniser that can be read: {first_line(error)}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def train_tokenizer(corpus: Path | Source, vocab_size: int, path: Path) -> Tokenizer:
    """Train a byte-level BPE tokeniser on a text file or another source and write it to ``path``.

    Of a source that is no text file, the first `TOKENIZER_CHARACTERS` are enough.

    Raises:
        BispikError: for an empty text, or fewer tokens than there are bytes.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size < len(alphabet):
        raise BispikError(f"vocab_size is {vocab_size}; a byte-level tokeniser has at least {len(alphabet)} tokens")
    if isinstance(corpus, (Path, TextFile)):
        texts = [read_text(corpus if isinstance(corpus, Path) else corpus.path, "training text")]
    else:
        texts = list(_first(corpus.texts(), TOKENIZER_CHARACTERS))
    if not any(text.strip() for text in texts):
        raise BispikError(f"{corpus}: the training text is empty")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    with written_whole(path) as temporary:
        temporary.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    return tokenizer


def _first(texts: Iterator[str], characters: int) -> Iterator[str]:
    """Yield texts until they have that many characters."""
    for text in texts:
        yield text
        characters -= len(text)
        if characters <= 0:
            return


def encode_file(tokenizer: Tokenizer, path: Path) -> TokenText:
    """Tokenise a text file.

    Raises:
        BispikError: if the file cannot be read or has fewer than two tokens.
    """
    text = read_text(path, "text")
    ids = np.array(tokenizer.encode(text).ids, dtype=np.int64)
    require_tokens(len(ids), str(path))
    return TokenText(ids=ids, num_bytes=len(text.encode("utf-8")))


def require_tokens(tokens: int, where: str) -> None:
    """Check that a text has a token to predict.

    Raises:
        BispikError: if it has fewer than two.
    """
    if tokens < 2:
        raise BispikError(f"{where}: {tokens} tokens; at least 2 are needed")


def random_batch(text: TokenText, batch: int, length: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Windows of ``length`` + 1 ids that start at random places, shape (batch, length + 1); the text must hold one."""
    starts = generator.integers(0, len(text.ids) - length, size=batch)
    return np.stack([text.ids[start : start + length + 1].astype(np.int64) for start in starts])
