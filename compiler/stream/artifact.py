"""Mapped stream programs as files: ``program.bspk`` in the container of all our files, with a format of its own.

`bispik.compiler.artifact.file_format` tells them from language models.
"""

from __future__ import annotations

from pathlib import Path

from bispik.compiler.artifact import Format, load, save
from bispik.compiler.stream.consistency import check_currents, check_stream_program, expect
from bispik.compiler.stream.mapping import MappedStream
from bispik.compiler.stream.program import STREAM_SEMANTICS_VERSION
from bispik.compiler.stream.wiring import Dense, Sparse
from bispik.compiler.target import RESOURCES
from bispik.models.errors import BispikError

STREAM = Format(name="bispik-stream", version="2", what="compiled stream program")


def save_stream(mapped: MappedStream, path: Path) -> None:
    """Write a program; the same program gives the same bytes."""
    save(mapped, STREAM, path)


def load_stream(path: Path) -> MappedStream:
    """Read a program and check that it is whole, unaltered and consistent.

    Raises:
        BispikError: if the file is missing, no stream program, of another version, altered, or inconsistent.
    """
    mapped = load(MappedStream, STREAM, path)
    check_mapped_stream(mapped, str(path))
    return mapped


def check_mapped_stream(mapped: MappedStream, where: str) -> None:
    """Check that a program from a file is one that this version can run.

    Raises:
        BispikError: if it was made for other semantics or its parts do not fit together.
    """
    program = mapped.program
    if program.semantics_version != STREAM_SEMANTICS_VERSION:
        raise BispikError(
            f"{where}: made for stream semantics {program.semantics_version}, this bispik runs "
            f"{STREAM_SEMANTICS_VERSION}; compile the network again"
        )
    check_stream_program(program, where)
    check_currents(program, where)
    _check_parts(mapped, where)
    expect(dict(mapped.skew) == dict(mapped.timing.skew), where, "its skews are not those of its populations")
    _check_places(mapped, where)
    _check_slices(mapped, where)


def _check_parts(mapped: MappedStream, where: str) -> None:
    """Check that parts are of matrices and patterns that are there, and hold every source neuron of these once."""
    program, read = mapped.program, dict[tuple[str, int], list[tuple[int, int]]]()
    sizes = {program.input.name: program.input.size} | {p.name: p.size for p in program.populations}
    names = {part.name for part in mapped.parts}
    expect(len(names) == len(mapped.parts) and names.isdisjoint(sizes), where, "parts with names that others have")
    for part in mapped.parts:
        place = f"{where}: {part.name}"
        inputs = program.population(part.node).inputs if part.node in sizes.keys() - {program.input.name} else ()
        own = 0 <= part.index < len(inputs) and inputs[part.index].source == part.source
        expect(own and isinstance(inputs[part.index].wiring, Dense | Sparse), place, "a part of nothing, or no matrix")
        read.setdefault((part.node, part.index), []).append((part.start, part.stop))
    for (name, index), ranges in read.items():
        ends = [0, *(stop for _, stop in sorted(ranges))]
        last = sizes[program.population(name).inputs[index].source]
        whole = [start for start, _ in sorted(ranges)] == ends[:-1] and ends[-1] == last
        expect(whole and all(start < stop for start, stop in ranges), f"{where}: {name}", "parts that leave gaps")


def _check_places(mapped: MappedStream, where: str) -> None:
    target, mesh, system = mapped.target, mapped.target.mesh, mapped.system
    sizes = (mesh.columns, mesh.rows, mesh.neurocores_per_router, mesh.usable_neurocores, system.chips)
    plausible = all(1 <= size.value <= 1 << 20 for size in (*sizes, system.chip_columns))
    expect(plausible, where, "a mesh or system of an impossible size")
    limits = [limit.value for _, limit in target.resources.items()] + [use.limit for use in mapped.resources]
    plausible = all(1 <= limit <= 1 << 40 for limit in (target.storage.synapse_word_bits.value, *limits))
    expect(plausible, where, "a neurocore of an impossible size")
    named = tuple(use.resource for use in mapped.resources) == RESOURCES
    expect(named, where, "the use of other resources than a neurocore has")
    for place, core in enumerate(mapped.neurocores):
        on_mesh = 0 <= core.x < mesh.columns.value and 0 <= core.y < mesh.rows.value
        fits = core.index == place and 0 <= core.chip < system.chips.value and on_mesh
        expect(fits, where, f"neurocore {place} lies nowhere on {system.name}")


def _check_slices(mapped: MappedStream, where: str) -> None:
    """Check that the neurocores hold every neuron once, and nothing else."""
    program = mapped.fabric
    sizes = {program.input.name: program.input.size} | {p.name: p.size for p in program.populations}
    sums = {part.name for part in mapped.parts}
    parts: dict[str, list[tuple[int, int]]] = {population.name: [] for population in program.populations}
    for part in (part for core in mapped.neurocores for part in core.slices):
        place = f"{where}: {part.node}"
        kind = "partial" if part.node in sums else "population"
        expect(part.node in parts and part.kind == kind, place, "a neurocore holds what is not there")
        expect(0 <= part.start < part.stop <= sizes[part.node], place, f"rows {part.start} to {part.stop}")
        expect((part.first_token, part.last_token) == (0, 0), place, "stored tokens in a stream")
        parts[part.node].append((part.start, part.stop))
        for entry in part.inputs:
            expect(entry.source in sizes, place, f"its source {entry.source} is not there")
            fits = 0 <= entry.start <= entry.stop <= sizes[entry.source]
            expect(fits, place, f"inputs {entry.start} to {entry.stop} of {entry.source}")
    for name, held in parts.items():
        ends = [0, *(stop for _, stop in sorted(held))]
        whole = [start for start, _ in sorted(held)] == ends[:-1] and ends[-1] == sizes[name]
        expect(whole, f"{where}: {name}", "not on neurocores exactly once")
