"""A sweep as a TOML file: one training run, varied."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bispik.models.bispikclm.run_config import TrainingRun, load_run, read_toml
from bispik.models.errors import BispikError


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One training of the sweep."""

    name: str
    run: TrainingRun
    bits: tuple[int, ...]
    """Weight widths at which the trained network is compiled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The trainings of a sweep, and the texts that their networks are compiled with."""

    variants: tuple[Variant, ...]
    calibration: Path
    held_out: Path


def load_sweep(path: Path, folder: Path) -> Sweep:
    """Read a sweep.

    Keys: ``run``, the run's file; ``bits``, a list; ``calibration`` and ``held_out``, texts; and a table ``[variants]``
    with, by name, the values that replace the run's, each by its dotted name, and its own ``bits`` if it has some.
    Files are relative to the sweep's; checkpoints and logs of the variants go into ``folder``.

    Raises:
        BispikError: for a file that cannot be read, an unknown or missing key, or an unusable value.
    """
    values = read_toml(path, "sweep")
    known = ("run", "bits", "calibration", "held_out", "variants")
    if unknown := sorted(set(values) - set(known)):
        raise BispikError(f"{path}: unknown keys {', '.join(unknown)}; known are {', '.join(known)}")
    if missing := [name for name in known if name not in values]:
        raise BispikError(f"{path}: missing keys {', '.join(missing)}")
    files = {name: _file(path, values, name) for name in ("run", "calibration", "held_out")}
    variants = values["variants"]
    if not isinstance(variants, dict) or not variants:
        raise BispikError(f"{path}: [variants] has no entry; give at least one")
    made = tuple(_variant(path, files["run"], folder, values["bits"], *entry) for entry in variants.items())
    names = [variant.run.checkpoint for variant in made]
    if len(set(names)) < len(names):
        raise BispikError(f"{path}: two variants would be stored as the same file; name them further apart")
    return Sweep(variants=made, calibration=files["calibration"], held_out=files["held_out"])


def _file(path: Path, values: Mapping[str, Any], name: str) -> Path:
    value = values[name]
    if not isinstance(value, str):
        raise BispikError(f"{path}: {name} is {value!r}; expected a file")
    return path.parent / value


def _variant(path: Path, run: Path, folder: Path, bits: Any, name: str, changes: Any) -> Variant:
    if not isinstance(changes, dict):
        raise BispikError(f"{path}: variant '{name}' is {changes!r}; expected a table of changes")
    changes = dict(changes)
    bits = changes.pop("bits", bits)
    whole = isinstance(bits, list) and bits and all(type(b) is int and 1 <= b <= 8 for b in bits)
    if not whole:
        raise BispikError(f"{path}: variant '{name}': bits is {bits!r}; expected a list of numbers from 1 to 8")
    stem = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not stem:
        raise BispikError(f"{path}: variant '{name}' has no letter or digit to name its files after")
    files = {"checkpoint": str((folder / f"{stem}.pt").absolute()), "log": str((folder / f"{stem}.jsonl").absolute())}
    try:
        return Variant(name=name, run=load_run(run, {**changes, **files}), bits=tuple(bits))
    except BispikError as error:
        raise BispikError(f"{path}: variant '{name}': {error}") from error
