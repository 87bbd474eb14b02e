"""Mixed precision: which matrices give up bits first, from the loss that each causes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

WIDTHS = (8, 6, 4, 3, 2, 1)
"""Bits that a matrix may have, as far as the user's ``--bits`` allow."""

POWERS = (2, 3)
"""Losses are raised to these before they are weighed. A spiking network magnifies any difference, so that divergences
come near an end where spikes change anyway; powers spare what diverges most. Neither is always best: both are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Bits by population or readout with a matrix."""

    bits: Mapping[str, int]
    weight_bytes: int
    """Of all these matrices, rounded up."""
    predicted_loss: float
    """Sum of the losses that each causes alone, in the unit in which they were given."""


def ladder(sizes: Mapping[str, int], losses: Mapping[int, Mapping[str, float]]) -> list[Precision]:
    """Return precisions from the widest to the narrowest; each takes bits from one matrix of the one before.

    The next step is always the one that loses least per byte that it saves: of all matrices, and of all narrower
    widths of each. Fewer bits are taken to cost no less than more bits do.

    Args:
        sizes: weights by matrix.
        losses: by width and matrix, what it causes alone. All matrices begin with the largest of these widths.
    """
    widths = sorted(losses, reverse=True)
    costs = {name: _rising([losses[width][name] for width in widths]) for name in sizes}
    rungs = dict.fromkeys(sizes, 0)
    steps = [_precision(sizes, costs, rungs, widths)]
    while any(rung < len(widths) - 1 for rung in rungs.values()):
        choices = (
            ((costs[name][rung] - costs[name][now]) / (sizes[name] * (widths[now] - widths[rung])), order, rung, name)
            for order, (name, now) in enumerate(rungs.items())
            for rung in range(now + 1, len(widths))
        )
        _, _, rung, name = min(choices)
        rungs[name] = rung
        steps.append(_precision(sizes, costs, rungs, widths))
    return steps


def uniform(sizes: Mapping[str, int], losses: Mapping[int, Mapping[str, float]]) -> list[Precision]:
    """Return precisions with the same width for all matrices, from the widest of ``losses`` to the narrowest."""
    widths = sorted(losses, reverse=True)
    costs = {name: _rising([losses[width].get(name, 0.0) for width in widths]) for name in sizes}
    return [_precision(sizes, costs, dict.fromkeys(sizes, rung), widths) for rung in range(len(widths))]


def powers(losses: Mapping[int, Mapping[str, float]], power: int) -> dict[int, dict[str, float]]:
    """Return what each width costs beyond the widest, raised to a power."""
    least = losses[max(losses)]
    return {
        width: {name: max(0.0, loss - least[name]) ** power for name, loss in found.items()}
        for width, found in losses.items()
    }


def _rising(costs: list[float]) -> list[float]:
    return [max(costs[: place + 1]) for place in range(len(costs))]


def _precision(
    sizes: Mapping[str, int], costs: Mapping[str, list[float]], rungs: Mapping[str, int], widths: list[int]
) -> Precision:
    bits = {name: widths[rung] for name, rung in rungs.items()}
    return Precision(
        bits=bits,
        weight_bytes=-(-sum(sizes[name] * width for name, width in bits.items()) // 8),
        predicted_loss=sum(costs[name][rung] for name, rung in rungs.items()),
    )
