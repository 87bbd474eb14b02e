"""What a network takes at several weight widths and context windows, part by part: the plan before compiling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bispik.compiler.capacity import Amounts, less, share, times, total
from bispik.compiler.plan import Plan, plan
from bispik.compiler.shapes import NetworkShape, NodeShape
from bispik.compiler.target import RESOURCES, Target
from bispik.models.errors import BispikError

BITS = (8, 6, 4, 2, 1)
"""Weight widths of a survey."""

WINDOWS = (256, 1024, 2048)
"""Context windows of a survey, as far as a network has positions for them."""

Part: TypeAlias = Literal["embedding", "body", "kv_state", "head"]
PARTS: tuple[Part, ...] = ("embedding", "body", "kv_state", "head")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartUse:
    """What one part of a network takes of each resource, over all neurocores.

    Parts share neurocores, and the parts of one network may be limited by different resources: their neurocores do
    not add up to those of the whole.
    """

    use: Mapping[str, int]
    neurocores: float
    """Neurocores' worth of the resource of which it needs most: total / limit of one neurocore."""
    limited_by: str
    """That resource."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One width and one window."""

    bits: int
    window: int
    plan: Plan | None
    """None if no partition holds one row or one head of it."""
    refused: str = ""
    """Why there is no plan."""


def survey(
    shape: Callable[[int, int], NetworkShape], target: Target, bits: Iterable[int], windows: Iterable[int]
) -> tuple[Case, ...]:
    """Return the plan for every window and width, in this order.

    Args:
        shape: of the network, for a width and a window.
        target: hardware sheet.
        bits: widths.
        windows: tokens that keys and values have room for.
    """
    widths = tuple(bits)
    return tuple(_case(shape, target, width, window) for window in windows for width in widths)


def part_uses(made: Plan) -> dict[Part, PartUse]:
    """Return what each part takes; a part that has no node on a neurocore is left out.

    The embedding is the neurons (or the join) that the host writes to; the embedding table itself stays on the host.
    The K/V state of an attention is what it stores per token: score neurons, keys and values. All else of an attention
    belongs to the body: output neurons, and the axons of every neurocore that holds a piece of a head.
    """
    packed, nodes = made.packing, made.network.nodes
    uses: dict[Part, list[Amounts]] = {part: [] for part in PARTS}
    for (index, start, rows, tokens), count in packed.sizes.items():
        node = nodes[index]
        use = packed.capacity.use(node, rows, tokens, start)
        if node.kind == "attention":
            without = packed.capacity.use(node, rows, 0)
            uses["kv_state"].append(times(less(use, without), count))
            use = without
        uses[_part(node)].append(times(use, count))
    return {part: _part_use(total(amounts), packed.capacity.limits) for part, amounts in uses.items() if amounts}


def _case(shape: Callable[[int, int], NetworkShape], target: Target, bits: int, window: int) -> Case:
    try:
        return Case(bits=bits, window=window, plan=plan(shape(bits, window), target))
    except BispikError as error:
        return Case(bits=bits, window=window, plan=None, refused=str(error))


def _part(node: NodeShape) -> Part:
    if node.kind == "readout":
        return "head"
    return "embedding" if any(entry.host for entry in node.inputs) else "body"


def _part_use(use: Amounts, limits: Amounts) -> PartUse:
    worth = share(use, limits)
    return PartUse(
        use=dict(zip(RESOURCES, use, strict=True)),
        neurocores=max(worth),
        limited_by=RESOURCES[worth.index(max(worth))],
    )
