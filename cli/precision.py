"""Mixed precision on the command line: ``--budget``, and what each population's integers cost."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from bispik.backends.verify import verify
from bispik.compiler.graph import Population, Readout, SpikingGraph
from bispik.compiler.mixed_precision import POWERS, WIDTHS, Precision, ladder, powers, uniform
from bispik.compiler.program import NodeLoss, QuantizedProgram
from bispik.compiler.quantize_options import QuantizeOptions
from bispik.compiler.sensitivity import losses_alone, matrix_nodes
from bispik.models.bispikclm.data import TokenText
from bispik.models.errors import BispikError

Measure: TypeAlias = Literal["chips", "neurocores", "bpb"]

LOSS_WORK = 1.5e11
"""Products of weights that a compile spends on the losses of single populations without being asked to."""

LOSS_TOKENS = 256
"""Tokens on which losses of single populations are measured, at most."""


WORST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit that mixed precision has to keep."""

    measure: Measure
    """``chips`` and ``neurocores``: at most so many, with the least loss. ``bpb``: at most so much more bits per byte
    than the float network, as a share of it, with the fewest weight bytes."""
    limit: float

    def __str__(self) -> str:
        """As on the command line."""
        limit = f"{100 * self.limit:g}%" if self.measure == "bpb" else f"{self.limit:g}"
        return f"--budget {self.measure}={limit}"


def parse_budget(text: str) -> Budget:
    """Read ``chips=8``, ``neurocores=100`` or ``bpb=1%``.

    Raises:
        BispikError: if it is none of these, or the limit cannot be kept by anything.
    """
    found = re.fullmatch(r"(chips|neurocores)=(\d+)|(bpb)=(\d+(?:\.\d+)?)%", text.strip())
    if found is None:
        raise BispikError(f"--budget {text}: give chips=N, neurocores=N or bpb=P%, as chips=8 or bpb=1%")
    count, amount, quality, percent = found.groups()
    budget = Budget(cast(Measure, count or quality), float(amount) if count else float(percent) / 100)
    if budget.limit <= 0:
        raise BispikError(f"--budget {text}: no network fits into that; give more than 0")
    return budget


