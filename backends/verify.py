"""The integer program against the float network on held-out text: is it still the same network?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import Reading
from bispik.backends.host import logits, negative_log2_likelihood
from bispik.backends.sim import SimSession
from bispik.compiler.float_network import LOGITS_AT_ONCE, NodeActivity, Progress, blocks, walk_float
from bispik.compiler.float_network import logits as float_logits
from bispik.compiler.graph import Population, Readout, SpikingGraph
from bispik.compiler.program import IntegerPopulation, PopulationReport, QuantizedProgram, Verification
from bispik.models.files import available_processors

Ids = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_Trace: TypeAlias = tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]


THREADED_WEIGHTS = 1 << 24
"""A program of so many weights is run by all processors; in a smaller one, they wait for each other too often."""

BLOCK_TOKENS = 64
"""The engine runs as many tokens at once."""

RECORDED_AT_ONCE = 256 << 20
"""Bytes of integer spikes and membranes that are held together; a larger network is run again for the next ones."""


def verify(
    graph: SpikingGraph,
    program: QuantizedProgram,
    token_ids: Ids,
    num_bytes: int,
    progress: Progress = lambda _done, _of: None,
) -> Verification:
    """Run both networks freely over a text and compare spikes, membranes and bits per byte.

    Windows of the program's length do not overlap; each begins with the last token of the one before. The float network
    runs node after node, so that what a node did is compared and forgotten.

    Args:
        graph: the float network.
        program: its integers.
        token_ids: the text, (tokens,); the first token is only context.
        num_bytes: its length in UTF-8 bytes.
        progress: called with (nodes of all windows done, how many there are).
    """
    comparisons = {p.name: _Comparison() for p in graph.of_kind(Population)}
    bits_float = bits_integer = 0.0
    windows = list(_windows(token_ids, program.window))
    done = 0
    for window in windows:
        inputs, targets = window[:-1], window[1:]
        integers = _Integers(program, inputs, list(comparisons))
        bits_integer += integers.bits(targets)
        for activity in walk_float(graph, inputs[None]):
            progress(done, len(windows) * len(graph.nodes))
            done += 1
            match activity.node:
                case Population():
                    name = activity.node.name
                    outputs, membranes = integers.trace(name)
                    comparisons[name].add(
                        _float_trace(activity),
                        outputs.swapaxes(0, 1),
                        membranes.swapaxes(0, 1) / program.membrane_scale[name],
                        activity.node.neurons.threshold.astype(np.float64),
                    )
                    del outputs, membranes
                case Readout():
                    for tokens, some in float_logits(activity.node, activity.output[0, 0]):
                        bits_float += negative_log2_likelihood(some, targets[tokens])
                case _:
                    pass
            del activity
    progress(done, done)
    return Verification(
        tokens=len(token_ids) - 1,
        bpb_float=bits_float / num_bytes,
        bpb_integer=bits_integer / num_bytes,
        spike_agreement=sum(c.agreed for c in comparisons.values()) / sum(c.places for c in comparisons.values()),
        populations=tuple(c.report(name) for name, c in comparisons.items()),
        sample=tuple(int(token) for token in windows[0][:-1]),
    )


class _Integers:
    """The program on one window. It is run for some populations at a time, so that their traces fit into memory."""

    def __init__(self, program: QuantizedProgram, inputs: Ids, populations: Sequence[str]) -> None:
        self.program, self.inputs = program, inputs
        self.groups = _groups(program, populations, len(inputs))
        self.threads = available_processors() if _weights(program) >= THREADED_WEIGHTS else 1
        self.session = self._session()  # the first keeps the engine's network for the others
        self.traces: dict[str, list[_Trace]] = {}

    def bits(self, targets: Ids) -> float:
        """Run the program, with traces of the first populations, and return the text's length in bits."""
        names, *self.groups = self.groups
        read = self._run(self.session, names)
        return sum(negative_log2_likelihood(logits(self.program, reading), targets[tokens]) for tokens, reading in read)

    def trace(self, name: str) -> _Trace:
        """Outputs and membranes of a population, (tokens, T, size); they can be asked for once, in order."""
        if not self.traces:
            names, *self.groups = self.groups
            for _ in self._run(self._session(), names):
                pass
        outputs, membranes = zip(*self.traces.pop(name), strict=True)
        return np.concatenate(outputs), np.concatenate(membranes)

    def _session(self) -> SimSession:
        return SimSession(self.program, threads=self.threads)

    def _run(self, session: SimSession, names: Sequence[str]) -> Iterator[tuple[slice, Reading]]:
        """Yield what the host reads, some tokens at a time: whole blocks of the engine."""
        self.traces = {name: [] for name in names}
        together = max(1, LOGITS_AT_ONCE // self.program.readout.size // BLOCK_TOKENS) * BLOCK_TOKENS
        for tokens in blocks(len(self.inputs), together):
            reading, outputs, membranes = session.record(self.inputs[tokens], names)
            for name in names:
                self.traces[name].append((outputs[name], membranes[name]))
            yield tokens, reading


def _weights(program: QuantizedProgram) -> int:
    populations = program.of_kind(IntegerPopulation)
    return sum(entry.weight.size for node in populations for entry in node.inputs if entry.weight is not None)


def _groups(program: QuantizedProgram, populations: Sequence[str], tokens: int) -> list[list[str]]:
    """Cut populations into groups whose traces take a limited number of bytes."""
    groups: list[list[str]] = [[]]
    held = 0
    for name in populations:
        size = tokens * program.steps_per_token * program.node(name).size * 6  # int16 and int32
        if groups[-1] and held + size > RECORDED_AT_ONCE:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += size
    return groups


def _windows(token_ids: Ids, length: int) -> Iterator[Ids]:
    for start in range(0, len(token_ids) - 1, length):
        yield token_ids[start : start + length + 1]


def _float_trace(activity: NodeActivity) -> tuple[FloatArray, FloatArray]:
    """Spikes and stored membranes of a float population in one sequence, (T, tokens, size)."""
    assert isinstance(activity.node, Population)
    assert activity.membranes is not None
    spikes, membranes = activity.output[:, 0], activity.membranes[:, 0]
    return spikes, membranes * (spikes == 0) if activity.node.neurons.reset == "hard" else membranes


class _Comparison:
    """Running sums over places (time step, token, neuron) of one population."""

    def __init__(self) -> None:
        self.places = self.agreed = self.float_spikes = self.integer_spikes = 0
        self.squared_error = 0.0

    def add(
        self,
        float_trace: tuple[FloatArray, FloatArray],
        integer_spikes: npt.NDArray[np.int16],
        integer_membranes: FloatArray,
        threshold: FloatArray,
    ) -> None:
        spikes, membranes = float_trace
        self.places += spikes.size
        self.agreed += int(np.count_nonzero(spikes == integer_spikes))
        self.float_spikes += int(np.count_nonzero(spikes))
        self.integer_spikes += int(np.count_nonzero(integer_spikes))
        self.squared_error += float((((integer_membranes - membranes) / threshold) ** 2).sum())

    def report(self, name: str) -> PopulationReport:
        return PopulationReport(
            name=name,
            spike_agreement=self.agreed / self.places,
            membrane_error=float(np.sqrt(self.squared_error / self.places)),
            firing_rate_float=self.float_spikes / self.places,
            firing_rate_integer=self.integer_spikes / self.places,
        )
