"""Where a continuation begins, what a network is shown, and how it is scored."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from bispik.backends.likelihood import FreshRuns, encode_continuation, likelihoods
from bispik.backends.sim import SimSession
from bispik.models.errors import BispikError
from tests.networks import random_program, random_tokens

Ids = npt.NDArray[np.int64]
VOCABULARY = {"a": 0, "b": 1, "c": 2, "Ġ": 3, "Ġa": 4, "ab": 5, "abc": 6}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Merges "Ġ a", "a b" and "ab c", in that order; "Ġ" is a space."""
    result = Tokenizer(models.BPE(vocab=VOCABULARY, merges=[("Ġ", "a"), ("a", "b"), ("ab", "c")]))
    result.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return result


@pytest.mark.parametrize(
    ("context", "continuation", "tokens", "scored"),
    [
        ("b", " a", ["b", "Ġa"], 1),
        ("b ", "a", ["b", "Ġa"], 1),  # white space at the end of the context counts to the continuation
        ("c ab", "c", ["c", "Ġa", "b", "c"], 1),
        ("cb", "aba", ["c", "b", "ab", "a"], 2),
        ("bab", "c", ["b", "abc"], 1),  # a token reaches across: it is scored
        ("ab", "c c", ["abc", "Ġ", "c"], 2),  # it can only be context where it is the first
        ("", "abb", ["ab", "b"], 1),  # the first token stands for a context
        (" ", "b", ["Ġ", "b"], 1),
    ],
)
def test_a_continuation_begins_where_its_context_ends(
    tokenizer: Tokenizer, context: str, continuation: str, tokens: list[str], scored: int
) -> None:
    found = encode_continuation(tokenizer, context, continuation)
    assert [tokenizer.id_to_token(int(i)) for i in found.ids] == tokens
    assert found.scored == scored


@pytest.mark.parametrize(("context", "continuation"), [("", "a"), ("a", ""), ("", "")])
def test_a_single_token_cannot_be_scored(tokenizer: Tokenizer, context: str, continuation: str) -> None:
    with pytest.raises(BispikError, match="at least 2 are needed"):
        encode_continuation(tokenizer, context, continuation)


def test_scores_are_sums_of_logarithms_and_equal_sequences_run_once(tokenizer: Tokenizer) -> None:
    shown: list[list[int]] = []

    def uneven(ids: Ids) -> npt.NDArray[np.float64]:
        """Id 0 has the odds 3 : 1 : ... : 1, whatever came before."""
        shown.append(ids.tolist())
        odds = np.array([[3.0, 1, 1, 1, 1, 1, 1]] * len(ids))
        return np.asarray(np.log(odds))

    pairs = [("c", "a"), ("c", "b"), ("ccc", "aa"), ("c" * 9, "aa")]
    found = likelihoods(uneven, [encode_continuation(tokenizer, *pair) for pair in pairs], window=4)
    assert shown == [[2], [2, 2, 2, 0]]
    assert [one.log_likelihood for one in found] == pytest.approx(
        [math.log(3 / 9), math.log(1 / 9), 2 * math.log(3 / 9), 2 * math.log(3 / 9)]
    )
    assert [one.greedy for one in found] == [True, False, True, True]
    with pytest.raises(BispikError, match="6 tokens to score do not fit the window of 4"):
        likelihoods(uneven, [encode_continuation(tokenizer, "c", "aaaaaa")], window=4)


def test_every_sequence_is_run_from_its_beginning() -> None:
    program = random_program(5)
    ids = random_tokens(program, 1)
    runs = FreshRuns(program, "sim")
    first, second = runs(ids), runs(ids)
    assert np.array_equal(first, second)
    assert np.array_equal(runs(ids[:3]), first[:3])
    assert runs.execution_mode == SimSession(program).execution_mode