def loss_tokens(graph: SpikingGraph, held_out: TokenText, window: int, at_most: float) -> npt.NDArray[np.int64]:
    """Return the text on which single populations are measured, (windows, tokens); none if that is too much work."""
    length = min(window, len(held_out.ids) - 1, LOSS_TOKENS)
    windows = max(1, min(LOSS_TOKENS, len(held_out.ids) - 1) // length)
    products = graph.steps_per_token * sum(matrix_nodes(graph).values())
    names = sum(isinstance(node, Population | Readout) for node in graph.nodes)
    if windows * length * products * names / 2 > at_most:
        return np.zeros((0, length), np.int64)
    return held_out.ids[: windows * length].astype(np.int64).reshape(windows, length)


def ranked_losses(
    graph: SpikingGraph, program: QuantizedProgram, token_ids: npt.NDArray[np.int64], bytes_per_token: float
) -> tuple[NodeLoss, ...]:
    """Return what each population's and the readout's integers cost alone, the largest first."""
    if not len(token_ids):
        return ()
    names = [node.name for node in graph.nodes if isinstance(node, Population | Readout)]
    bits = program.bits_by_node
    losses = losses_alone(graph, program, token_ids, names)
    found = (
        NodeLoss(
            name=name,
            bits=bits.get(name, 0),
            divergence=loss.divergence / bytes_per_token,
            change=loss.change / bytes_per_token,
        )
        for name, loss in losses.items()
    )
    return tuple(sorted(found, key=lambda entry: (-entry.divergence, entry.name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a budget is searched with."""

    graph: SpikingGraph
    options: QuantizeOptions
    chosen_on: TokenText
    """Text that judges precisions: neither what scales are chosen on nor what the program is verified on."""
    size: Callable[[Mapping[str, int]], tuple[int, int]]
    """Chips and neurocores of a network with these bits by node."""
    quantized: Callable[[QuantizeOptions], QuantizedProgram]
    show: Callable[[str], None]


def options_within(budget: Budget, search: Search) -> QuantizeOptions:
    """Return options with bits by node that keep the budget.

    Losses of single populations only propose precisions; what is taken is what all of it together loses on text.

    Raises:
        BispikError: if no precision does; the message says how near one comes.
    """
    within = _loss_kept if budget.measure == "bpb" else _size_kept
    return replace(search.options, node_bits=dict(within(budget, search).bits))


def _proposals(search: Search) -> list[list[Precision]]:
    """Return sequences of precisions, each from the widest to the narrowest: all matrices alike, and two ladders."""
    sizes = matrix_nodes(search.graph)
    ids = loss_tokens(search.graph, search.chosen_on, search.options.window, float("inf"))
    losses: dict[int, dict[str, float]] = {}
    for bits in _widths(search):
        search.show(f"measuring what {bits} bits cost each population")
        program = search.quantized(replace(search.options, bits=bits, node_bits={}))
        found = losses_alone(search.graph, program, ids, sizes)
        losses[bits] = {name: loss.divergence for name, loss in found.items()}
    return [uniform(sizes, losses), *(ladder(sizes, powers(losses, power)) for power in POWERS)]


def _widths(search: Search) -> list[int]:
    """Return the widths that a matrix may have, the user's own among them."""
    return sorted({search.options.bits, *(width for width in WIDTHS if width < search.options.bits)}, reverse=True)


def _size_kept(budget: Budget, search: Search) -> Precision:
    which = 0 if budget.measure == "chips" else 1

    def fits(bits: Mapping[str, int]) -> bool:
        return search.size(bits)[which] <= budget.limit

    narrowest = dict.fromkeys(matrix_nodes(search.graph), 1)
    if not fits(narrowest):
        least = search.size(narrowest)[which]
        raise BispikError(
            f"{budget}: with 1 bit everywhere the network still takes {least:,} {budget.measure}; "
            f"give {least:,} or more, or a smaller --window"
        )
    found: list[Precision] = []
    for steps in _proposals(search):
        first = steps[_first(steps, lambda precision: fits(precision.bits))]
        if first not in found:
            found.append(first)
    return min(found, key=lambda precision: _loss(search, precision)) if len(found) > 1 else found[0]


def _loss_kept(budget: Budget, search: Search) -> Precision:
    widest = uniform(matrix_nodes(search.graph), {search.options.bits: {}})[0]
    if (loss := _loss(search, widest)) > budget.limit:
        raise BispikError(
            f"{budget}: with {search.options.bits} bits everywhere the integers already lose {loss:.2%} on "
            f"{len(search.chosen_on.ids) - 1:,} tokens of the calibration text; give more than that"
        )
    found = [widest]
    for steps in _proposals(search):
        past = _first(steps[1:], lambda precision: _loss(search, precision) > budget.limit)
        found.append(steps[past])
    return min(found, key=lambda precision: precision.weight_bytes)


def _loss(search: Search, precision: Precision) -> float:
    """Return how many more bits per byte, as a share, the integers take for the text that judges precisions."""
    search.show(f"trying {precision.weight_bytes:,} bytes of weights")
    program = search.quantized(replace(search.options, node_bits=dict(precision.bits)))
    text = search.chosen_on
    found = verify(search.graph, program, text.ids.astype(np.int64), text.num_bytes)
    return found.bpb_integer / found.bpb_float - 1


def _first(steps: Sequence[Precision], holds: Callable[[Precision], bool]) -> int:
    """Return the first place from which on something holds, or the number of steps, by halving."""
    low, high = 0, len(steps)
    while low < high:
        middle = (low + high) // 2
        if holds(steps[middle]):
            high = middle
        else:
            low = middle + 1
    return low


def losses_line(losses: Sequence[NodeLoss]) -> str | None:
    """Name the populations that lose most; None if that was not measured."""
    if not losses:
        return None
    worst = ", ".join(f"{loss.name} {loss.divergence:.4f}" for loss in losses[:WORST_NAMED])
    return f"Alone in integers, these diverge most, in bits per byte: {worst} (all {len(losses)}: report.html)"
