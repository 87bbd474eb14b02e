"""``--emit sanafe``: a run of the compiled network for SANA-FE, and what it must find there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from bispik.backends.registry import open_session
from bispik.backends.stream.encode import Steps
from bispik.backends.stream.registry import open_stream_session
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.stream.mapping import MappedStream
from bispik.energy.profiles import Profile
from bispik.energy.sanafe import language_replay, stream_replay, write_sanafe

SANAFE = "sanafe"
"""Name of the folder."""

STEPS_MAX = 200
"""Time steps of a stream's first sequence that are replayed."""

TOKENS_MAX = 16
"""Tokens of a language model's run that are replayed."""


def emit_stream(mapped: MappedStream, values: Steps, profile: Profile, folder: Path) -> None:
    """Write the beginning of a sequence."""
    session = open_stream_session("sim", mapped.program)
    try:
        activity = session.feed(values[:STEPS_MAX])
    finally:
        session.close()
    write_sanafe(stream_replay(mapped, activity, profile), profile, folder / SANAFE)


def emit_language_model(
    mapped: MappedProgram, token_ids: npt.NDArray[np.int64], profile: Profile, folder: Path
) -> None:
    """Write the first tokens of a run.

    Raises:
        BispikError: if the stored tokens of an attention are spread over neurocores.
    """
    session = open_session("sim", mapped.program)
    try:
        activity = session.feed(token_ids[:TOKENS_MAX])
    finally:
        session.close()
    write_sanafe(language_replay(mapped, activity, profile), profile, folder / SANAFE)
