"""Checkpoints on disk: `.pt` (weights only, never unpickled code), or `.safetensors`, also in shards, with a JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.model import BiSpikCLM
from bispik.models.bispikclm.stored import INDEX, TensorFiles, index_in, read_pt, read_safetensors, read_shards
from bispik.models.bispikclm.tensors import checked_tensors
from bispik.models.bispikclm.third_party import from_third_party, is_third_party, third_party_config
from bispik.models.errors import BispikError, first_line
from bispik.models.files import read_text, require_file, written_whole

FORMAT = "bispik-checkpoint"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A network's configuration and tensors (names and shapes of ``BiSpikCLM.state_dict``)."""

    config: BiSpikCLMConfig
    tensors: Mapping[str, Tensor]
    """Floating point of the type that they are stored in; those of a file are mapped from it, see `stored`."""
    sha256: str = ""
    """Digest of the files that they come from; empty if they were made in memory."""
    release: Callable[[], None] = lambda: None
    """Gives back the memory of mapped tensors that were looked at."""

    @classmethod
    def of(cls, model: BiSpikCLM) -> Checkpoint:
        """Take a snapshot of a network."""
        tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
        return cls(config=model.config, tensors=tensors)

    def network(self, dtype: torch.dtype = torch.float32) -> BiSpikCLM:
        """Build the network in evaluation mode, with copies of the tensors as its parameters."""
        with torch.device("meta"):  # no weights are drawn only to be replaced
            model = BiSpikCLM(self.config)
        # By way of float32, the type in which a network trains, whatever the file holds.
        tensors = {name: tensor.float().to(dtype, copy=True) for name, tensor in self.tensors.items()}
        model.load_state_dict(tensors, assign=True)
        return model.eval()


def save_checkpoint(checkpoint: Checkpoint, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a checkpoint as ``.pt`` or ``.safetensors``; matrices are stored as ``dtype``, vectors as float32.

    Raises:
        BispikError: for another file name, a value that ``dtype`` cannot hold, or a file that cannot be written; what
            was there before is then untouched.
    """
    if path.suffix not in (".pt", ".safetensors"):
        raise BispikError(f"{path}: a checkpoint's name ends in .pt or .safetensors")
    tensors = {
        name: tensor.to(dtype if tensor.dim() > 1 else torch.float32).contiguous()
        for name, tensor in checkpoint.tensors.items()
    }
    if unfit := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise BispikError(f"{path}: {unfit[0]} has values that are not finite as {dtype}; the file is not written")
    header = {"format": FORMAT, "version": VERSION, "config": checkpoint.config.to_dict()}
    try:
        if path.suffix == ".pt":
            with written_whole(path) as temporary:
                torch.save({**header, "tensors": tensors}, temporary)
        else:
            # Both files are complete before either takes its place.
            with written_whole(_sheet(path)) as sheet, written_whole(path) as temporary:
                sheet.write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")
                save_file(tensors, temporary)
    except (RuntimeError, SafetensorError) as error:  # how the two libraries report a full disk
        raise BispikError(f"{path}: cannot be written: {first_line(error)}") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Map a checkpoint of ours or of the third-party layout, and check every tensor.

    Nothing in the file is executed, and the tensors take no memory but while they are looked at.

    Args:
        path: a ``.pt`` or ``.safetensors`` file, an index of shards (``NAME.safetensors.index.json``), or a folder with
            one such index. The configuration of safetensors stands in ``NAME.json`` beside them.

    Raises:
        BispikError: if the file is missing, is no checkpoint, holds anything but plain tensors and values,
            or has a missing, superfluous, mis-shaped or non-finite tensor.
    """
    path = _found(path)
    files = TensorFiles()
    stored: Mapping[str, Any]
    if path.name.endswith(INDEX):
        stored = {**_read_sheet(_sheet(path)), "tensors": read_shards(path, files)}
        files.paths.append(_sheet(path))
    elif path.suffix == ".safetensors":
        stored = {**_read_sheet(_sheet(path)), "tensors": read_safetensors(path, files)}
        files.paths.append(_sheet(path))
    else:
        stored = read_pt(path, files)
    if is_third_party(stored):
        config, tensors = from_third_party(stored, str(path))
    else:
        config, tensors = _from_own(stored, str(path))
    checked = checked_tensors(config, tensors, str(path), files.release)
    return Checkpoint(config=config, tensors=checked, sha256=_sha256(files.paths), release=files.release)


def load_config(path: Path) -> BiSpikCLMConfig:
    """Read what a checkpoint says of its network; its tensors are neither read nor checked.

    Raises:
        BispikError: if the file is missing or is no checkpoint.
    """
    path = _found(path)
    in_sheet = path.suffix == ".safetensors" or path.name.endswith(INDEX)
    stored = _read_sheet(_sheet(path)) if in_sheet else read_pt(path, TensorFiles())
    return third_party_config(stored, str(path)) if is_third_party(stored) else _own_config(stored, str(path))


def _found(path: Path) -> Path:
    """Return the file of a checkpoint: a folder stands for the one index of shards in it."""
    if path.is_dir():
        return index_in(path)
    require_file(path)
    return path


def _sheet(path: Path) -> Path:
    """Where the configuration of a ``.safetensors`` file, or of an index of such, stands."""
    return path.with_name(path.name.removesuffix(INDEX)).with_suffix(".json")


def _sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _read_sheet(sheet: Path) -> Mapping[str, Any]:
    try:
        header = json.loads(read_text(sheet, "configuration of the checkpoint"))
    except (ValueError, RecursionError) as error:
        raise BispikError(f"{sheet}: not JSON: {first_line(error)}") from error
    if not isinstance(header, dict):
        raise BispikError(f"{sheet}: holds a {type(header).__name__}, not the configuration of a checkpoint")
    return header


def _from_own(stored: Mapping[str, Any], where: str) -> tuple[BiSpikCLMConfig, dict[str, Tensor]]:
    config, tensors = _own_config(stored, where), stored.get("tensors")
    if not isinstance(tensors, Mapping):
        raise BispikError(f"{where}: 'tensors' is missing")
    return config, dict(tensors)


def _own_config(stored: Mapping[str, Any], where: str) -> BiSpikCLMConfig:
    if stored.get("format") != FORMAT:
        raise BispikError(f"{where}: not a BiSpikCLM checkpoint: it has no 'format' of '{FORMAT}'")
    if stored.get("version") != VERSION:
        raise BispikError(f"{where}: checkpoint version {stored.get('version')}; this bispik reads version {VERSION}")
    config = stored.get("config")
    if not isinstance(config, Mapping):
        raise BispikError(f"{where}: 'config' is missing")
    try:
        return BiSpikCLMConfig.from_dict(config)
    except BispikError as error:
        raise BispikError(f"{where}: {error}") from error
