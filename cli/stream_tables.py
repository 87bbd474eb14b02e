"""What the command lines say of a stream program: its neurocores, and whether it is the same network."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from bispik.compiler.stream.mapping import MappedStream
from bispik.compiler.stream.program import StreamProgram


def verification_table(program: StreamProgram) -> Table:
    """Return a row for each population of a program that has been held against its float network."""
    verification = program.verification
    assert verification is not None
    title = (
        f"{verification.spikes_in_common:.2%} of spikes in common with the network in real numbers, "
        f"{verification.steps:,} steps of {escape(verification.input)}"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("Population")
    for heading in ("Bits", "Spikes in common", "Places alike", "Membrane error", "Firing rate, float", "integer"):
        table.add_column(heading, justify="right")
    for report in verification.populations:
        spiking = report.spike_agreement is not None
        table.add_row(
            escape(report.name),
            str(min(projection.bits for projection in program.population(report.name).inputs)),
            f"{report.spikes_in_common:.2%}" if spiking else "",
            f"{report.spike_agreement:.2%}" if spiking else "",
            f"{report.membrane_error:.3f}",
            f"{report.firing_rate_float:.2%}" if spiking else "",
            f"{report.firing_rate_integer:.2%}" if spiking else "",
        )
    return table


def program_json(mapped: MappedStream) -> dict[str, Any]:
    """Return what a program is and whether it is the same network, as plain values."""
    program, verification = mapped.program, mapped.program.verification
    return {
        "network": {
            "origin": program.origin,
            "dt": program.dt,
            "discretisation": program.discretisation,
            "input": {
                "shape": list(program.input.shape),
                "low": program.input.low,
                "high": program.input.high,
                "unit": program.input.unit,
            },
            "output": program.output,
            "populations": {
                population.name: {
                    "neurons": population.size,
                    "shape": list(population.shape),
                    "output": population.neurons.output,
                    "reset": population.neurons.reset,
                    "synapses": [
                        {
                            "source": projection.source,
                            "kind": type(projection.wiring).__name__.lower(),
                            "delay": projection.delay,
                        }
                        for projection in population.inputs
                    ],
                }
                for population in program.populations
            },
        },
        "quantization": {
            "bits": program.bits,
            "neurons": program.neuron_program,
            "steps": verification.steps if verification else 0,
            "input": verification.input if verification else "",
            "spike_agreement": verification.spike_agreement if verification else None,
            "spikes_in_common": verification.spikes_in_common if verification else None,
            "populations": {
                report.name: {
                    "bits": min(projection.bits for projection in program.population(report.name).inputs),
                    "spike_agreement": report.spike_agreement,
                    "spikes_in_common": report.spikes_in_common,
                    "saturations": report.saturations,
                    "membrane_error": report.membrane_error,
                    "firing_rate_float": report.firing_rate_float,
                    "firing_rate_integer": report.firing_rate_integer,
                }
                for report in (verification.populations if verification else ())
            },
        },
        "mapping": {
            "target": mapped.target.name,
            "system": mapped.system.name,
            "chips": mapped.chips,
            "neurocores": len(mapped.neurocores),
            "neurocores_lower_bound": mapped.neurocores_lower_bound,
        },
    }
