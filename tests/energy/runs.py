"""A small network on several chips, run and counted."""

from __future__ import annotations

from dataclasses import replace

from bispik.backends.counts import EventCounts, count_events
from bispik.backends.observe import observe
from bispik.backends.reference import ReferenceSession
from bispik.compiler.mapping import MappedProgram, ResourceUse
from bispik.compiler.program import IntegerPopulation, PopulationReport, QuantizedProgram, Verification
from bispik.energy.account import account
from bispik.energy.profiles import load_profile
from bispik.energy.report import GeneratedText, ReportInput
from tests.mappings import scattered
from tests.networks import random_program, random_tokens


def counted(program: QuantizedProgram, seed: int = 0) -> tuple[MappedProgram, EventCounts]:
    """A full window of random tokens on randomly placed small neurocores."""
    mapped = scattered(program, seed)
    return mapped, count_events(mapped, ReferenceSession(program).feed(random_tokens(program, seed)))


def report_input(profile: str = "loihi2", *, title: str = "A model", verified: bool = True) -> ReportInput:
    """Everything that a report can show."""
    program = random_program(3, layers=2, heads=2, head_dim=4, steps=3)
    if verified:
        program = replace(program, verification=_verification(program))
    mapped, counts = counted(program)
    tokens = random_tokens(program, 0)
    words = ["In the beginning", " was", " <script>alert(1)</script> & more", *[" and more"] * (len(tokens) - 3)]
    limit, total = 4095, sum(core.used("neurons") for core in mapped.neurocores)
    use = ResourceUse(
        resource="neurons",
        unit="neurons",
        limit=limit,
        total=total,
        busiest=max(core.used("neurons") for core in mapped.neurocores),
        neurocores_at_least=-(-total // limit),
    )
    mapped = replace(mapped, resources=(use,))
    return ReportInput(
        title=title,
        parameters=1234,
        mapped=mapped,
        counts=counts,
        energy=account(mapped, counts, load_profile(profile)),
        execution_mode="reference: a test",
        token_ids=tokens,
        prompt_tokens=1,
        text=GeneratedText(prompt=words[0], continuation="".join(words[1:]), words=tuple(words)),
        observed=observe(program, tokens),
    )


def _verification(program: QuantizedProgram) -> Verification:
    populations = tuple(
        PopulationReport(
            name=population.name,
            spike_agreement=0.99,
            membrane_error=0.01,
            firing_rate_float=0.2,
            firing_rate_integer=0.21,
        )
        for population in program.of_kind(IntegerPopulation)
    )
    return Verification(
        tokens=100, bpb_float=2.0, bpb_integer=2.02, spike_agreement=0.99, populations=populations, sample=(1, 2)
    )
