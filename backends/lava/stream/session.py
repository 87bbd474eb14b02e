"""The Lava backend for stream programs: the whole program on Lava's CPU simulator of Loihi 2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.compat import import_lava
from bispik.backends.lava.session import STALL_SECONDS
from bispik.backends.lava.stream.tape import StreamTape
from bispik.backends.stream.activity import StreamActivity, checked_input, checked_probes
from bispik.compiler.fixed_point import MEMBRANE_MAX, STOCK_EXPONENT, STOCK_THRESHOLD_MAX
from bispik.compiler.stream.program import StreamProgram
from bispik.compiler.stream.schedule import schedule
from bispik.models.errors import BispikError

Arrays = dict[str, dict[str, npt.NDArray[np.int64]]]


class LavaStreamSession:
    """One sequence on Lava.

    Stock programs are Lava's own `Dense`, `Sparse`, `Conv` and `LIF` between a source of the host's input and what
    observes them; the host gives neurons that do not start at rest their state and bias when their first input is due.
    Lava's neurons go on in every step, also while the last input travels on to others: a second `feed` would find them
    further than they should be, so there is one. Other programs are one Process of ours for each population; its
    neurons rest between runs, and a sequence may come in pieces.
    """

    execution_mode = "lava: Loihi2SimCfg fixed_pt, Lava 0.10.0 CPU simulator"

    def __init__(
        self,
        program: StreamProgram,
        probes: Sequence[str] = (),
        *,
        stall_seconds: float = STALL_SECONDS,
        workers: int | None = None,
    ) -> None:
        """Start the network.

        Args:
            program: what to run.
            probes: populations whose membranes are recorded.
            stall_seconds: give up when the network has made no step for so long.
            workers: operating-system processes that share the models; one a core, up to 4, unless told otherwise.
                Lava's own models on a loop get one each, for they wait for each other within a step.

        Raises:
            BispikError: if Lava is not installed, or the program or the machine is not fit for it.
        """
        self.program, self.probes = program, checked_probes(program, probes)
        try:
            import_lava()
        except ImportError as error:
            raise BispikError(str(error)) from error
        from bispik.backends.lava.runtime import Fabric, nothing_registered
        from bispik.backends.lava.stream.network import build_stream_network, run_configuration
        from bispik.backends.lava.workers import default_count

        self.position = 0
        self._fabric_step = 0
        self._stock = program.neuron_program == "stock"
        timing = schedule(program.input.name, program.populations)
        self._skew = timing.skew
        self._tape = tape = tape_of(program, self.probes)
        try:
            with nothing_registered():
                self.graph = build_stream_network(program, timing, tape)
                """Lava's Processes by node: their `Var`s can be read, slowly, between feeds."""
            self._fabric = Fabric(
                self.graph.processes[program.input.name],
                configuration=run_configuration(),
                progress=lambda: tape.progress,
                stall_seconds=stall_seconds,
                workers=workers or default_count(),
            )
        except MemoryError as error:
            raise BispikError(f"this machine has not the memory to run the program on Lava ({error})") from error

    @property
    def workers(self) -> int:
        """Number of operating-system processes that Lava runs in."""
        return self._fabric.processes

    def feed(self, values: npt.NDArray[np.int32]) -> StreamActivity:
        """Run the next time steps."""
        values = checked_input(self.program, values)
        if self._stock and self.position:
            raise BispikError(
                "Lava's own neurons go on while the last input travels through the network, so a sequence cannot be "
                "continued: run the whole input at once, or use --backend sim"
            )
        first, start, steps = self.position, self._fabric_step, len(values)
        # Our processes also receive what was sent in the last step.
        end = start + steps + max(self._skew.values()) + (not self._stock)
        self._tape.timeline.begin(start, first, steps)
        recorded: Arrays = {
            name: {key: np.empty((steps, rows.shape[1]), rows.dtype) for key, rows in node.rows.items()}
            for name, node in self._tape.nodes.items()
            if name != self.program.input.name
        }
        for begin, stop in self._segments(start, end):
            for variable, first_values in ((s.variable, s.values) for s in self.graph.starts.get(begin, ())):
                self._fabric.set(variable, first_values)
            self._tape.begin_segment(begin)
            self._put(values[begin - start : stop - start])
            self._fabric.run(stop - begin)
            self._collect(recorded, start, begin, stop)
        self._fabric_step, self.position = end, first + steps
        return self._activity(first, values, recorded)

    def close(self) -> None:
        """End Lava's processes; harmless if repeated."""
        self._fabric.stop()

    def _segments(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Cut a run where neurons start, and into pieces that the tape holds."""
        while start < end:
            stops = [step for step in self.graph.starts if start < step < end]
            stop = min([*stops, end, start + self._tape.steps])
            yield start, stop
            start = stop

    def _put(self, values: npt.NDArray[np.int32]) -> None:
        """Put a segment's input on the tape."""
        entry = self.program.input.name
        self._tape.nodes[entry].rows["values"][: len(values)] = values[:, self.graph.layouts[entry].order]

    def _collect(self, recorded: Arrays, start: int, begin: int, stop: int) -> None:
        """Take what a segment left on the tape, without the skew and in our order."""
        for name, quantities in recorded.items():
            behind = start + self._skew[name]
            rows = self._tape.nodes[name].rows
            steps = len(next(iter(quantities.values())))
            low, high = max(begin, behind), min(stop, behind + steps)
            for key, into in quantities.items():
                if low < high:
                    order = (
                        self.graph.layouts[name].order if into.shape[1] == len(self.graph.layouts[name].order) else [0]
                    )
                    into[low - behind : high - behind, order] = rows[key][low - begin : high - begin]

    def _activity(self, first: int, values: npt.NDArray[np.int32], recorded: Arrays) -> StreamActivity:
        if self._stock:
            self._require_exact(recorded)
        names = [population.name for population in self.program.populations]
        return StreamActivity(
            first_step=first,
            input=values,
            sent={name: recorded[name]["sent"].astype(np.int32) for name in names},
            membranes={name: recorded[name]["membranes"].astype(np.int32) for name in names if name in self.probes},
            saturations={name: int(recorded[name]["saturations"].sum()) for name in names},
        )

    def _require_exact(self, recorded: Arrays) -> None:
        """Raise if Lava's neurons did what the program's semantics does not know."""
        for population in self.program.populations:
            quantities = recorded[population.name]
            current = int(quantities["largest_current"].max())
            if current > MEMBRANE_MAX:
                raise BispikError(
                    f"{population.name}: a current reached {current:,} of {MEMBRANE_MAX:,} (24 bits), where Lava's "
                    "neurons wrap; use --neurons bispik"
                )
            if population.neurons.output == "membrane" and quantities["spikes"].any():
                raise BispikError(
                    f"{population.name}: a membrane came to {STOCK_THRESHOLD_MAX << STOCK_EXPONENT:,}, the largest "
                    "threshold of Lava's LIF, which then resets it; use --neurons bispik"
                )


def tape_of(program: StreamProgram, probes: frozenset[str] = frozenset()) -> StreamTape:
    """Return memory for what a program's nodes write down."""
    return StreamTape(_quantities(program, probes))


def _quantities(program: StreamProgram, probes: frozenset[str]) -> dict[str, dict[str, tuple[int, npt.DTypeLike]]]:
    """Return what the tape has room for."""
    quantities: dict[str, dict[str, tuple[int, npt.DTypeLike]]] = {
        program.input.name: {"values": (program.input.size, np.int32)}
    }
    for population in program.populations:
        size, spikes = population.size, population.neurons.output == "spikes"
        node: dict[str, tuple[int, npt.DTypeLike]] = {
            "sent": (size, np.int8 if spikes else np.int32),
            "saturations": (1, np.int64),
        }
        if population.name in probes:
            node["membranes"] = (size, np.int32)
        if program.neuron_program == "stock":
            node |= {"largest_current": (1, np.int64), "spikes": (1, np.int64)}
        quantities[population.name] = node
    return quantities
