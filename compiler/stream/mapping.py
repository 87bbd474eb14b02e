"""Stream programs on neurocores: partition, choice of a system and placement are those of language models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from bispik.compiler.fan_in import split_fan_in
from bispik.compiler.mapping import Mapped
from bispik.compiler.place import place_by
from bispik.compiler.plan import Plan, plan, require_room
from bispik.compiler.stream.consistency import check_stream_program
from bispik.compiler.stream.fabric import on_fabric
from bispik.compiler.stream.program import StreamProgram
from bispik.compiler.stream.readers import message_links
from bispik.compiler.stream.rules import check_stream
from bispik.compiler.stream.schedule import Schedule, schedule
from bispik.compiler.stream.shape import stream_shape
from bispik.compiler.target import Target


@dataclass(frozen=True, kw_only=True, eq=False)
class MappedStream(Mapped):
    """A stream program on neurocores: everything that a run, a trace and an energy account need."""

    program: StreamProgram

    @cached_property
    def fabric(self) -> StreamProgram:
        """The program with a population for each part of what rows read: what lies on the neurocores."""
        return on_fabric(self.program, self.parts)

    @property
    def timing(self) -> Schedule:
        """When each population of ``fabric`` works, and how long each projection waits."""
        return schedule(self.fabric.input.name, self.fabric.populations)


def plan_stream(program: StreamProgram, target: Target, system_name: str | None = None) -> Plan:
    """Return what a stream program takes on a target.

    Raises:
        BispikError: if a loop is shorter than its hops, the target lacks what the program needs, the system is unknown
            or too small, or one neuron needs more than a neurocore has.
    """
    timing = schedule(program.input.name, program.populations)
    whole = stream_shape(program, timing)
    parts = split_fan_in(whole, target).parts
    if not parts:
        return plan(whole, target, system_name)
    fabric = on_fabric(program, parts)
    timing = schedule(fabric.input.name, fabric.populations)
    return plan(stream_shape(fabric, timing, parts), target, system_name)


def map_stream(
    program: StreamProgram,
    target: Target,
    system_name: str | None = None,
    rates: Mapping[str, float] | None = None,
    seed: int = 0,
) -> MappedStream:
    """Return the program on neurocores of the smallest system with room, or of the named one; every rule is checked.

    Args:
        program: the network in integers.
        target: hardware sheet.
        system_name: board; None for the smallest with room.
        rates: measured spikes per neuron and step by population, for placement.
        seed: of the placement's search.

    Raises:
        BispikError: if the system is unknown, the program fits into no system or breaks a design rule.
    """
    check_stream_program(program, "program")
    made = plan_stream(program, target, system_name)
    system = require_room(made)
    cut = made.packing.slices()
    fabric = on_fabric(program, made.network.parts)
    links = message_links(fabric, cut, rates or {})
    mapped = MappedStream(
        program=program,
        target=target,
        system=system,
        neurocores=place_by(links, cut, target, system, seed),
        resources=made.resources,
        parts=made.network.parts,
        skew=schedule(fabric.input.name, fabric.populations).skew,
    )
    check_stream(mapped, program, made.network)
    return mapped
