"""What a network takes on a target, and the mapping itself: partition, choice of a system, placement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bispik.compiler.capacity import total
from bispik.compiler.demand import state_entry
from bispik.compiler.fan_in import split_fan_in
from bispik.compiler.mapping import MappedProgram, ResourceUse
from bispik.compiler.packing import Packing
from bispik.compiler.partition import pack
from bispik.compiler.place import place
from bispik.compiler.program import QuantizedProgram
from bispik.compiler.rules import check
from bispik.compiler.schedule import skews
from bispik.compiler.shapes import NetworkShape, program_shape
from bispik.compiler.target import System, Target
from bispik.models.errors import BispikError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """A network cut to neurocores, not yet placed; no weight was needed for it."""

    network: NetworkShape
    """With the parts of rows that read more than fits into one neurocore."""
    target: Target
    system: System | None
    """The one that was asked for, else the smallest with room; None if there is room in none."""
    packing: Packing
    """What each neurocore holds."""
    resources: tuple[ResourceUse, ...]

    @property
    def neurocores(self) -> int:
        """Number of neurocores."""
        return len(self.packing.neurocores)

    @property
    def chips(self) -> int:
        """Number of chips that hold them."""
        return self.target.chips(self.neurocores)

    @property
    def of_largest_system(self) -> float:
        """Neurocores, over those of the target's largest system."""
        return self.neurocores / self.target.neurocores(list(self.target.systems.values())[-1])

    @property
    def limited_by(self) -> ResourceUse:
        """The resource of which the network needs most neurocores' worth."""
        return max(self.resources, key=lambda use: use.total / use.limit)

    @property
    def neurocores_lower_bound(self) -> int:
        """No mapping can do with fewer neurocores."""
        return max(use.neurocores_at_least for use in self.resources)

    def use_by_node(self) -> dict[str, dict[str, int]]:
        """Return by node, in order, its use of each resource over all neurocores."""
        names = [use.resource for use in self.resources]
        return {node: dict(zip(names, use, strict=True)) for node, use in self.packing.use_by_node.items()}


def plan(network: NetworkShape, target: Target, system_name: str | None = None) -> Plan:
    """Return what a network takes on a target, from its shapes alone.

    Raises:
        BispikError: if the system is unknown or too small, or one row of a node needs more than a neurocore has. A
            network that fits into no system of the target has a plan all the same, with no system.
    """
    _require_programs(network, target)
    network = network if network.parts else split_fan_in(network, target)
    packed = pack(network, target)
    named = None if system_name is None else target.system(system_name)
    needed = len(packed.neurocores)
    room = target.smallest_system(needed) if named is None else named if target.neurocores(named) >= needed else None
    made = Plan(network=network, target=target, system=room, packing=packed, resources=_resources(packed, target))
    if named is not None and room is None:
        raise BispikError(_too_large(made, named))
    return made


def map_program(
    program: QuantizedProgram,
    target: Target,
    system_name: str | None = None,
    rates: Mapping[str, float] | None = None,
    seed: int = 0,
) -> MappedProgram:
    """Return the program on neurocores of the smallest system with room, or of the named one; every rule is checked.

    Args:
        program: the network in integers.
        target: hardware sheet.
        system_name: board; None for the smallest with room.
        rates: measured spikes per output and step by node, for placement; see `routes.messages_per_step`.
        seed: of the placement's search.

    Raises:
        BispikError: if the system is unknown, the program fits into no system or breaks a design rule.
    """
    made = plan(program_shape(program), target, system_name)
    system = require_room(made)
    mapped = MappedProgram(
        program=program,
        target=target,
        system=system,
        neurocores=place(made.packing.slices(), target, system, rates or {}, seed),
        resources=made.resources,
        parts=made.network.parts,
        skew=skews(program, made.network.parts),
    )
    check(mapped)
    return mapped


def require_room(made: Plan) -> System:
    """Return the plan's system.

    Raises:
        BispikError: if the network fits into no system of the target.
    """
    if made.system is None:
        raise BispikError(_too_large(made, list(made.target.systems.values())[-1]))
    return made.system


def _require_programs(network: NetworkShape, target: Target) -> None:
    """Check that the target has a program for every node."""
    for node in network.nodes:
        entry = state_entry(node, target)
        if entry.value == 0:
            what = (
                f"{node.program!r} neurons"
                if node.kind == "population"
                else f"program for a node of kind {node.kind!r}"
            )
            remedy = "use --neurons stock" if node.kind == "population" else "use another --target"
            raise BispikError(f"{node.name}: {target.name} has no {what}: {entry.source}; {remedy}")


def _resources(packed: Packing, target: Target) -> tuple[ResourceUse, ...]:
    totals = total(list(packed.use_by_node.values()))
    return tuple(
        ResourceUse(
            resource=name,
            unit=limit.unit,
            limit=limit.value,
            total=amount,
            busiest=busiest,
            neurocores_at_least=-(-amount // limit.value),
        )
        for (name, limit), amount, busiest in zip(target.resources.items(), totals, packed.busiest, strict=True)
    )


_REMEDIES = {
    "synapse_memory": "use --bits 4",
    "memory": "use --bits 4 or a smaller --window",
    "state_memory": "use a smaller --window",
    "neurons": "use a smaller --window",
}


def _too_large(made: Plan, system: System) -> str:
    target, limiting = made.target, made.limited_by
    larger = target.smallest_system(made.neurocores)
    remedy = _REMEDIES.get(limiting.resource, "use a smaller model") + (f" or --system {larger.name}" if larger else "")
    chips = f"{system.chips.value:,} chip{'' if system.chips.value == 1 else 's'}"
    neurocores = f"{made.neurocores:,} neurocores of {target.neurocores(system):,}"
    available = f"{chips} of {target.mesh.usable_neurocores.value}"
    resource = (
        f"{limiting.resource.replace('_', ' ')}: {limiting.total:,} {limiting.unit}, {limiting.limit:,} a neurocore"
    )
    return f"{system.name}: too small: needs {neurocores} ({available}), most of them for {resource}; {remedy}"
