"""What single neurons did at the beginning of a run: which spiked when, and how often each did.

Counts are sums over neurons. Here the first tokens are run again on `sim`, which has the bits of every backend, and
neurons are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.backends.counts import IntArray
from bispik.backends.sim import SimSession
from bispik.compiler.program import IntegerPopulation, QuantizedProgram

TOKENS = 64
"""Looked at, at most."""

RASTER_TOKENS = 24
"""Of which single spikes are kept."""

RASTER_NEURONS = 160
"""Whose spikes are kept, shared among the populations; each population has one at least."""

AT_ONCE = 16
"""Tokens whose outputs are held together."""

SpikeArray = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpikeRows:
    """Spikes of some neurons of one population."""

    population: str
    neurons: IntArray
    """(n,): their places in the population, evenly spread over it."""
    spikes: SpikeArray
    """(n, tokens * T): -1, 0 or 1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """Single neurons over the first tokens of a run."""

    tokens: int
    """Over which rates are taken."""
    raster_tokens: int
    steps_per_token: int
    rates: Mapping[str, npt.NDArray[np.float64]]
    """By population, (size,): spikes of each neuron per time step, over ``tokens``."""
    rows: tuple[SpikeRows, ...]
    """Over ``raster_tokens``, in the order of the network."""


def observe(program: QuantizedProgram, token_ids: IntArray) -> Observed:
    """Return what single neurons do on the first tokens of a sequence.

    Args:
        program: to run.
        token_ids: (n,), of which TOKENS are run at most.

    Raises:
        BispikError: if there is no token, or one that the program does not know.
    """
    ids = token_ids[:TOKENS]
    kept, steps = min(len(ids), RASTER_TOKENS), program.steps_per_token
    populations = program.of_kind(IntegerPopulation)
    each = max(1, RASTER_NEURONS // len(populations))
    chosen = {p.name: np.unique(np.linspace(0, p.size - 1, min(each, p.size)).astype(np.int64)) for p in populations}
    spikes = {p.name: np.zeros(p.size, np.int64) for p in populations}
    shown: dict[str, list[SpikeArray]] = {p.name: [] for p in populations}
    with closing(SimSession(program)) as session:
        for start in range(0, len(ids), AT_ONCE):
            _, outputs, _ = session.record(ids[start : start + AT_ONCE], list(spikes))
            for name, sent in outputs.items():
                spikes[name] += np.count_nonzero(sent, axis=(0, 1))
                some = sent[: max(0, kept - start), :, chosen[name]]
                shown[name].append(np.sign(some).reshape(-1, len(chosen[name])).astype(np.int8))
    return Observed(
        tokens=len(ids),
        raster_tokens=kept,
        steps_per_token=steps,
        rates={name: found / (len(ids) * steps) for name, found in spikes.items()},
        rows=tuple(
            SpikeRows(population=name, neurons=neurons, spikes=np.concatenate(shown[name]).T)
            for name, neurons in chosen.items()
        ),
    )
