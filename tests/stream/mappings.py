"""Stream programs on small neurocores, so that a mapping has many of them on several chips."""

from __future__ import annotations

from hypothesis import assume

from bispik.compiler.stream.mapping import MappedStream, map_stream
from bispik.compiler.stream.program import StreamProgram
from bispik.compiler.target import Target
from bispik.models.errors import BispikError
from tests.mappings import small_target


def mapped_small(program: StreamProgram, memory: int = 700, target: Target | None = None) -> MappedStream:
    """Map a drawn program; one that no small neurocore has room for is drawn anew."""
    try:
        return map_stream(program, target or small_target(memory=memory))
    except BispikError as error:
        assume("one row needs" not in str(error) and "a current could reach" not in str(error))
        raise
