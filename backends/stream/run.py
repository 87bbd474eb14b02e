"""One run of a stream program over a whole input, block by block."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.backends.registry import DEFAULTS, RunOptions
from bispik.backends.stream.activity import StreamActivity
from bispik.backends.stream.registry import WHOLE_INPUT, open_stream_session
from bispik.compiler.stream.program import StreamProgram

VALUES_AT_ONCE = 1 << 24
"""Numbers of activity, over all nodes, that are held at once: 64 MB."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamRun:
    """What the host has read behind a run. S: steps."""

    backend: str
    execution_mode: str
    output: npt.NDArray[np.int32]
    """(S, output size): spikes, or membranes in the program's units."""
    saturations: dict[str, int]
    seconds: float


def run_stream(
    program: StreamProgram,
    values: npt.NDArray[np.int32],
    backend: str,
    options: RunOptions = DEFAULTS,
    *,
    probes: Sequence[str] = (),
    see_activity: Callable[[StreamActivity], None] = lambda _activity: None,
    see_steps: Callable[[int], None] = lambda _steps: None,
) -> StreamRun:
    """Run an input from a sequence's start.

    Args:
        program: what to run.
        values: the host's input, (S, input size).
        backend: its name in the registry.
        options: how the backend uses the machine.
        probes: populations whose membranes are recorded.
        see_activity: receives what happened, block by block.
        see_steps: is told how many steps are done.

    Raises:
        BispikError: as `open_stream_session` and the session's ``feed``.
    """
    started = time.perf_counter()
    session = open_stream_session(backend, program, probes, options)
    width = program.input.size + sum(population.size for population in program.populations)
    block = len(values) if backend in WHOLE_INPUT else max(1, VALUES_AT_ONCE // width)
    output: list[npt.NDArray[np.int32]] = []
    saturations = {population.name: 0 for population in program.populations}
    try:
        for first in range(0, len(values), block):
            activity = session.feed(values[first : first + block])
            output.append(activity.sent[program.output])
            for name, clipped in activity.saturations.items():
                saturations[name] += clipped
            see_activity(activity)
            see_steps(first + len(activity.input))
    finally:
        session.close()
    return StreamRun(
        backend=backend,
        execution_mode=session.execution_mode,
        output=np.concatenate(output),
        saturations=saturations,
        seconds=time.perf_counter() - started,
    )
