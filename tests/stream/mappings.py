"""Stream programs on small neurocores, so that a mapping has many of them on several chips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import assume

from bispik.backends.stream.activity import StreamActivity
from bispik.compiler.stream.mapping import MappedStream, map_stream
from bispik.compiler.stream.program import StreamProgram
from bispik.compiler.target import Limit, Target
from bispik.models.errors import BispikError
from tests.mappings import small_target


def tiny_target(neurons: int = 5) -> Target:
    """Neurocores of few neurons, whose sparse synapses have short indices, and six of them a chip."""
    sheet = small_target(memory=700)
    resources = replace(sheet.resources, neurons=_limit(neurons))
    storage = replace(sheet.storage, axon_in_bytes=_limit(1))
    return replace(sheet, resources=resources, storage=storage)


def mapped_small(program: StreamProgram) -> MappedStream:
    """Map a drawn program to small neurocores; see `mapped_drawn`."""
    return mapped_drawn(program, tiny_target())


def mapped_drawn(program: StreamProgram, target: Target) -> MappedStream:
    """Map a drawn program; one that no neurocore has room for, or that could overflow, is drawn anew."""
    try:
        return map_stream(program, target)
    except BispikError as error:
        assume("one row needs" not in str(error) and "a current could reach" not in str(error))
        raise


def silence(program: StreamProgram, steps: int) -> StreamActivity:
    """Steps in which nobody sends anything."""
    return StreamActivity(
        first_step=0,
        input=np.zeros((steps, program.input.size), np.int32),
        sent={p.name: np.zeros((steps, p.size), np.int32) for p in program.populations},
        membranes={},
        saturations={p.name: 0 for p in program.populations},
    )


def _limit(value: int) -> Limit:
    return Limit(value=value, unit="", source="a test", grade="X")
