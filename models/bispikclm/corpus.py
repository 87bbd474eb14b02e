"""The texts of a run as tokens, and the tokeniser that makes them."""

from __future__ import annotations

from tokenizers import Tokenizer

from bispik.models.bispikclm.data import TokenText, load_tokenizer, train_tokenizer
from bispik.models.bispikclm.documents import source_of
from bispik.models.bispikclm.run_config import TrainingRun
from bispik.models.bispikclm.teacher import teacher_tokenizer
from bispik.models.bispikclm.token_cache import token_text
from bispik.models.errors import BispikError
from bispik.models.files import written_whole


def corpus(run: TrainingRun) -> tuple[TokenText, TokenText]:
    """Return the training and validation tokens; makes the tokeniser if its file is not there.

    Raises:
        BispikError: if a text is missing, empty or too short, or the tokeniser has more tokens than the model.
    """
    data, model = run.data, run.model
    tokenizer = load_tokenizer(data.tokenizer) if data.tokenizer.exists() else _new_tokenizer(run)
    tokens = tokenizer.get_vocab_size()
    if tokens > model.vocab_size:
        raise BispikError(
            f"{data.tokenizer}: the tokeniser has {tokens} tokens, the model {model.vocab_size}; "
            "set vocab_size to match, or remove the file to train a new one"
        )
    train = token_text(source_of(data.train, data.field), tokenizer, data.cache, data.max_tokens)
    if len(train.ids) <= model.max_positions:
        raise BispikError(
            f"{data.train}: {len(train.ids)} tokens; more than max_positions ({model.max_positions}) are needed"
        )
    return train, validation_text(run, tokenizer)


def validation_text(run: TrainingRun, tokenizer: Tokenizer) -> TokenText:
    """Return the validation tokens.

    Raises:
        BispikError: if the text is missing, empty or too short.
    """
    data = run.data
    return token_text(source_of(data.validation, data.field), tokenizer, data.cache)


def _new_tokenizer(run: TrainingRun) -> Tokenizer:
    data = run.data
    if data.new_tokenizer == "trained":
        return train_tokenizer(source_of(data.train, data.field), run.model.vocab_size, data.tokenizer)
    tokenizer = teacher_tokenizer(run.teacher.source)
    if tokenizer is None:
        raise BispikError(f"{run.teacher.source}: the teacher has no tokeniser of its own; put one at {data.tokenizer}")
    with written_whole(data.tokenizer) as temporary:
        temporary.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    return tokenizer


def check_tokenizer(run: TrainingRun) -> None:
    """Check that the run's tokeniser is the teacher's, as far as the teacher has one.

    Raises:
        BispikError: naming a token that the two number differently.
    """
    theirs = teacher_tokenizer(run.teacher.source)
    if theirs is None:
        return
    ours, wanted = load_tokenizer(run.data.tokenizer).get_vocab(), theirs.get_vocab()
    different = sorted(token for token in ours.keys() | wanted.keys() if ours.get(token) != wanted.get(token))
    if different:
        token = different[0]
        raise BispikError(
            f"{run.data.tokenizer}: not the tokeniser of the teacher {run.teacher.source}: {len(different)} tokens "
            f"differ; {token!r} is {_id(ours.get(token))} here and {_id(wanted.get(token))} there; use the teacher's "
            '(remove the file and set new_tokenizer = "teacher")'
        )


def _id(token: int | None) -> str:
    return "absent" if token is None else str(token)
