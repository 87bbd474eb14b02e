"""A compiled program as a model of lm-eval: ``lm_eval --model bispik --model_args program=program.bspk,backend=sim``.

Needs the ``eval`` extra. Nothing else imports this module; lm-eval finds it by name (see `lm_eval_plugin`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from tqdm import tqdm

from bispik.backends.generate import generate
from bispik.backends.host import Sampler
from bispik.backends.likelihood import Continuation, FreshRuns, encode_continuation, likelihoods
from bispik.backends.registry import BACKENDS, open_session
from bispik.compiler.artifact import load_program
from bispik.models.bispikclm.data import parse_tokenizer
from bispik.models.errors import BispikError

LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names that tasks have for the number of new tokens, in lm-eval's order of precedence."""

GREEDY = {"do_sample": (False, None), "temperature": (0, None), "num_beams": (1, None)}
"""What these may be where the likeliest token is taken."""

IRRELEVANT = ("top_p", "top_k")
"""Choose among tokens, of which greedy decoding takes the first."""


class BispikLM(LM):  # type: ignore[misc] # lm-eval has no type information
    """A program on a backend.

    Every sequence is run from its beginning, one after the other; ``batch_size`` changes nothing. Texts are tokenised
    as they are, with the program's tokeniser. Where lm-eval conditions a text's first token on an end-of-text token,
    which byte-level tokenisers do not have, that first token is only context here and is not scored.
    """

    def __init__(
        self,
        program: str,
        backend: str = "sim",
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        """Read a program.

        Args:
            program: path of a program.bspk.
            backend: what to run it on, a name of `bispik.backends.registry`.
            batch_size: what lm-eval always gives; sequences run one by one.
            max_batch_size: as ``batch_size``.
            device: what lm-eval always gives (``cuda:0`` by default); ``backend`` says what a program runs on.

        Raises:
            BispikError: if the program cannot be read, has no tokeniser, or there is no such backend.
        """
        super().__init__()
        del batch_size, max_batch_size, device
        if backend not in BACKENDS:
            raise BispikError(f"backend {backend!r}: unknown; choose one of {', '.join(BACKENDS)}")
        self.program = load_program(Path(program)).program
        if not self.program.tokenizer:
            raise BispikError(f"{program}: has no tokeniser; compile it with --tokenizer")
        self.tokenizer = parse_tokenizer(self.program.tokenizer, program)
        self.special = {i for i, token in self.tokenizer.get_added_tokens_decoder().items() if token.special}
        """Tokens that end a text."""
        self.backend = backend
        self.runs = FreshRuns(self.program, backend)

    @property
    def max_length(self) -> int:
        """Tokens that the program has room for."""
        return self.program.window

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Score continuations (context, continuation): ln p in nats, and whether greedy decoding would write them."""
        pairs = [encode_continuation(self.tokenizer, *request.args) for request in requests]
        found = self._score(pairs, "loglikelihood")
        return self._answered("loglikelihood", requests, [(one.log_likelihood, one.greedy) for one in found])

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Score whole texts: ln p of all their tokens but the first, each with as much context as the window holds."""
        windows = [self._windows(*request.args) for request in requests]
        found = iter(self._score([window for text in windows for window in text], "loglikelihood_rolling"))
        sums = [sum(next(found).log_likelihood for _ in text) for text in windows]
        return self._answered("loglikelihood_rolling", requests, sums)

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Continue contexts by the likeliest token, up to the first of ``until`` or ``max_gen_toks`` tokens.

        Raises:
            BispikError: for arguments that ask for anything but greedy decoding, or for a window's tokens and more.
        """
        texts = [
            self._continued(*request.args) for request in tqdm(requests, desc="bispik: generate_until", disable=None)
        ]
        return self._answered("generate_until", requests, texts)

    def _score(self, continuations: Sequence[Continuation], what: str) -> Any:
        with tqdm(total=len(continuations), desc=f"bispik: {what}", disable=None) as bar:
            return likelihoods(self.runs, continuations, self.max_length, bar.update)

    def _answered(self, kind: str, requests: list[Instance], answers: list[Any]) -> list[Any]:
        """Hand the answers to lm-eval's cache as well (``--use_cache``)."""
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial(kind, request.args, answer)
        return answers

    def _windows(self, text: str) -> list[Continuation]:
        """Cut a text so that every token but the first is scored once: whole windows, the last one reaching back."""
        ids = np.array(self.tokenizer.encode(text).ids, dtype=np.int64)
        ends = [*range(self.max_length, len(ids) - 1, self.max_length), len(ids) - 1]
        starts = [0, *ends[:-1]]
        return [
            Continuation(ids=ids[max(0, end - self.max_length) : end + 1], scored=end - start)
            for start, end in zip(starts, ends, strict=True)
            if end > start
        ]

    def _continued(self, context: str, arguments: dict[str, Any]) -> str:
        stops, new_tokens = _generation(arguments, self.max_length)
        context_ids = self.tokenizer.encode(context).ids[-(self.max_length - new_tokens) :]
        if not context_ids:
            raise BispikError("generate_until: the context is empty; there is nothing to continue")
        before = self.tokenizer.decode(context_ids)
        new_ids: list[int] = []
        text = ""
        with closing(open_session(self.backend, self.program)) as session:
            run = generate(session.read, self.program, context_ids, new_tokens, Sampler())
            next(run)  # the context
            for token in run:
                if token[0] in self.special:
                    break
                new_ids += token
                text = self.tokenizer.decode(context_ids + new_ids)[len(before) :]
                if any(stop in text for stop in stops):
                    break
        for stop in stops:
            text = text.split(stop)[0]
        return text


def _generation(arguments: dict[str, Any], window: int) -> tuple[list[str], int]:
    """Return where to stop, and after how many tokens at the latest: half a window if the task does not say."""
    until = arguments.get("until") or []
    stops = [stop for stop in ([until] if isinstance(until, str) else until) if stop]
    for name, value in arguments.items():
        if name in GREEDY and value not in GREEDY[name]:
            raise BispikError(
                f"generate_until: {name} {value} asks for more than greedy decoding, which is all there is"
            )
        if name not in ("until", *LENGTHS, *GREEDY, *IRRELEVANT):
            raise BispikError(f"generate_until: no such argument is known as {name}")
    new_tokens = next((int(arguments[name]) for name in LENGTHS if arguments.get(name) is not None), window // 2)
    if not 1 <= new_tokens < window:
        raise BispikError(
            f"generate_until: {new_tokens} new tokens, in a window of {window}: give 1 to {window - 1} "
            "(--gen_kwargs max_gen_toks=N)"
        )
    return stops, new_tokens
