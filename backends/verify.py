"""The integer program against the float network on held-out text: is it still the same network?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from bispik.backends.activity import reading_of
from bispik.backends.host import logits, negative_log2_likelihood
from bispik.backends.sim import SimSession
from bispik.compiler.float_network import FloatActivity, membranes_and_spikes, run_float
from bispik.compiler.graph import Population, SpikingGraph
from bispik.compiler.program import PopulationReport, QuantizedProgram, Verification

Ids = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def verify(
    graph: SpikingGraph,
    program: QuantizedProgram,
    token_ids: Ids,
    num_bytes: int,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Verification:
    """Run both networks freely over a text and compare spikes, membranes and bits per byte.

    Windows of the program's length do not overlap; each begins with the last token of the one before.

    Args:
        graph: the float network.
        program: its integers.
        token_ids: the text, (tokens,); the first token is only context.
        num_bytes: its length in UTF-8 bytes.
        progress: called with (windows done, windows in all).
    """
    comparisons = {p.name: _Comparison() for p in graph.of_kind(Population)}
    bits_float = bits_integer = 0.0
    windows = list(_windows(token_ids, program.window))
    for done, window in enumerate(windows):
        progress(done, len(windows))
        inputs, targets = window[:-1], window[1:]
        exact = run_float(graph, inputs[None], keep_currents=True)
        integer = SimSession(program, list(comparisons)).feed(inputs)
        bits_float += negative_log2_likelihood(exact.logits[0], targets)
        bits_integer += negative_log2_likelihood(logits(program, reading_of(program, integer)), targets)
        for population in graph.of_kind(Population):
            scale = program.membrane_scale[population.name]
            comparisons[population.name].add(
                _float_trace(population, exact),
                integer.outputs[population.name].swapaxes(0, 1),
                integer.membranes[population.name].swapaxes(0, 1) / scale,
                population.neurons.threshold.astype(np.float64),
            )
    progress(len(windows), len(windows))
    return Verification(
        tokens=len(token_ids) - 1,
        bpb_float=bits_float / num_bytes,
        bpb_integer=bits_integer / num_bytes,
        spike_agreement=sum(c.agreed for c in comparisons.values()) / sum(c.places for c in comparisons.values()),
        populations=tuple(c.report(name) for name, c in comparisons.items()),
        sample=tuple(int(token) for token in windows[0][:-1]),
    )


def _windows(token_ids: Ids, length: int) -> Iterator[Ids]:
    for start in range(0, len(token_ids) - 1, length):
        yield token_ids[start : start + length + 1]


def _float_trace(population: Population, exact: FloatActivity) -> tuple[FloatArray, FloatArray]:
    """Spikes and stored membranes of a float population, (T, tokens, size)."""
    membranes, spikes = membranes_and_spikes(population.neurons, exact.currents[population.name][:, 0])
    return spikes, membranes * (spikes == 0) if population.neurons.reset == "hard" else membranes


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
