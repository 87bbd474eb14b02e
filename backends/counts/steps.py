"""Events of every time step of a recorded run, over all slices; a run's own counts have them by token."""

from __future__ import annotations

import numpy as np

from bispik.backends.activity import Activity
from bispik.backends.counts.by_slice import IntArray
from bispik.backends.counts.chunk import recorded
from bispik.backends.counts.count import count_plan
from bispik.backends.counts.events import EVENTS, Event
from bispik.backends.counts.tally import ACTIVE, INACTIVE
from bispik.compiler.mapping import MappedProgram


def events_by_step(mapped: MappedProgram, activity: Activity) -> dict[Event, IntArray]:
    """Return the events of each token and logical time step, (n, T); their sums over T are the counts by token.

    Args:
        mapped: what ran where.
        activity: of n tokens, the first of their sequence.

    Raises:
        ValueError: if the run does not begin its sequence.
    """
    if activity.first_position:
        raise ValueError("events by time step are those of a sequence from its start")
    plan, tally = count_plan(mapped), count_plan(mapped).tally
    values = {name: activity.outputs[value].astype(np.int8) for name, value in plan.spread.items()}
    counted = recorded(mapped.program, activity, values, plan.parts.demands)
    numbers = plan.parts.derived.all(counted, np.arange(len(activity.token_ids), dtype=np.int64))
    rows, steps, tokens = numbers.shape
    folded = tally.alike.fold(np.add, numbers.reshape(rows, -1)[tally.alike.order])
    by_step = tally.every_step.sum(axis=1)[:, None] + tally.over_slices @ folded
    by_step[INACTIVE] = tally.neurons.sum() - by_step[ACTIVE]
    table = by_step.reshape(len(EVENTS), steps, tokens).transpose(0, 2, 1)
    return dict(zip(EVENTS, table, strict=True))
