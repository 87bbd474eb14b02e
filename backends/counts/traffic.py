"""What one output of every row costs in messages and hops: a property of the mapping alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from bispik.backends.counts.by_slice import IntArray
from bispik.backends.counts.events import Event
from bispik.compiler.mapping import Slice
from bispik.compiler.routes import Routes

COSTS: tuple[Event, ...] = ("message", "message_local", "message_interchip", "hop_x", "hop_y", "chip_crossing")


def traffic(found: Routes, placed: Sequence[tuple[int, Slice]]) -> list[IntArray]:
    """Return for each slice a table (COSTS + 1, rows): what one output of each row costs on its way to all its readers.

    Its last row holds the number of the multicast that sends the output, counted from 1; 0 where nobody reads it.

    ``placed`` are the slices, each with the index of its neurocore.
    """
    tables = [np.zeros((len(COSTS) + 1, part.stop - part.start), np.int64) for _, part in placed]
    slices = _slices_by_sender(placed)
    casts, way = found.multicasts, found.distance
    per_message = (np.ones_like(way.x_hops), way.local, way.inter_chip, way.x_hops, way.y_hops, way.crossings)
    costs = np.stack([casts.per_range(values.astype(np.int64)) for values in per_message])
    ranges = zip(
        casts.source.tolist(),
        casts.nodes,
        casts.first_token.tolist(),
        casts.start.tolist(),
        casts.stop.tolist(),
        strict=True,
    )
    for cast, (core, node, first_token, start, stop) in enumerate(ranges):
        index = next(i for i in slices[core, node, first_token] if placed[i][1].start <= start < placed[i][1].stop)
        base = placed[index][1].start
        tables[index][:-1, start - base : stop - base] = costs[:, cast, None]
        tables[index][-1, start - base : stop - base] = cast + 1
    return tables


def _slices_by_sender(placed: Sequence[tuple[int, Slice]]) -> dict[tuple[int, str, int], list[int]]:
    slices: dict[tuple[int, str, int], list[int]] = defaultdict(list)
    for index, (core, part) in enumerate(placed):
        slices[core, part.node, part.first_token].append(index)
    return slices
