"""The Lava backend: the whole program on Lava's CPU simulator of Loihi 2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import Activity, Reading, checked_tokens, reading_of
from bispik.backends.lava.compat import import_lava
from bispik.backends.lava.tape import Tape
from bispik.compiler.program import IntegerPopulation, QuantizedProgram
from bispik.compiler.schedule import skews
from bispik.models.errors import BispikError

STALL_SECONDS = 120.0
"""A network that makes no step for so long is stopped."""


class LavaSession:
    """One sequence on Lava: every population, join, attention and readout is a Lava Process in fixed point.

    A feed of n tokens runs them one behind the other through the network (each step of a token is a hop further), and
    then until the last step has reached the last node. Feeds begin at whole windows of T steps, so that the staggered
    resets stay where they are.
    """

    execution_mode = "lava: Loihi2SimCfg fixed_pt, Lava 0.10.0 CPU simulator"

    def __init__(
        self,
        program: QuantizedProgram,
        probes: Sequence[str] = (),
        *,
        lava_processes: bool | None = None,
        stall_seconds: float = STALL_SECONDS,
        workers: int | None = None,
    ) -> None:
        """Start the network.

        Args:
            program: what to run.
            probes: populations whose membranes are recorded.
            lava_processes: populations run as Lava's `Dense` and a Process for the neurons (`LIFReset` if they are
                stock) instead of one Process of ours, with the same numbers. Stock programs do unless told otherwise.
            stall_seconds: give up when the network has made no step for so long.
            workers: operating-system processes that share the models; one a core, up to 4, unless told otherwise.

        Raises:
            BispikError: if Lava is not installed, or the program or the machine is not fit for it.
        """
        unknown = set(probes) - {population.name for population in program.of_kind(IntegerPopulation)}
        if unknown:
            raise BispikError(f"no population to probe is called {', '.join(sorted(unknown))}")
        try:
            import_lava()
        except ImportError as error:
            raise BispikError(str(error)) from error
        from bispik.backends.lava.network import build_network, run_configuration
        from bispik.backends.lava.runtime import Fabric, nothing_registered
        from bispik.backends.lava.workers import default_count

        self.program = program
        self.position = 0
        self._next_step = 0
        self._drain = max(skews(program).values())
        self._tape = tape = Tape(program, probes)
        if lava_processes is None:
            lava_processes = program.neuron_program == "stock"
        with nothing_registered():
            self.processes = build_network(program, self._tape)
            """Lava's Processes by node: their `Var`s can be read, slowly, between feeds."""
        self._fabric = Fabric(
            self.processes[program.injection.name],
            configuration=run_configuration(lava_processes),
            progress=lambda: tape.progress,
            stall_seconds=stall_seconds,
            workers=workers or default_count(),
        )

    def feed(self, token_ids: Sequence[int] | npt.NDArray[np.int64]) -> Activity:
        """Run the next tokens of the sequence."""
        ids = checked_tokens(self.program, token_ids, self.position)
        currents = self._currents(ids)
        steps_per_token = self.program.steps_per_token
        windows = -(-(len(currents) + self._drain) // steps_per_token)
        self._tape.begin(self._next_step, currents)
        self._fabric.run(windows * steps_per_token)
        activity = self._tape.activity(self.position, ids)
        self._next_step += windows * steps_per_token
        self.position += len(ids)
        return activity

    @property
    def workers(self) -> int:
        """Number of operating-system processes that Lava runs in."""
        return self._fabric.processes

    def read(self, token_ids: Sequence[int] | npt.NDArray[np.int64]) -> Reading:
        """Run the next tokens and return what the host reads."""
        return reading_of(self.program, self.feed(token_ids))

    def close(self) -> None:
        """End Lava's processes; harmless if repeated."""
        self._fabric.stop()

    def _currents(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Look up what the host injects, (tokens * T, size)."""
        injection = self.program.injection
        positions = np.arange(self.position, self.position + len(ids))
        table = injection.token_table[ids].astype(np.int32) + injection.position_table[positions]
        gains = np.array(injection.step_gain, np.int32)
        currents: npt.NDArray[np.int32] = (table[:, None, :] * gains[:, None]).reshape(-1, injection.size)
        return currents
