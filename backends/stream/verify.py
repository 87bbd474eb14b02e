"""A stream program against the float network on the same input: is it still the same network?"""

from __future__ import annotations

import numpy as np

from bispik.backends.stream.activity import StreamActivity
from bispik.compiler.stream.float_run import FloatStreamActivity, run_stream_float
from bispik.compiler.stream.network import FloatArray, StreamNetwork, StreamPopulation
from bispik.compiler.stream.program import StreamPopulationReport, StreamProgram, StreamVerification


def verify_stream(
    network: StreamNetwork, program: StreamProgram, activity: StreamActivity, description: str
) -> StreamVerification:
    """Compare a program's run with the float network's on the same input, both free of each other.

    Args:
        network: in real numbers.
        program: its integers.
        activity: of the program, from a sequence's start, with the membranes of all populations.
        description: of the input, in words.
    """
    exact = run_stream_float(network, activity.input / program.input.unit)
    reports = tuple(_report(population, program, exact, activity) for population in network.populations)
    spiking = [p for p in network.populations if p.neurons.output == "spikes"]
    agreed = sum(int((exact.sent[p.name] == activity.sent[p.name]).sum()) for p in spiking)
    places = sum(exact.sent[p.name].size for p in spiking)
    return StreamVerification(
        steps=len(activity.input),
        input=description,
        spike_agreement=agreed / places if places else 1.0,
        populations=reports,
    )


def _report(
    population: StreamPopulation, program: StreamProgram, exact: FloatStreamActivity, activity: StreamActivity
) -> StreamPopulationReport:
    name, spikes = population.name, population.neurons.output == "spikes"
    expected, found = exact.sent[name], activity.sent[name]
    membranes = activity.membranes[name] / program.membrane_scale[name]
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


def _root_mean_square(values: FloatArray) -> FloatArray:
    mean: FloatArray = np.sqrt((values**2).mean())
    return mean
