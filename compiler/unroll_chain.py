"""The order in which an unrolled window runs: stages in a row, each of which takes the spikes of the one before.

norse's importer runs a graph depth first, so that a node that two branches lead to runs before the second of them. A
row has no branches. Spikes that a later stage needs are carried there by neurons that repeat them; residual sums need
none: where all stages that are summed hold the same channels and nothing else, each has an edge to the sum's reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from bispik.compiler.unroll import INPUT, Bundle, Signal, Unrolled, names
from bispik.models.errors import BispikError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """Neurons of one kind that run together. Channels: the bundles' one after the other, then those carried."""

    bundles: tuple[Bundle, ...]
    carried: tuple[str, ...]
    """Bundles of earlier stages whose spikes are repeated."""
    takes: tuple[int, ...]
    """Stages whose outputs are summed at the weights, the one before last; the input is stage 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain:
    """Stages 1 to S. Stage 0 is the input, and the output takes the sum over ``takes``."""

    stages: tuple[Stage, ...]
    takes: tuple[int, ...]
    output: Signal
    channels: tuple[Mapping[str, slice], ...]
    """By stage from 0: the channels of each bundle, one after the other."""

    def size(self, stage: int) -> int:
        """Return how many channels a stage has."""
        return max(int(channels.stop) for channels in self.channels[stage].values())


def arrange(net: Unrolled) -> Chain:
    """Put bundles into stages, as early as may be.

    Raises:
        BispikError: if real numbers would have to pass a stage of spiking neurons.
    """
    homes, rows = _rows(net.bundles)
    needs = [[synapses.signal for bundle in row for synapses in bundle.inputs] for row in rows] + [[net.output]]
    carrying: set[int] = set()  # stages all of whose sources are carried to the stage before
    while True:
        carried = _carried(needs, homes, carrying)
        layouts = [(INPUT,), *((*(b.name for b in row), *carried[i + 1]) for i, row in enumerate(rows))]
        takes = [_summed(signals, at + 1, homes, layouts) for at, signals in enumerate(needs)]
        more = {at + 1 for at, found in enumerate(takes) if not found} - carrying
        if not more:
            break
        carrying |= more
    by_stage = [found or (at,) for at, found in enumerate(takes)]
    stages = tuple(
        Stage(bundles=tuple(row), carried=tuple(carried[at + 1]), takes=by_stage[at]) for at, row in enumerate(rows)
    )
    sizes = {INPUT: net.width, **{bundle.name: bundle.size for bundle in net.bundles}}
    channels = tuple(_channels(layout, sizes) for layout in layouts)
    return Chain(stages=stages, takes=by_stage[-1], output=net.output, channels=channels)


def _channels(layout: Sequence[str], sizes: Mapping[str, int]) -> dict[str, slice]:
    ends = list(accumulate((sizes[name] for name in layout), initial=0))
    return {name: slice(*ends[at : at + 2]) for at, name in enumerate(layout)}


def _rows(bundles: Sequence[Bundle]) -> tuple[dict[str, int], list[list[Bundle]]]:
    """Return every bundle's stage, from 1 on, and the bundles by stage; a stage has neurons of one kind."""
    level = {INPUT: 0}
    for bundle in bundles:
        level[bundle.name] = 1 + max(level[name] for name in bundle.sources)
    kinds: dict[object, list[Bundle]] = {}
    for bundle in sorted(bundles, key=lambda bundle: level[bundle.name]):
        kinds.setdefault((level[bundle.name], bundle.memory), []).append(bundle)
    rows = list(kinds.values())
    homes = {bundle.name: at + 1 for at, row in enumerate(rows) for bundle in row}
    return {INPUT: 0, **homes}, rows


def _carried(needs: Sequence[Sequence[Signal]], homes: Mapping[str, int], carrying: set[int]) -> list[dict[str, None]]:
    """Return, by stage from 0, the bundles to repeat (a dict, for a set that keeps its order)."""
    carried: list[dict[str, None]] = [{} for _ in range(len(needs) + 1)]
    for stage in sorted(carrying):
        for name in (name for signal in needs[stage - 1] for name in names(signal)):
            for passed in range(homes[name] + 1, stage):
                if name == INPUT:
                    raise BispikError(
                        "the residual stream begins with the embedding's real numbers (embedding_spike = false), and "
                        "they would have to pass a layer of spiking neurons on their way"
                    )
                carried[passed][name] = None
    return carried


def _summed(
    signals: Sequence[Signal], stage: int, homes: Mapping[str, int], layouts: Sequence[tuple[str, ...]]
) -> tuple[int, ...]:
    """Return the stages whose whole outputs, summed, are what a stage takes; empty if there are none such."""
    if len(set(signals)) != 1:
        return ()
    lines = signals[0]
    stages = tuple(homes[line.bundles[0]] for line in lines)
    whole = all(layouts[at] == line.bundles for at, line in zip(stages, lines, strict=True))
    alike = len({line.signs for line in lines}) == 1
    return stages if whole and alike and stages[-1] == stage - 1 else ()
