"""Text from a sequence: run the prompt, choose a token, run it, and so on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bispik.backends.activity import Reading, checked_tokens
from bispik.backends.host import Sampler, logits
from bispik.compiler.program import QuantizedProgram


def generate(
    read: Callable[[Sequence[int]], Reading],
    program: QuantizedProgram,
    prompt: Sequence[int],
    max_new_tokens: int,
    sampler: Sampler,
    chunk: int | None = None,
) -> Iterator[list[int]]:
    """Yield the tokens that were run: first the prompt's, then one at a time.

    Every chosen token is run, the last one too, so that the account of its energy is whole. Ends after
    ``max_new_tokens`` or when the window is full.

    Args:
        read: runs the next tokens of the sequence and returns what the host reads, such as a session's ``read``.
        program: what is run.
        prompt: token ids.
        max_new_tokens: to choose.
        sampler: chooses.
        chunk: tokens of the prompt that are run at once, all of them by default; the numbers are the same.
    """
    checked_tokens(program, prompt, 0)  # all of it, before any of it is run
    size = chunk or len(prompt)
    reading: Reading | None = None
    for start in range(0, len(prompt), size):
        reading = read(prompt[start : start + size])
        yield list(prompt[start : start + size])
    assert reading is not None  # the prompt is not empty
    for _ in range(min(max_new_tokens, program.window - len(prompt))):
        token = sampler.choose(logits(program, reading)[-1])
        reading = read([token])
        yield [token]
