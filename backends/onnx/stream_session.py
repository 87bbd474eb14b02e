"""Stream programs on onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bispik.backends.onnx.graph import NEXT
from bispik.backends.onnx.runner import Runner
from bispik.backends.onnx.stream import build_stream_model
from bispik.backends.stream.activity import StreamActivity, checked_input, checked_probes
from bispik.compiler.stream.program import StreamProgram


class OnnxStreamSession:
    """One sequence, a run of the graph per time step."""

    def __init__(self, program: StreamProgram, probes: Sequence[str] = (), *, threads: int = 1) -> None:
        """Build the graph.

        Raises:
            BispikError: if onnx or onnxruntime is not installed, or there is no such probe.
        """
        self.program, self.probes = program, checked_probes(program, probes)
        self.runner = Runner(build_stream_model(program), {}, threads)
        self.execution_mode = self.runner.mode
        self.position = 0

    def feed(self, values: npt.NDArray[np.int32]) -> StreamActivity:
        """Run the next time steps."""
        values = checked_input(self.program, values)
        names = [population.name for population in self.program.populations]
        wanted = [f"{name}.{what}" for name in names for what in ("sent", "saturations")]
        entry = f"{self.program.input.name}.sent"
        steps = [self.runner.run({entry: row}, wanted) for row in values.astype(np.int64)]
        first, self.position = self.position, self.position + len(values)

        def rows(output: str) -> npt.NDArray[Any]:
            return np.stack([step[output] for step in steps])

        return StreamActivity(
            first_step=first,
            input=values,
            sent={name: rows(f"{name}.sent").astype(np.int32) for name in names},
            membranes={n: rows(f"{n}.membrane{NEXT}").astype(np.int32) for n in names if n in self.probes},
            saturations={name: int(rows(f"{name}.saturations").sum()) for name in names},
        )

    def close(self) -> None:
        """Nothing to release."""
