"""One sequence on the fast simulator: the C++ engine in `backends/sim/kernels`, and arrays to hold what it did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import Activity, checked_tokens, require_recordable
from bispik.backends.sim import _kernels
from bispik.backends.sim.kernel_path import chosen_path
from bispik.backends.sim.network import native_network
from bispik.compiler.program import IntegerAttention, IntegerInjection, IntegerReadout, QuantizedProgram


class SimSession:
    """Runs the next tokens of one sequence."""

    def __init__(self, program: QuantizedProgram, probes: Sequence[str] = (), *, threads: int = 1) -> None:
        require_recordable(program)
        self.program = program
        self.probes = frozenset(probes)
        self.position = 0
        self.native = native_network(program)
        self.engine = _kernels.Engine(self.native.network, path=chosen_path(), threads=threads)
        self.sequence = _kernels.Sequence(self.native.network)
        self.execution_mode = f"sim: C++ kernels ({self.engine.path}), bit-exact with the reference"

    def feed(self, token_ids: Sequence[int] | npt.NDArray[np.int64]) -> Activity:
        """Run the next tokens of the sequence."""
        ids = checked_tokens(self.program, token_ids, self.position)
        program, index = self.program, self.native.index
        tokens, steps, stored = len(ids), program.steps_per_token, self.position + len(ids)
        silent = (IntegerInjection, IntegerReadout)
        sent = [node for node in program.nodes if not isinstance(node, silent)]
        outputs = {node.name: np.empty((tokens, steps, node.size), np.int16) for node in sent}
        scores = {
            a.name: np.empty((tokens, steps, a.heads, stored), np.int8) for a in program.of_kind(IntegerAttention)
        }
        membranes = {
            node.name: np.empty((tokens, steps, node.size), np.int32) for node in sent if node.name in self.probes
        }
        accumulators = np.empty((tokens, program.readout.size), np.int64)
        clipped = np.zeros(len(program.nodes), np.int64)
        self.engine.run(
            [(self.sequence, ids)],
            given=[],
            outputs=[(index[name], array) for name, array in outputs.items()],
            scores=[(index[name], array) for name, array in scores.items()],
            membranes=[(index[name], array) for name, array in membranes.items()],
            accumulators=accumulators,
            readout_sums=None,
            clipped=clipped,
            counting=None,
            counts=None,
        )
        first, self.position = self.position, stored
        return Activity(
            first_position=first,
            token_ids=ids,
            outputs=outputs,
            score_spikes=scores,
            accumulators=accumulators,
            membranes=membranes,
            saturations={node.name: int(clipped[index[node.name]]) for node in sent if hasattr(node, "neurons")},
        )

    def close(self) -> None:
        """Nothing to release that the end of the object does not."""
