"""Which constant of a profile pays for which event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from bispik.backends.counts import GRADED, SYNOPS, Event, EventCounts, HostOperation, IntArray
from bispik.energy.latency import Schedule

HOST_CONSTANTS: Mapping[HostOperation, str] = {
    "embedding_reads": "host_read",
    "embedding_additions": "host_integer_operation",
    "embedding_multiplications": "host_integer_operation",
    "injected_currents": "host_to_chip",
    "residual_reads": "chip_to_host",
    "residual_additions": "host_integer_operation",
    "head_multiply_accumulates": "host_multiply_accumulate",
    "accumulator_reads": "chip_to_host",
    "norm_operations": "host_float_operation",
    "bias_additions": "host_float_operation",
    "sampling_comparisons": "host_float_operation",
}
"""The constant that pays for each host operation."""

PLAIN_EVENTS: Mapping[Event, str] = {
    "update_active": "update_active",
    "update_inactive": "update_inactive",
    "norm_operation": "norm_operation",
    "spike": "spike",
    "graded_output": "spike",
    "message": "message",
    "message_local": "message_local",
    "hop_x": "hop_x",
    "hop_y": "hop_y",
    "chip_crossing": "chip_crossing",
    "kv_bit_written": "kv_bit_written",
}
"""Events that have a price of their own. Bits read are paid by attention's synops, inter-chip messages by their
crossings."""

POWERS = ("chip_power", "board_power")


@dataclass(frozen=True, slots=True)
class Priced:
    """Numbers of one kind of event, by slice and over time, and the constant that pays for each."""

    event: str
    constant: str
    by_slice: IntArray
    over_time: IntArray
    """By token; of a stream, by time step."""


def priced_events(counts: EventCounts, schedule: Schedule) -> Iterator[Priced]:
    """Yield every kind of event of the chips once, with the constant that pays for it.

    Synops of spikes and of counts are apart; in the ``sequential`` schedule waiting neurons are an event too.
    """
    for kind, event in SYNOPS.items():
        by_slice, by_token = counts.events[event], counts.per_token[event]
        if kind in GRADED:
            graded = GRADED[kind]
            yield Priced(graded, "synop_graded", counts.events[graded], counts.per_token[graded])
            by_slice, by_token = by_slice - counts.events[graded], by_token - counts.per_token[graded]
        yield Priced(event, event, by_slice, by_token)
    for event, constant in PLAIN_EVENTS.items():
        yield Priced(event, constant, counts.events[event], counts.per_token[event])
    if schedule == "sequential":
        waiting = counts.neurons * counts.depth
        per_token = np.full(counts.tokens, waiting.sum(), np.int64)
        yield Priced("update_waiting", "update_inactive", waiting * counts.tokens, per_token)
