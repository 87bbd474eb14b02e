"""Text from a session: feed the prompt, choose a token, feed it, and so on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bispik.backends.activity import Activity, Session, checked_tokens
from bispik.backends.host import Sampler, logits
from bispik.compiler.program import QuantizedProgram


def generate(
    session: Session,
    program: QuantizedProgram,
    prompt: Sequence[int],
    max_new_tokens: int,
    sampler: Sampler,
    chunk: int | None = None,
) -> Iterator[tuple[list[int], Activity]]:
    """Yield the tokens that were run and what happened in them: first the prompt's, then one at a time.

    The prompt is fed ``chunk`` tokens at a time, or at once; the numbers are the same. Every chosen token is run, the
    last one too, so that the account of its energy is whole. Ends after ``max_new_tokens`` or when the window is full.
    """
    checked_tokens(program, prompt, 0)  # all of it, before any of it is run
    size = chunk or len(prompt)
    activity = session.feed(prompt[:size])
    yield list(prompt[:size]), activity
    for start in range(size, len(prompt), size):
        activity = session.feed(prompt[start : start + size])
        yield list(prompt[start : start + size]), activity
    for _ in range(min(max_new_tokens, program.window - len(prompt))):
        token = sampler.choose(logits(program, activity)[-1])
        activity = session.feed([token])
        yield [token], activity
