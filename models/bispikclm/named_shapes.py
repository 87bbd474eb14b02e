"""Configurations without weights: the packaged shapes, and the ``[model]`` table of a training sheet."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.run_config import read_toml
from bispik.models.errors import BispikError
from bispik.models.records import record


def list_shapes() -> tuple[str, ...]:
    """Return the names of the packaged shapes."""
    sheets = (entry.name for entry in files("bispik.models.bispikclm").joinpath("shapes").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in sheets if name.endswith(".toml")))


def load_shape(name_or_path: str) -> BiSpikCLMConfig:
    """Return a packaged shape by its name, or the ``[model]`` of a user's own ``.toml`` file, whatever else is in it.

    Raises:
        BispikError: if there is no such shape or file, or its ``[model]`` is missing or has an unusable value.
    """
    if name_or_path.endswith(".toml"):
        return _model_of(Path(name_or_path), name_or_path)
    if name_or_path not in list_shapes():
        raise BispikError(
            f"--config {name_or_path}: unknown; choose one of {', '.join(list_shapes())}, or give a .toml file "
            "with a [model] table"
        )
    with as_file(files("bispik.models.bispikclm") / "shapes" / f"{name_or_path}.toml") as sheet:
        return _model_of(sheet, name_or_path)


def _model_of(path: Path, where: str) -> BiSpikCLMConfig:
    table = read_toml(path, "configuration").get("model")
    if not isinstance(table, dict):
        raise BispikError(f"{where}: table [model] is missing")
    try:
        return record(BiSpikCLMConfig, table, "[model]")
    except BispikError as error:
        raise BispikError(f"{where}: {error}") from error
