"""What the host computes: logits from accumulators, the choice of the next token, bits per byte."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import Reading
from bispik.compiler.program import QuantizedProgram
from bispik.models.errors import BispikError


def logits(program: QuantizedProgram, reading: Reading) -> npt.NDArray[np.float64]:
    """Return logits (n, vocabulary) as `bispik.compiler.program.IntegerReadout` defines them.

    Double precision on the same integers: every backend gives the same bits.
    """
    readout = program.readout
    deviation = np.sqrt((reading.sums / program.steps_per_token).var(axis=1) + readout.epsilon)
    result: npt.NDArray[np.float64] = reading.accumulators * (readout.scale / deviation)[:, None] + readout.bias
    return result


def negative_log2_likelihood(logits_of: npt.NDArray[np.float64], targets: npt.NDArray[np.int64]) -> float:
    """Sum over tokens of -log2 softmax(logits)[target], in bits."""
    shifted = logits_of - logits_of.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=-1))
    chosen = np.take_along_axis(shifted, targets[..., None], axis=-1)[..., 0]
    return float((log_sum - chosen).sum() / np.log(2))


class Sampler:
    """Chooses tokens: the likeliest at temperature 0, else from the ``top_k`` likeliest; the same for a seed.

    A seed has independent random streams: that of number 0 is the seed's own, so that several sequences under one seed
    do not depend on each other, or on who runs first.
    """

    def __init__(self, temperature: float = 0.0, top_k: int = 0, seed: int = 0, *, stream: int = 0) -> None:
        """Say how to choose.

        Raises:
            BispikError: for a temperature, a number of tokens or a seed that is negative or not finite.
        """
        if not 0 <= temperature < float("inf") or top_k < 0 or seed < 0:
            raise BispikError(
                f"temperature {temperature}, top-k {top_k}, seed {seed}: each must be finite and at least 0"
            )
        self.temperature, self.top_k = temperature, top_k
        self.random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,) if stream else ()))

    def choose(self, logits_of: npt.NDArray[np.float64]) -> int:
        """Return a token id for logits (vocabulary,)."""
        if self.temperature <= 0:
            return int(logits_of.argmax())
        scaled = (logits_of - logits_of.max()) / self.temperature
        if 0 < self.top_k < len(scaled):
            scaled = np.where(scaled >= np.sort(scaled)[-self.top_k], scaled, -np.inf)
        weights = np.exp(scaled)
        return int(self.random.choice(len(weights), p=weights / weights.sum()))
