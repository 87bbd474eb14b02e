"""A stream program against the float network on the same input: is it still the same network?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from bispik.backends.stream.activity import StreamActivity
from bispik.backends.stream.registry import open_stream_session
from bispik.compiler.stream.float_run import FloatStream, FloatStreamActivity
from bispik.compiler.stream.network import FloatArray, StreamNetwork, StreamPopulation
from bispik.compiler.stream.program import StreamPopulationReport, StreamProgram, StreamVerification

NUMBERS_AT_ONCE = 1 << 20
"""Neurons times steps that are compared at once: some 70 bytes each."""


def verify_stream(
    network: StreamNetwork,
    program: StreamProgram,
    sequences: Sequence[npt.NDArray[np.int32]],
    description: str,
    see_activity: Callable[[StreamActivity], None] = lambda _activity: None,
) -> StreamVerification:
    """Run a program and its float network on the same inputs, both free of each other, and compare them.

    Args:
        network: in real numbers.
        program: its integers.
        sequences: inputs, (S, input size) each; state starts anew with each.
        description: of the inputs, in words.
        see_activity: receives what the program did, block by block.
    """
    comparisons = [_Comparison(population, program) for population in network.populations]
    block = max(1, NUMBERS_AT_ONCE // sum(population.size for population in network.populations))
    for values in sequences:
        exact = FloatStream(network)
        session = open_stream_session("sim", program, [population.name for population in network.populations])
        for first in range(0, len(values), block):
            activity = session.feed(values[first : first + block])
            expected = exact.feed(activity.input / program.input.unit)
            for comparison in comparisons:
                comparison.add(expected, activity)
            see_activity(activity)
    spiking = [comparison for comparison in comparisons if comparison.spiking]
    return StreamVerification(
        steps=sum(len(values) for values in sequences),
        input=description,
        spike_agreement=_share(sum(c.agreed for c in spiking), sum(c.places for c in spiking)),
        spikes_in_common=_share(sum(c.both for c in spiking), sum(c.either for c in spiking)),
        populations=tuple(comparison.report() for comparison in comparisons),
    )


class _Comparison:
    """Running sums over places (time step, neuron) of one population."""

    def __init__(self, population: StreamPopulation, program: StreamProgram) -> None:
        self.name, self.neurons = population.name, population.neurons
        self.spiking = population.neurons.output == "spikes"
        self.scale = program.membrane_scale[population.name]
        self.places = self.agreed = self.both = self.either = self.floats = self.integers = self.saturations = 0
        self.squared_error = self.squared_output = 0.0

    def add(self, exact: FloatStreamActivity, activity: StreamActivity) -> None:
        expected, found = exact.sent[self.name], activity.sent[self.name]
        error = activity.membranes[self.name] / self.scale - self._stored(exact)
        self.places += expected.size
        self.saturations += activity.saturations[self.name]
        if not self.spiking:
            self.squared_output += float((expected**2).sum())
            self.squared_error += float((error**2).sum())
            return
        threshold = np.abs(self.neurons.threshold)
        self.squared_error += float(((error / np.where(threshold > 0, threshold, 1.0)) ** 2).sum())
        ours, theirs = found != 0, expected != 0
        self.agreed += int(np.count_nonzero(ours == theirs))
        self.both += int(np.count_nonzero(ours & theirs))
        self.either += int(np.count_nonzero(ours | theirs))
        self.floats += int(np.count_nonzero(theirs))
        self.integers += int(np.count_nonzero(ours))

    def report(self) -> StreamPopulationReport:
        error = np.sqrt(self.squared_error / self.places)
        if not self.spiking:
            error /= np.sqrt(self.squared_output / self.places) or 1.0
        return StreamPopulationReport(
            name=self.name,
            spike_agreement=_share(self.agreed, self.places) if self.spiking else None,
            spikes_in_common=_share(self.both, self.either) if self.spiking else None,
            membrane_error=float(error),
            saturations=self.saturations,
            firing_rate_float=self.floats / self.places,
            firing_rate_integer=self.integers / self.places,
        )

    def _stored(self, exact: FloatStreamActivity) -> FloatArray:
        """Return the membrane behind each step: 0 where a hard reset followed."""
        membranes = exact.membranes[self.name]
        return membranes * (exact.sent[self.name] == 0) if self.neurons.reset == "hard" else membranes


def _share(part: int, whole: int) -> float:
    """Return part / whole; 1 of nothing."""
    return part / whole if whole else 1.0
