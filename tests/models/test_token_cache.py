"""Texts as token ids on disk: the same ids as in memory, documents packed, each source read as it says."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from bispik.models.bispikclm import documents, token_cache
from bispik.models.bispikclm.data import encode_file, load_tokenizer, parse_tokenizer, random_batch, train_tokenizer
from bispik.models.bispikclm.documents import HubDataset, JsonLines, TextFile, source_of
from bispik.models.bispikclm.token_cache import cuts_at_lines, end_of_text, token_text
from bispik.models.errors import BispikError

EXAMPLE = Path(__file__).parents[2] / "examples" / "kjv_shakespeare"
DOCUMENTS = ["In the beginning\n\nGod", "created", "", "the heaven — ☃"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(EXAMPLE / "tokenizer.json")


@pytest.fixture(scope="module")
def with_end(tokenizer: Tokenizer) -> Tokenizer:
    """The example's tokeniser with an end-of-text token, which its text is also marked with by default, as OPT's is."""
    result = parse_tokenizer(tokenizer.to_str(), "copy")
    result.add_special_tokens(["</s>"])
    return result


def write_lines(path: Path, field: str = "text") -> JsonLines:
    path.write_text("".join(json.dumps({"id": 1, field: text}) + "\n" for text in DOCUMENTS), encoding="utf-8")
    return JsonLines(path, field)


@pytest.mark.parametrize("piece", [100, 1 << 20])
def test_the_examples_text_has_the_ids_that_it_has_in_memory(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(documents, "_PIECE", piece)
    path = EXAMPLE / "heldout.txt"
    expected = encode_file(tokenizer, path)
    text = token_text(TextFile(path), tokenizer, tmp_path)
    assert text.ids.dtype == np.uint16
    assert np.array_equal(text.ids, expected.ids)
    assert text.num_bytes == expected.num_bytes
    assert len(list(TextFile(path).texts())) > (300 if piece == 100 else 0)
    length = 128
    for first, second in zip(text.windows(length), expected.windows(length), strict=True):
        assert first.dtype == np.int64
        assert np.array_equal(first, second)
    first, second = (random_batch(found, 3, length, np.random.default_rng(1)) for found in (text, expected))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_cuts_change_no_ids(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newline: str
) -> None:
    odd = "  a\n\n b \n c\n'd\ne\u00a0\n\u2003f\n1\n\x1c\n2\n\t\n\n\nżółć\n漢字\n🙂\n\n"
    path = tmp_path / "odd.txt"
    path.write_bytes((odd * 7).replace("\n", newline).encode())
    for piece in range(1, 12):
        monkeypatch.setattr(documents, "_PIECE", piece)
        assert "".join(TextFile(path).texts()) == odd * 7
        ids = [i for text in TextFile(path).texts() for i in tokenizer.encode(text).ids]
        assert ids == tokenizer.encode(odd * 7).ids


def test_a_tokenizer_whose_words_may_cross_lines_gets_the_whole_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a\nb\n" * 5)
    pair = Tokenizer(models.BPE({"a": 0, "b": 1, "\n": 2, "a\n": 3, "a\nb": 4}, [("a", "\n"), ("a\n", "b")]))
    assert not cuts_at_lines(pair)
    assert token_text(TextFile(path), pair, tmp_path / "cache").ids.tolist() == [4, 2] * 5


def test_which_tokenizers_cut_at_lines(tokenizer: Tokenizer) -> None:
    assert cuts_at_lines(tokenizer)
    changed = parse_tokenizer(tokenizer.to_str(), "copy")
    changed.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert not cuts_at_lines(changed)
    changed = parse_tokenizer(tokenizer.to_str(), "copy")
    changed.normalizer = normalizers.NFC()
    assert not cuts_at_lines(changed)
    changed = parse_tokenizer(tokenizer.to_str(), "copy")
    changed.add_tokens([AddedToken("<x>", rstrip=True)])
    assert not cuts_at_lines(changed)


def test_documents_are_packed_with_an_end_behind_each(
    with_end: Tokenizer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    lines = write_lines(tmp_path / "a.jsonl")
    end = with_end.token_to_id("</s>")
    assert end_of_text(with_end) == end
    assert end_of_text(tokenizer) is None
    text = token_text(lines, with_end, tmp_path / "cache")
    expected = [i for document in DOCUMENTS for i in (*with_end.encode(document).ids, end)]
    assert text.ids.tolist() == expected
    assert text.num_bytes == sum(len(document.encode()) for document in DOCUMENTS)
    plain = token_text(lines, tokenizer, tmp_path / "cache")
    assert plain.ids.tolist() == [i for i in expected if i != end]
    assert len(list((tmp_path / "cache").iterdir())) == 4  # ids and sheet, by tokeniser


def test_a_template_of_the_tokenizer_adds_nothing(with_end: Tokenizer, tmp_path: Path) -> None:
    from tokenizers import processors

    templated = parse_tokenizer(with_end.to_str(), "copy")
    end = with_end.token_to_id("</s>")
    templated.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", end)])
    assert templated.encode("a").ids[0] == end
    lines = write_lines(tmp_path / "a.jsonl")
    both = [token_text(lines, t, tmp_path / "cache").ids.tolist() for t in (with_end, templated)]
    assert both[0] == both[1]


def test_max_tokens_takes_the_beginning(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = TextFile(EXAMPLE / "heldout.txt")
    whole = token_text(source, tokenizer, tmp_path)
    part = token_text(source, tokenizer, tmp_path, 1000)
    assert np.array_equal(part.ids, whole.ids[:1000])
    assert part.num_bytes / len(part.ids) == pytest.approx(whole.num_bytes / len(whole.ids), rel=1e-3)
    assert len(token_text(source, tokenizer, tmp_path, 10**9).ids) == len(whole.ids)


def test_a_text_is_tokenised_once(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, cache = write_lines(tmp_path / "a.jsonl"), tmp_path / "cache"
    text = token_text(lines, tokenizer, cache)
    with monkeypatch.context() as patch:
        patch.setattr(token_cache, "_write", None)
        again = token_text(lines, tokenizer, cache)
    assert np.array_equal(again.ids, text.ids)
    assert again.num_bytes == text.num_bytes
    (tmp_path / "a.jsonl").write_text('{"text": "something else"}\n')
    changed = token_text(lines, tokenizer, cache)
    assert tokenizer.decode(changed.ids.tolist()) == "something else"


def test_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    large = Tokenizer(models.WordLevel({"a": 0, "b": 70_000, **{f"w{i}": i for i in range(1, 70_000)}}, unk_token="a"))
    large.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    large.decoder = decoders.Fuse()
    (tmp_path / "a.jsonl").write_text('{"text": "a b"}\n')
    text = token_text(JsonLines(tmp_path / "a.jsonl", "text"), large, tmp_path)
    assert text.ids.dtype == np.uint32
    assert text.ids.tolist() == [0, 70_000]


def test_a_damaged_cache_is_not_used(tokenizer: Tokenizer, tmp_path: Path) -> None:
    lines, cache = write_lines(tmp_path / "a.jsonl"), tmp_path / "cache"
    token_text(lines, tokenizer, cache)
    for name, content in (("*.ids", b"123"), ("*.json", b"{}")):
        next(cache.glob(name)).write_bytes(content)
        with pytest.raises(BispikError, match=r"a damaged cache .* remove it and \w+\.json"):
            token_text(lines, tokenizer, cache)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.jsonl: 0 tokens; at least 2"),
        (b"\n \n", "a.jsonl: 0 tokens; at least 2"),
        (b'{"text": "fine"}\n[1]\n', "a.jsonl, line 2: a list, not a JSON object"),
        (b'{"text": "fine"}\n\n{"txt": "a"}\n', "a.jsonl, line 3: no field 'text'; it has 'txt'"),
        (b'{"text": 5}\n', "a.jsonl, line 1: the field 'text' is a int, not a text"),
        (b'{"text": "fine"}\n{"text": \n', "a.jsonl, line 2: not JSON: "),
        (b'{"text": "fine"}\n{"text": "caf\xe9"}\n', "a.jsonl, line 2: not UTF-8 text: byte 13 of the line"),
    ],
)
def test_errors_of_json_lines(tokenizer: Tokenizer, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(BispikError, match=message):
        token_text(JsonLines(tmp_path / "a.jsonl", "text"), tokenizer, tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_errors_of_text_files(tokenizer: Tokenizer, tmp_path: Path) -> None:
    for source in (TextFile(tmp_path / "none.txt"), JsonLines(tmp_path / "none.jsonl", "text")):
        with pytest.raises(BispikError, match=r"none\.\w+: cannot read the text: No such file"):
            token_text(source, tokenizer, tmp_path / "cache")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(BispikError, match=r"latin\.txt: the text is not UTF-8 text: byte 3 is invalid"):
        token_text(TextFile(tmp_path / "latin.txt"), tokenizer, tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["latin.txt"]


class Rows(list[dict[str, Any]]):
    """As much of a streamed data set as is used."""

    def skip(self, count: int) -> Rows:
        return Rows(self[count:])

    def take(self, count: int) -> Rows:
        return Rows(islice(self, count))


def test_a_data_set_on_the_hub(with_end: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(*names: Any, **options: Any) -> Rows:
        asked.append((names, options))
        return Rows({"id": 1, "body": text} for text in DOCUMENTS)

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    source = source_of("hub:some/body?name=sample-10BT&split=train&field=body&skip=1&take=2", "text")
    text = token_text(source, with_end, tmp_path)
    assert asked == [(("some/body", "sample-10BT"), {"split": "train", "revision": None, "streaming": True})]
    end = with_end.token_to_id("</s>")
    assert text.ids.tolist() == [i for document in DOCUMENTS[1:3] for i in (*with_end.encode(document).ids, end)]
    with pytest.raises(BispikError, match="hub:some/body, row 1: no field 'text'; it has 'id', 'body'"):
        token_text(source_of("hub:some/body", "text"), with_end, tmp_path)
    train_tokenizer(source_of("hub:some/body", "body"), 300, tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path / "tokenizer.json").get_vocab_size() >= 256


def test_a_data_set_that_cannot_be_had(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of("hub:no/body", "text")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BispikError, match=r"hub:no/body needs the datasets library: pip install 'bispik\[train\]'"):
        token_text(source, tokenizer, tmp_path / "cache")

    def unknown(*_names: Any, **_options: Any) -> Rows:
        raise ConnectionError("Couldn't reach 'no/body' on the Hub\nmore")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=unknown))
    with pytest.raises(BispikError, match=r"cannot be had from the hub: Couldn't reach 'no/body' on the Hub$"):
        token_text(source, tokenizer, tmp_path / "cache")

    def interrupted(*_names: Any, **_options: Any) -> Iterator[dict[str, str]]:
        yield {"text": "one"}
        raise TimeoutError("timed out")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=interrupted))
    with pytest.raises(BispikError, match="hub:no/body: row 2 cannot be had from the hub: timed out"):
        token_text(source, tokenizer, tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


def test_what_a_source_means() -> None:
    assert source_of("corpus/a.txt", "text") == TextFile(Path("corpus/a.txt"))
    assert source_of("a.jsonl", "body") == JsonLines(Path("a.jsonl"), "body")
    assert source_of("hub:a/b", "body") == HubDataset(dataset="a/b", field="body")
    for place, message in (
        ("hub:", "no data set is named"),
        ("hub:?split=train", "no data set is named"),
        ("hub:../a", "no data set is named"),
        ("hub:a/b?splitt=train", "unknown option 'splitt'; known are name, split"),
        ("hub:a/b?split", "no NAME=VALUE"),
        ("hub:a/b?take=-1", "take is '-1'; expected a number"),
    ):
        with pytest.raises(BispikError, match=message):
            source_of(place, "text")
