"""Text that a float network continues."""

from __future__ import annotations

import torch
from torch import Tensor

from bispik.models.bispikclm.model import BiSpikCLM


@torch.no_grad()
def continuation(model: BiSpikCLM, prompt: Tensor, count: int, *, temperature: float, seed: int) -> list[int]:
    """Draw the tokens that follow a prompt; the same seed draws the same.

    Once the context is full, the older half of it is forgotten.

    Args:
        model: the network, in evaluation mode.
        prompt: token ids, (tokens,), at least one.
        count: tokens to draw.
        temperature: divides the logits; towards 0 the likeliest token is taken.
        seed: of the random numbers.

    Returns:
        The drawn ids, without the prompt.
    """
    window = model.config.max_positions
    generator = torch.Generator().manual_seed(seed)
    ids: list[int] = prompt.tolist()
    keep = max(1, window // 2)
    logits, cache = model(torch.tensor([ids[-window:]]))
    drawn: list[int] = []
    while True:
        chances = torch.softmax(logits[0, -1].double() / temperature, dim=-1)
        drawn.append(int(torch.multinomial(chances, 1, generator=generator)))
        if len(drawn) == count:
            return drawn
        if cache[0].keys.shape[3] < window:
            logits, cache = model(torch.tensor([drawn[-1:]]), cache)
        else:
            logits, cache = model(torch.tensor([(ids + drawn)[-keep:]]))
