"""Texts and tokenisers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from bispik.models.bispikclm.data import (
    TokenText,
    encode_file,
    load_tokenizer,
    parse_tokenizer,
    random_batch,
    train_tokenizer,
)
from bispik.models.errors import BispikError

TEXT = "In the beginning God created the heaven and the earth.\n" * 20 + "Ünïcödé — ☃ \t end\n"


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer(text_file: Path) -> Tokenizer:
    return train_tokenizer(text_file, 300, text_file.parent / "tokenizer.json")


def test_any_text_survives_the_round_trip(tokenizer: Tokenizer, text_file: Path) -> None:
    loaded = load_tokenizer(text_file.parent / "tokenizer.json")
    for text in (TEXT, "never seen: żółć 漢字 \x00\x7f 🙂"):
        ids = loaded.encode(text).ids
        assert ids == tokenizer.encode(text).ids
        assert loaded.decode(ids) == text
    assert 256 <= loaded.get_vocab_size() <= 300


def test_encoded_file_knows_its_bytes(tokenizer: Tokenizer, text_file: Path) -> None:
    text = encode_file(tokenizer, text_file)
    assert text.num_bytes == len(TEXT.encode()) > len(TEXT)
    assert text.ids.tolist() == tokenizer.encode(TEXT).ids


def test_truncation_in_the_file_is_switched_off(tokenizer: Tokenizer) -> None:
    values = json.loads(tokenizer.to_str())
    values["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    assert parse_tokenizer(json.dumps(values), "x").encode(TEXT).ids == tokenizer.encode(TEXT).ids


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"model": {}}', "[" * 5000])
def test_no_tokenizer(text: str) -> None:
    with pytest.raises(BispikError, match=r"^here: not a tokeniser"):
        parse_tokenizer(text, "here")


def test_unusable_texts(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(BispikError, match="cannot read the text"):
        encode_file(tokenizer, tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(BispikError, match="0 tokens; at least 2"):
        encode_file(tokenizer, tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(BispikError, match="byte 3 is invalid"):
        encode_file(tokenizer, tmp_path / "latin.txt")


def test_a_tokenizer_is_not_trained_on_nothing(text_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(BispikError, match="empty"):
        train_tokenizer(tmp_path / "empty.txt", 300, tmp_path / "tokenizer.json")
    with pytest.raises(BispikError, match="at least 256"):
        train_tokenizer(text_file, 200, tmp_path / "tokenizer.json")
    assert not (tmp_path / "tokenizer.json").exists()


@pytest.mark.parametrize("count", [2, 3, 8, 9, 10, 17])
def test_windows_predict_every_token_but_the_first_once(count: int) -> None:
    text = TokenText(ids=np.arange(count), num_bytes=count)
    windows = list(text.windows(4))
    assert [i for window in windows for i in window[1:]] == list(range(1, count))
    assert all(2 <= len(window) <= 5 for window in windows)


def test_random_batch_takes_the_first_and_the_last_window() -> None:
    text = TokenText(ids=np.arange(7), num_bytes=7)
    starts = {int(row[0]) for row in random_batch(text, 200, 4, np.random.default_rng(0))}
    assert starts == {0, 1, 2}
    assert random_batch(text, 3, 6, np.random.default_rng(0)).tolist() == [list(range(7))] * 3
