"""A stream program against the float network on the same input: is it still the same network?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from bispik.backends.stream.activity import StreamActivity
from bispik.compiler.stream.float_run import FloatStreamActivity, run_stream_float
from bispik.compiler.stream.network import FloatArray, StreamNetwork, StreamPopulation
from bispik.compiler.stream.program import StreamPopulationReport, StreamProgram, StreamVerification

NumberT = TypeVar("NumberT", bound=np.generic)


def verify_stream(
    network: StreamNetwork, program: StreamProgram, activities: Sequence[StreamActivity], description: str
) -> StreamVerification:
    """Compare a program's runs with the float network's on the same inputs, both free of each other.

    Args:
        network: in real numbers.
        program: its integers.
        activities: of the program, each from a sequence's start, with the membranes of all populations.
        description: of the inputs, in words.
    """
    runs = [run_stream_float(network, activity.input / program.input.unit) for activity in activities]
    exact = FloatStreamActivity(sent=_joined([r.sent for r in runs]), membranes=_joined([r.membranes for r in runs]))
    sent, membranes = _joined([a.sent for a in activities]), _joined([a.membranes for a in activities])
    reports = tuple(
        _report(
            population,
            exact,
            sent[population.name],
            membranes[population.name] / program.membrane_scale[population.name],
        )
        for population in network.populations
    )
    spiking = [p for p in network.populations if p.neurons.output == "spikes"]
    agreed = sum(int((exact.sent[p.name] == sent[p.name]).sum()) for p in spiking)
    places = sum(exact.sent[p.name].size for p in spiking)
    return StreamVerification(
        steps=sum(len(activity.input) for activity in activities),
        input=description,
        spike_agreement=agreed / places if places else 1.0,
        populations=reports,
    )


def _report(
    population: StreamPopulation, exact: FloatStreamActivity, found: npt.NDArray[np.int32], membranes: FloatArray
) -> StreamPopulationReport:
    name, spikes = population.name, population.neurons.output == "spikes"
    expected = exact.sent[name]
    error = membranes - _stored(population, exact)
    largest = np.abs(population.neurons.threshold) if spikes else _root_mean_square(expected)
    return StreamPopulationReport(
        name=name,
        spike_agreement=float((expected == found).mean()) if spikes else None,
        membrane_error=float(_root_mean_square(error / np.where(largest > 0, largest, 1.0))),
        firing_rate_float=float(expected.mean()) if spikes else 0.0,
        firing_rate_integer=float(found.mean()) if spikes else 0.0,
    )


def _stored(population: StreamPopulation, exact: FloatStreamActivity) -> FloatArray:
    """Return the membrane behind each step: 0 where a hard reset followed."""
    membranes = exact.membranes[population.name]
    return membranes * (exact.sent[population.name] == 0) if population.neurons.reset == "hard" else membranes


def _joined(parts: Sequence[Mapping[str, npt.NDArray[NumberT]]]) -> dict[str, npt.NDArray[NumberT]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _root_mean_square(values: FloatArray) -> FloatArray:
    mean: FloatArray = np.sqrt((values**2).mean())
    return mean
