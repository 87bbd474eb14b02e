"""Text from a session: feed the prompt, choose a token, feed it, and so on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bispik.backends.activity import Activity, Session, reading_of
from bispik.backends.host import Sampler, logits
from bispik.compiler.program import QuantizedProgram


def generate(
    session: Session, program: QuantizedProgram, prompt: Sequence[int], max_new_tokens: int, sampler: Sampler
) -> Iterator[tuple[list[int], Activity]]:
    """Yield the tokens that were run and what happened in them: first the prompt's, then one at a time.

    Every chosen token is run, the last one too, so that the account of its energy is whole. Ends after
    ``max_new_tokens`` or when the window is full.
    """
    activity = session.feed(prompt)
    yield list(prompt), activity
    for _ in range(min(max_new_tokens, program.window - len(prompt))):
        token = sampler.choose(logits(program, reading_of(program, activity))[-1])
        activity = session.feed([token])
        yield [token], activity
