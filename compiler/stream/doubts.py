"""What of a stream program may not be the network any more: said aloud, because the spikes of one input may hide it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bispik.compiler.fixed_point import DECAY_ONE
from bispik.compiler.stream.network import FloatArray, StreamNetwork, StreamPopulation
from bispik.compiler.stream.program import IntegerStreamPopulation, StreamPopulationReport, StreamProgram

DECAY_ERROR = 0.05
"""Share by which a decay may be off for its 12 bits before it is worth a word."""

RATE_CHANGE = 0.2
"""Share by which a firing rate may change before it is worth a word."""


def doubts(network: StreamNetwork, program: StreamProgram) -> tuple[str, ...]:
    """Return sentences, one a doubt; each names its population and what to do."""
    found: list[str] = []
    for exact, integers in zip(network.populations, program.populations, strict=True):
        found += _weights(integers, program)
        found += _decays(exact, integers)
    verification = program.verification
    if verification is None:
        return tuple(found)
    for report in verification.populations:
        found += _behaviour(report)
    spiking = [report for report in verification.populations if report.spike_agreement is not None]
    if spiking and not any(report.firing_rate_float or report.firing_rate_integer for report in spiking):
        found.append("nothing spiked: this input says nothing about the network; give another one with --calib")
    return tuple(found)


def _weights(population: IntegerStreamPopulation, program: StreamProgram) -> Iterator[str]:
    kept = min(projection.bits for projection in population.inputs)
    if kept < program.bits:
        remedy = "--neurons bispik keeps more" if program.neuron_program == "stock" else "its sums need the others"
        yield f"{population.name}: weights have {kept} bits instead of {program.bits}, or sums could overflow; {remedy}"


def _decays(exact: StreamPopulation, integers: IntegerStreamPopulation) -> Iterator[str]:
    for what, keep, decay in (
        ("membrane", exact.neurons.keep, integers.neurons.decay),
        ("current", exact.neurons.current_keep, integers.neurons.current_decay),
    ):
        lost: FloatArray = (1.0 - keep) * DECAY_ONE
        error = np.where(lost > 0, np.abs(decay / np.where(lost > 0, lost, 1.0) - 1.0), 0.0)
        if error.max() > DECAY_ERROR:
            worst = int(error.argmax())
            yield (
                f"{integers.name}: a {what} loses {lost[worst] / DECAY_ONE:.3g} of itself a step, which 12 bits hold "
                f"as {decay[worst] / DECAY_ONE:.3g}; a larger time step (--dt) is nearer"
            )


def _behaviour(report: StreamPopulationReport) -> Iterator[str]:
    before, after = report.firing_rate_float, report.firing_rate_integer
    if before and abs(after / before - 1.0) > RATE_CHANGE:
        yield f"{report.name}: fires at {after:.2%} in integers, at {before:.2%} in real numbers"
    if report.saturations:
        yield f"{report.name}: {report.saturations:,} membranes were clipped at 24 bits"
