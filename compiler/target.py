"""Hardware as data: what a neurocore, a chip and a board have, each number with its unit, source and grade."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from bispik.models.errors import BispikError, first_line
from bispik.models.files import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Grade: TypeAlias = Literal["M", "P", "D", "X"]
"""Measured on silicon, published by the maker, derived from published logs, or extrapolated and assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One number of a target sheet."""

    value: int
    unit: str
    source: str
    grade: Grade


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one neurocore has; a slice's use is counted under the same names."""

    neurons: Limit
    memory: Limit
    """Pool of everything that is stored: synapses, state and axon tables."""
    synapse_memory: Limit
    """Share of the pool that may hold weights."""
    state_memory: Limit
    """Share of the pool that may hold neuron state, keys and values."""
    axons_in: Limit
    axons_out: Limit

    def items(self) -> tuple[tuple[str, Limit], ...]:
        """Return (name, limit) of every resource."""
        return tuple((name, getattr(self, name)) for name in RESOURCES)


RESOURCES = tuple(field.name for field in fields(Resources))
"""Names of the resources, in the order of the reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """How things are stored in a neurocore and sent between neurocores."""

    weight_bits_min: Limit
    weight_bits_max: Limit
    synapse_word_bits: Limit
    """The weights behind one axon are rounded up to this."""
    axon_in_bytes: Limit
    axon_out_bytes: Limit
    spike_payload_bits: Limit
    """0 where a spike carries no number."""
    membrane_bits: Limit
    neuron_state_bytes_max: Limit
    stored_spike_bits: Limit
    """Per channel and time step of a stored key or value; a ternary one takes twice as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Bytes that one neuron keeps, by the program that it runs; 0 where the target cannot run it."""

    stock: Limit
    bispik: Limit
    join: Limit
    norm: Limit
    score: Limit
    attention_output: Limit
    readout: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """Neurocores of every chip that cannot be used, by number.

    Neurocore k of the router in column x and row y has number (y * columns + x) * neurocores_per_router + k.
    """

    value: tuple[int, ...]
    """Ascending."""
    source: str
    grade: Grade


UNUSABLE = "unusable_neurocores"
"""The only entry of a sheet that may be left out."""

NO_MASK = Mask(value=(), source="the sheet names none", grade="X")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Routers of one chip and the neurocores on them."""

    columns: Limit
    rows: Limit
    neurocores_per_router: Limit
    usable_neurocores: Limit
    """Per chip. Beside those of the mask it lacks the last ones on placement's way over the routers."""
    crossing_hops: Limit
    """Hops on a chip that placement takes one link between chips to be worth."""
    unusable_neurocores: Mask = NO_MASK

    @property
    def neurocores(self) -> int:
        """Of one chip, usable or not."""
        return self.columns.value * self.rows.value * self.neurocores_per_router.value

    def usable_on_router(self, x: int, y: int) -> tuple[int, ...]:
        """Return the numbers of a router's neurocores without those of the mask."""
        first = (y * self.columns.value + x) * self.neurocores_per_router.value
        every = range(first, first + self.neurocores_per_router.value)
        return tuple(number for number in every if number not in self.unusable_neurocores.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A board: chips on a grid, filled row by row from chip 0."""

    name: str
    chips: Limit
    chip_columns: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One target sheet."""

    name: str
    title: str
    resources: Resources
    storage: Storage
    state: State
    mesh: Mesh
    systems: Mapping[str, System]
    """By name, smallest first."""
    sha256: str
    """Of the sheet's text: two mappings are comparable only on the same sheet."""

    def system(self, name: str) -> System:
        """Return the system of that name.

        Raises:
            BispikError: if the target has none; the message lists those that it has.
        """
        if name not in self.systems:
            raise BispikError(f"system {name!r}: unknown for {self.name}; choose one of {', '.join(self.systems)}")
        return self.systems[name]

    def with_usable_neurocores(self, count: int) -> Target:
        """Return a target whose chips have so many usable neurocores: a sheet of its own, with a digest of its own.

        Raises:
            BispikError: if a chip has not so many.
        """
        mesh, masked = self.mesh, len(self.mesh.unusable_neurocores.value)
        most = mesh.neurocores - masked
        if not 1 <= count <= most:
            but = f", of which its sheet names {masked} that cannot be used" if masked else ""
            has = f"a chip of {self.name} has {mesh.neurocores}{but}"
            raise BispikError(f"--usable-neurocores {count}: {has}; choose 1 to {most}")
        if count == mesh.usable_neurocores.value:
            return self
        usable = replace(mesh.usable_neurocores, value=count, source="--usable-neurocores", grade="X")
        digest = hashlib.sha256(f"{self.sha256} usable_neurocores {count}".encode()).hexdigest()
        return replace(self, mesh=replace(mesh, usable_neurocores=usable), sha256=digest)

    def chips(self, neurocores: int) -> int:
        """Number of chips that hold so many neurocores."""
        return -(-neurocores // self.mesh.usable_neurocores.value)

    def smallest_system(self, neurocores: int) -> System | None:
        """Return the smallest system with so many neurocores, None if there is none."""
        return next((system for system in self.systems.values() if self.neurocores(system) >= neurocores), None)

    def neurocores(self, system: System) -> int:
        """Number of usable neurocores of a system."""
        return system.chips.value * self.mesh.usable_neurocores.value


def list_targets() -> tuple[str, ...]:
    """Return the names of the packaged target sheets."""
    sheets = (entry.name for entry in files("bispik.compiler").joinpath("targets").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in sheets if name.endswith(".toml")))


def load_target(name_or_path: str | Path) -> Target:
    """Return a packaged target by its name, or one read from a user's own ``.toml`` file.

    Raises:
        BispikError: if there is no such target or file, or the sheet has a missing, unknown or ill-typed entry.
    """
    name = str(name_or_path)
    if name.endswith(".toml"):
        return _parsed(read_text(Path(name), "target sheet"), name)
    if name not in list_targets():
        raise BispikError(f"target {name!r}: unknown; choose one of {', '.join(list_targets())}, or give a .toml file")
    sheet = files("bispik.compiler") / "targets" / f"{name}.toml"
    return _parsed(sheet.read_text(encoding="utf-8"), f"target {name}")


def _parsed(text: str, where: str) -> Target:
    try:
        sheet = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is no TOMLDecodeError, nor are deep lists
        raise BispikError(f"{where}: is no TOML: {first_line(error)}") from error
    _expect_keys(sheet, ("name", "title", "resources", "storage", "state", "mesh", "systems"), where)
    return Target(
        name=_text(sheet["name"], f"{where}: name"),
        title=_text(sheet["title"], f"{where}: title"),
        resources=_limits(Resources, sheet["resources"], f"{where}: resources"),
        storage=_limits(Storage, sheet["storage"], f"{where}: storage"),
        state=_limits(State, sheet["state"], f"{where}: state"),
        mesh=_mesh(sheet["mesh"], f"{where}: mesh"),
        systems=_systems(sheet["systems"], f"{where}: systems"),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def _mesh(table: Any, where: str) -> Mesh:
    masked = isinstance(table, dict) and UNUSABLE in table
    mesh = _limits(Mesh, {name: entry for name, entry in table.items() if name != UNUSABLE} if masked else table, where)
    if mesh.usable_neurocores.value > mesh.neurocores:
        raise BispikError(
            f"{where}: usable_neurocores is {mesh.usable_neurocores.value}, but the routers have {mesh.neurocores}"
        )
    if not masked:
        return mesh
    mesh = replace(mesh, unusable_neurocores=_mask(table[UNUSABLE], mesh.neurocores, f"{where}.{UNUSABLE}"))
    left = mesh.neurocores - len(mesh.unusable_neurocores.value)
    if mesh.usable_neurocores.value > left:
        raise BispikError(
            f"{where}: usable_neurocores is {mesh.usable_neurocores.value}, but of {mesh.neurocores} neurocores "
            f"{UNUSABLE} leaves {left}; make usable_neurocores {left} or fewer"
        )
    return mesh


def _mask(entry: Any, neurocores: int, where: str) -> Mask:
    _expect_keys(entry, ("value", "source", "grade"), where)
    value = entry["value"]
    if not isinstance(value, list) or not all(type(number) is int and 0 <= number < neurocores for number in value):
        raise BispikError(f"{where}: value is {value!r}; it must list numbers of neurocores, 0 to {neurocores - 1}")
    if len(set(value)) < len(value):
        raise BispikError(f"{where}: value names a neurocore twice")
    return Mask(
        value=tuple(sorted(value)), source=_text(entry["source"], f"{where}: source"), grade=_grade(entry, where)
    )


Table = TypeVar("Table", Resources, Storage, State, Mesh)


def _limits(kind: type[Table], table: Any, where: str) -> Table:
    names = tuple(field.name for field in fields(kind) if field.name != UNUSABLE)
    _expect_keys(table, names, where)
    limits: dict[str, Any] = {
        name: _limit(table[name], f"{where}.{name}", least=0 if _may_be_missing(kind, name) else 1) for name in names
    }
    return kind(**limits)


def _may_be_missing(kind: type[Table], name: str) -> bool:
    """Say whether a target may be without this: graded spikes, or a program that needs microcode."""
    return name == "spike_payload_bits" or (kind is State and name != "stock")


def _limit(entry: Any, where: str, least: int = 1) -> Limit:
    _expect_keys(entry, ("value", "unit", "source", "grade"), where)
    value, grade = entry["value"], _grade(entry, where)
    if type(value) is not int or value < least:
        raise BispikError(f"{where}: value is {value!r}; it must be a whole number of at least {least}")
    unit, source = _text(entry["unit"], f"{where}: unit"), _text(entry["source"], f"{where}: source")
    return Limit(value=value, unit=unit, source=source, grade=grade)


def _grade(entry: Any, where: str) -> Grade:
    grade: Grade = entry["grade"]
    if grade not in get_args(Grade):
        raise BispikError(f"{where}: grade is {grade!r}; choose one of {', '.join(get_args(Grade))}")
    return grade


def _systems(table: Any, where: str) -> Mapping[str, System]:
    if not isinstance(table, dict) or not table:
        raise BispikError(f"{where}: must name at least one system")
    systems = [_system(str(name), entry, f"{where}.{name}") for name, entry in table.items()]
    return {system.name: system for system in sorted(systems, key=lambda system: system.chips.value)}


def _system(name: str, entry: Any, where: str) -> System:
    _expect_keys(entry, ("chips", "chip_columns"), where)
    chips = _limit(entry["chips"], f"{where}.chips")
    columns = _limit(entry["chip_columns"], f"{where}.chip_columns")
    if chips.value % columns.value:
        raise BispikError(f"{where}: {chips.value} chips do not fill rows of {columns.value}; change chip_columns")
    return System(name=name, chips=chips, chip_columns=columns)


def _expect_keys(table: Any, expected: Iterable[str], where: str) -> None:
    if not isinstance(table, dict):
        raise BispikError(f"{where}: is {table!r}; it must be a table with {', '.join(expected)}")
    if missing := sorted(set(expected) - set(table)):
        raise BispikError(f"{where}: missing {', '.join(missing)}")
    if unknown := sorted(set(table) - set(expected)):
        raise BispikError(f"{where}: unknown {', '.join(unknown)}; expected are {', '.join(expected)}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BispikError(f"{where}: is {value!r}; it must be text")
    return value
