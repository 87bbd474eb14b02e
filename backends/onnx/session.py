"""Language-model programs on onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import Activity, Reading, checked_tokens, joined, require_recordable
from bispik.backends.onnx.runner import Runner
from bispik.backends.onnx.token import build_token_model
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerPopulation,
    IntegerReadout,
    QuantizedProgram,
)


class OnnxSession:
    """One sequence, a run of the graph per token."""

    def __init__(self, program: QuantizedProgram, probes: Sequence[str] = (), *, threads: int = 1) -> None:
        """Build the graph.

        Raises:
            BispikError: if onnx or onnxruntime is not installed, or the program is too large for an ONNX model.
        """
        require_recordable(program)
        self.program = program
        self.runner = Runner(build_token_model(program), _nothing_stored(program), threads)
        self.execution_mode = self.runner.mode
        self.position = 0
        head, attentions = program.readout.name, [node.name for node in program.of_kind(IntegerAttention)]
        populations = [node.name for node in program.of_kind(IntegerPopulation)]
        unsent = IntegerInjection | IntegerReadout
        self._graded = [node.name for node in program.nodes if not isinstance(node, unsent)]
        self._probed = [name for name in populations if name in probes]
        self._scored, self._saturating = attentions, [*populations, *attentions]
        self._read = [f"{head}.accumulators", f"{head}.sums"]

    def feed(self, token_ids: Sequence[int] | npt.NDArray[np.int64]) -> Activity:
        """Run the next tokens of the sequence."""
        ids = checked_tokens(self.program, token_ids, self.position)
        return joined([self._token(token) for token in ids])

    def read(self, token_ids: Sequence[int] | npt.NDArray[np.int64]) -> Reading:
        """Run the next tokens and return what the host reads."""
        ids = checked_tokens(self.program, token_ids, self.position)
        rows = [self._run(token, self._read) for token in ids]
        accumulators, sums = (np.stack([row[name] for row in rows]) for name in self._read)
        return Reading(accumulators=accumulators, sums=sums)

    def close(self) -> None:
        """Nothing to release."""

    def _run(self, token: np.int64, wanted: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        place = {"token": np.array([token]), "position": np.array([self.position])}
        outputs = self.runner.run(place, wanted)
        self.position += 1
        return outputs

    def _token(self, token: np.int64) -> Activity:
        position = self.position
        every = (("output", self._graded), ("membrane", self._probed), ("scores", self._scored))
        wanted = [f"{name}.{what}" for what, names in every for name in names]
        wanted += [f"{name}.saturations" for name in self._saturating]
        outputs = self._run(token, [*wanted, self._read[0]])

        def given(what: str, names: Sequence[str], dtype: npt.DTypeLike) -> dict[str, npt.NDArray[Any]]:
            return {name: outputs[f"{name}.{what}"].astype(dtype)[None] for name in names}

        scores = given("scores", self._scored, np.int8)
        return Activity(
            first_position=position,
            token_ids=np.array([token]),
            outputs=given("output", self._graded, np.int16),
            score_spikes={name: spikes[..., : position + 1] for name, spikes in scores.items()},
            accumulators=outputs[self._read[0]][None],
            membranes=given("membrane", self._probed, np.int32),
            saturations={name: int(outputs[f"{name}.saturations"]) for name in self._saturating},
        )


def _nothing_stored(program: QuantizedProgram) -> dict[str, npt.NDArray[np.int8]]:
    """Return the keys and values of no token."""
    return {
        f"{node.name}.{what}": np.zeros((program.window, program.steps_per_token, node.heads, node.head_dim), np.int8)
        for node in program.of_kind(IntegerAttention)
        for what in ("keys", "values")
    }
