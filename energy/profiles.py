"""Energy profiles: what one event of each kind costs on one kind of hardware, read from ``profiles/*.toml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from bispik.energy.constants import Constant, Dimension, only_keys, parse_constant, parse_toml, text, uncounted
from bispik.energy.ranges import Range
from bispik.models.errors import BispikError
from bispik.models.files import read_text

SCHEMA = 1

DIMENSIONS: Mapping[str, Dimension] = {
    "synop_dense": "energy",
    "synop_one_to_one": "energy",
    "synop_sparse": "energy",
    "synop_shared": "energy",
    "synop_score": "energy",
    "synop_value": "energy",
    "synop_readout": "energy",
    "synop_graded": "energy",
    "update_active": "energy",
    "update_inactive": "energy",
    "norm_operation": "energy",
    "spike": "energy",
    "kv_bit_written": "energy",
    "message": "energy",
    "hop_x": "energy",
    "hop_y": "energy",
    "message_local": "energy",
    "chip_crossing": "energy",
    "host_read": "energy",
    "host_integer_operation": "energy",
    "host_float_operation": "energy",
    "host_multiply_accumulate": "energy",
    "host_to_chip": "energy",
    "chip_to_host": "energy",
    "chip_power": "power",
    "board_power": "power",
    "host_power": "power",
    "time_synop": "time",
    "time_update": "time",
    "time_norm_operation": "time",
    "time_link": "time",
    "time_crossing": "time",
    "time_step": "time",
}
"""Every constant that a profile must give, or name as not counted."""

_KEYS = frozenset({"schema", "name", "title", "banner", "description", "counts_memory", "constants"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The constants of one energy model."""

    name: str
    title: str
    banner: str
    """What every result must say about itself."""
    description: str
    counts_memory: bool
    """Whether its synops contain memory accesses, so that a baseline must be charged with its own."""
    constants: Mapping[str, Constant]

    def __getitem__(self, name: str) -> Range:
        return self.constants[name].value


DEFAULT_PROFILE = "loihi2"

PROFILES_OF: Mapping[str, str] = {"loihi1": "loihi1-davies"}
"""Profiles of chips other than Loihi 2, by target."""


def default_profile(target: str) -> str:
    """Return the profile that prices runs on a target unless the user names another."""
    return PROFILES_OF.get(target, DEFAULT_PROFILE)


def list_profiles() -> tuple[str, ...]:
    """Return the names of the packaged profiles."""
    sheets = (entry.name for entry in files("bispik.energy").joinpath("profiles").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in sheets if name.endswith(".toml")))


def load_profile(name_or_path: str | Path) -> Profile:
    """Return a packaged profile by its name, or one read from a user's own ``.toml`` file.

    Raises:
        BispikError: if there is no such profile or file, or it is not a complete and sourced sheet.
    """
    name = str(name_or_path)
    if name.endswith(".toml"):
        return _parsed(read_text(Path(name), "energy profile"), name)
    if name not in list_profiles():
        raise BispikError(
            f"energy profile {name!r}: unknown; choose one of {', '.join(list_profiles())}, or give a .toml file"
        )
    sheet = files("bispik.energy") / "profiles" / f"{name}.toml"
    return _parsed(sheet.read_text(encoding="utf-8"), f"energy profile {name}")


def _parsed(content: str, where: str) -> Profile:
    sheet = parse_toml(content, where)
    only_keys(sheet, _KEYS | {"not_counted"}, _KEYS, where)
    if sheet["schema"] != SCHEMA:
        raise BispikError(f"{where}: schema is {sheet['schema']!r}; this version reads {SCHEMA}")
    if not isinstance(sheet["counts_memory"], bool):
        raise BispikError(f"{where}: counts_memory is {sheet['counts_memory']!r}; it must be true or false")
    name, title, banner, description = (text(sheet, key, where) for key in ("name", "title", "banner", "description"))
    return Profile(
        name=name,
        title=title,
        banner=banner,
        description=description,
        counts_memory=sheet["counts_memory"],
        constants=_constants(sheet, where),
    )


def _constants(sheet: Mapping[str, Any], where: str) -> dict[str, Constant]:
    tables, left_out = sheet["constants"], _not_counted(sheet.get("not_counted"), where)
    if not isinstance(tables, dict):
        raise BispikError(f"{where}: constants is {tables!r}; expected one table per constant")
    if both := sorted(set(tables) & set(left_out)):
        raise BispikError(f"{where}: {', '.join(both)} given and also named as not counted")
    known = frozenset(DIMENSIONS)
    only_keys({**tables, **left_out}, known, known, f"{where}: constants")
    return {
        name: left_out[name] if name in left_out else parse_constant(name, tables[name], dimension, where)
        for name, dimension in DIMENSIONS.items()
    }


def _not_counted(table: object, where: str) -> dict[str, Constant]:
    if table is None:
        return {}
    where = f"{where}: not_counted"
    if not isinstance(table, dict):
        raise BispikError(f"{where} is {table!r}; expected reason and constants")
    only_keys(table, frozenset({"reason", "constants"}), frozenset({"reason", "constants"}), where)
    names = table["constants"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BispikError(f"{where}: constants is {names!r}; expected a list of names")
    reason = text(table, "reason", where)
    return {name: uncounted(name, reason) for name in names}
