"""Small networks on small neurocores, so that a mapping has many of them on several chips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import assume

from bispik.compiler.fan_in import split_fan_in
from bispik.compiler.mapping import MappedProgram, Neurocore
from bispik.compiler.mesh import usable_places
from bispik.compiler.partition import partition
from bispik.compiler.plan import map_program
from bispik.compiler.program import QuantizedProgram
from bispik.compiler.schedule import skews
from bispik.compiler.shapes import program_shape
from bispik.compiler.target import Limit, Target, load_target
from bispik.models.errors import BispikError


def small_target(memory: int = 400, neurocores_per_chip: int = 6) -> Target:
    """Loihi 2 with ``memory`` bytes a neurocore and few neurocores a chip."""
    sheet = load_target("loihi2")
    resources = replace(sheet.resources, memory=_limit(memory), synapse_memory=_limit(memory))
    mesh = replace(sheet.mesh, usable_neurocores=_limit(neurocores_per_chip), neurocores_per_router=_limit(2))
    return replace(sheet, resources=resources, mesh=mesh)


def few_axons(axons: int, memory: int = 400) -> Target:
    """A `small_target` on which a row that reads more than so many outputs is cut."""
    sheet = small_target(memory)
    return replace(sheet, resources=replace(sheet.resources, axons_in=_limit(axons)))


def placed(program: QuantizedProgram, target: Target) -> MappedProgram:
    """Map a drawn program as a compile does; one whose sums could overflow is drawn anew."""
    try:
        return map_program(program, target)
    except BispikError as error:
        assume("could reach" not in str(error))
        raise


def scattered(program: QuantizedProgram, seed: int, target: Target | None = None) -> MappedProgram:
    """A mapping whose neurocores lie at random places."""
    target = target or small_target()
    system = target.system("hala-point")
    network = split_fan_in(program_shape(program), target)
    cores = partition(network, target)
    places = usable_places(target, system, -(-len(cores) // target.mesh.usable_neurocores.value) + 1)
    chosen = np.random.default_rng(seed).permutation(len(places.x))[: len(cores)]
    neurocores = tuple(
        Neurocore(index=i, chip=int(places.chip[p]), x=int(places.x[p]), y=int(places.y[p]), slices=cores[i])
        for i, p in enumerate(chosen)
    )
    return MappedProgram(
        program=program,
        target=target,
        system=system,
        neurocores=neurocores,
        resources=(),
        parts=network.parts,
        skew=skews(program, network.parts),
    )


def _limit(value: int) -> Limit:
    return Limit(value=value, unit="", source="a test", grade="X")
