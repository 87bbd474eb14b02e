"""Texts of any length as token ids on disk: tokenised once, packed, and mapped into memory.

The documents stand one behind the other. Where the tokeniser has an end-of-text token (`END_OF_TEXT`), one follows each
document of a JSON-lines file or data set; a text file is one document and gets none.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from bispik.models.bispikclm.data import TokenText, require_tokens
from bispik.models.bispikclm.documents import Source
from bispik.models.errors import BispikError
from bispik.models.files import read_text, written_whole

END_OF_TEXT = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>")
"""Names of the token that ends a document; the first that a tokeniser has is taken. OPT's is ``</s>``, id 2."""

_VERSION = 1
_BATCH = 1 << 20
"""Characters that are tokenised at once."""


def end_of_text(tokenizer: Tokenizer) -> int | None:
    """Return the id of the token that ends a document, if the tokeniser has one."""
    known = (tokenizer.token_to_id(name) for name in END_OF_TEXT)
    return next((token for token in known if token is not None), None)


def token_text(source: Source, tokenizer: Tokenizer, folder: Path, max_tokens: int | None = None) -> TokenText:
    """Return a text as token ids, from the cache if it has been tokenised before.

    Args:
        source: where the text comes from.
        tokenizer: without truncation and padding.
        folder: of the cache; a text's files there are named after a digest of source, tokeniser and ``max_tokens``.
        max_tokens: no more are taken, from the beginning.

    Raises:
        BispikError: if the text cannot be read or has fewer than two tokens, or the cache cannot be written.
    """
    what = (_VERSION, source.version(), tokenizer.to_str(), max_tokens)
    path = folder / f"{hashlib.sha256(repr(what).encode()).hexdigest()[:24]}.ids"
    dtype = np.dtype("<u2" if tokenizer.get_vocab_size() <= 1 << 16 else "<u4")
    sheet = path.with_suffix(".json")
    if not sheet.is_file():
        is_new = not folder.exists()
        try:
            _write(source, tokenizer, path, dtype, max_tokens)
        except BaseException:
            if is_new and folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
            raise
    return _mapped(path, sheet, dtype)


def _write(source: Source, tokenizer: Tokenizer, path: Path, dtype: np.dtype[Any], limit: int | None) -> None:
    tokens = num_bytes = 0
    progress = _Progress(str(source))
    sheet_path = path.with_suffix(".json")
    # The sheet takes its place last: where it is, the ids are complete.
    with written_whole(sheet_path) as sheet, written_whole(path) as temporary, temporary.open("wb") as file:
        for ids, size in _encoded(source, tokenizer):
            kept = ids if limit is None else ids[: limit - tokens]
            if len(kept):
                file.write(np.asarray(kept, dtype).tobytes())
                num_bytes += round(size * len(kept) / len(ids))
            tokens += len(kept)
            progress(tokens)
            if tokens == limit:
                break
        progress.end()
        require_tokens(tokens, str(source))
        facts = {"source": str(source), "tokens": tokens, "bytes": num_bytes, "dtype": dtype.str}
        sheet.write_text(json.dumps(facts) + "\n", encoding="utf-8")


def _mapped(path: Path, sheet: Path, dtype: np.dtype[Any]) -> TokenText:
    try:
        facts = json.loads(read_text(sheet, "sheet of the tokenised text"))
        tokens, num_bytes = int(facts["tokens"]), int(facts["bytes"])
        if path.stat().st_size != tokens * dtype.itemsize:
            raise ValueError("the length is wrong")
        ids: npt.NDArray[np.integer[Any]] = np.memmap(path, dtype=dtype, mode="r", shape=(tokens,))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BispikError(
            f"{path}: a damaged cache of a tokenised text ({error}); remove it and {sheet.name}"
        ) from error
    return TokenText(ids=ids, num_bytes=num_bytes)


def _encoded(source: Source, tokenizer: Tokenizer) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """Yield the ids of each text, with its end, and its length in bytes."""
    end = end_of_text(tokenizer) if source.separated else None
    texts: Iterable[str] = source.texts()
    if not source.separated and not cuts_at_lines(tokenizer):
        texts = ["".join(texts)]
    for batch in _batches(texts):
        for text, encoding in zip(batch, tokenizer.encode_batch(batch, add_special_tokens=False), strict=True):
            ids = encoding.ids if end is None else [*encoding.ids, end]
            yield np.array(ids, dtype=np.int64), len(text.encode("utf-8", "surrogatepass"))


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def cuts_at_lines(tokenizer: Tokenizer) -> bool:
    """Whether the pieces of `documents.TextFile.texts` have the same ids as the whole text.

    A byte-level tokeniser's words never reach across a single line's end between two characters; of others this is not
    known, and they are given the whole text.
    """
    sheet = json.loads(tokenizer.to_str())
    words = sheet["pre_tokenizer"] or {}
    return (
        sheet["normalizer"] is None
        and words.get("type") == "ByteLevel"
        and words.get("use_regex", True)
        and not words["add_prefix_space"]
        and not any("\n" in token["content"] or token["lstrip"] or token["rstrip"] for token in sheet["added_tokens"])
    )


class _Progress:
    """A line on stderr that counts tokens, on a terminal only, for texts that take seconds."""

    def __init__(self, what: str) -> None:
        self.what, self.last = what, time.monotonic()
        self.shown = sys.stderr.isatty()

    def __call__(self, tokens: int) -> None:
        if self.shown and time.monotonic() - self.last > 2:
            self.last = time.monotonic()
            sys.stderr.write(f"\r{self.what}: {tokens:,} tokens so far")
            sys.stderr.flush()

    def end(self) -> None:
        """Take the line away."""
        if self.shown:
            sys.stderr.write("\r\033[K")
