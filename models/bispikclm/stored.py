"""Tensors where they lie in their files: mapped into memory as they are used, never read as a whole.

A mapped tensor is a private view: whoever changes one in place changes nothing in the file, and loses the change with
the next `TensorFiles.release`. A file must not be rewritten in place while it is mapped; `written_whole` never does.
"""

from __future__ import annotations

import json
import mmap
import pickle
import sys
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from bispik.models.bispikclm.tensors import is_dense
from bispik.models.errors import BispikError, first_line

INDEX = ".index.json"
"""How the name of an index of ``.safetensors`` shards ends, as Hugging Face writes it."""

HEADER_MAX = 100 << 20
"""Bytes of a safetensors header, and of an index; the limit of the safetensors library."""

_SAFETENSORS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}


class TensorFiles:
    """The mapped files of one checkpoint."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self._mapped: list[mmap.mmap] = []

    def release(self) -> None:
        """Give back the memory of all pages that were looked at; they are mapped anew when they are looked at again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._mapped:
                mapped.madvise(mmap.MADV_DONTNEED)

    def map(self, path: Path) -> mmap.mmap:
        """Map a file."""
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.paths.append(path)
        self._mapped.append(mapped)
        return mapped


def read_pt(path: Path, files: TensorFiles) -> Mapping[str, Any]:
    """Return what ``torch.save`` wrote, its tensors mapped. Files of PyTorch before 1.6 are read into memory.

    Raises:
        BispikError: if it is damaged, or holds anything whose loading could run code.
    """
    records = _records(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch has to say about odd files, the errors below say too
            if records is not None:
                with FakeTensorMode():  # sizes and places of the tensors, and none of their data
                    stored = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
            else:
                stored = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except pickle.UnpicklingError as error:
        raise BispikError(
            f"{path}: not a checkpoint that can be read safely: it is damaged, or holds more than tensors and plain "
            "values, and loading that could run code; save a state dict and plain configuration values with torch.save"
        ) from error
    except Exception as error:  # a damaged file makes torch.load raise nearly anything
        raise BispikError(f"{path}: not a PyTorch checkpoint: {first_line(error)}") from error
    if not isinstance(stored, Mapping):
        raise BispikError(f"{path}: holds a {type(stored).__name__}, not a dictionary with a configuration and tensors")
    if records is None:
        files.paths.append(path)
        return stored
    mapped = files.map(path)
    return {name: _with_data(value, mapped, records, path) for name, value in stored.items()}


def _records(path: Path) -> Mapping[int, int] | None:
    """Where the entries of a zip archive lie and how long they are, bytes; None if it is to be read as a whole.

    Raises:
        BispikError: if its entries would grow when read: a small file could fill the memory.
    """
    if sys.byteorder != "little":
        return None
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise BispikError(
                    f"{path}: a compressed archive; torch.save writes none, so this is not a PyTorch checkpoint"
                )
            orders = [archive.open(entry).read(8) for entry in entries if entry.filename.endswith("/byteorder")]
            places = {_content_place(file, entry): entry.file_size for entry in entries}
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, OSError):
        return None  # torch.load finds the words for it
    return places if all(order == b"little" for order in orders) else None  # PyTorch turns the others round


def _content_place(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Where the bytes of an entry begin: behind a header of 30 bytes, its name and its extra field."""
    file.seek(entry.header_offset + 26)
    lengths = file.read(4)
    return entry.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")


def _with_data(value: Any, mapped: mmap.mmap, records: Mapping[int, int], path: Path) -> Any:
    """Return a value of a checkpoint with data behind its tensors, one dictionary deep."""
    if isinstance(value, Mapping):
        return {name: _tensor(entry, mapped, records, path) for name, entry in value.items()}
    return value


def _tensor(value: Any, mapped: mmap.mmap, records: Mapping[int, int], path: Path) -> Any:
    """Return a mapped tensor; one without a place of its own for each element stays as it is, and is refused later."""
    if not isinstance(value, FakeTensor) or not is_dense(value):
        return value
    storage = value.untyped_storage()
    place, size = int(getattr(storage, "_checkpoint_offset", -1)), storage.nbytes()
    if size > min(records.get(place, -1), len(mapped) - place):
        raise BispikError(f"{path}: not a PyTorch checkpoint: {size:,} bytes of a tensor are not in it; it is damaged")
    if size == 0:
        return torch.empty(value.shape, dtype=value.dtype)
    flat = torch.frombuffer(mapped, dtype=torch.uint8, count=size, offset=place)
    if place % value.element_size():
        flat = flat.clone()
    return flat.view(value.dtype).as_strided(value.shape, value.stride(), value.storage_offset())


def read_safetensors(path: Path, files: TensorFiles) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` file, mapped.

    Raises:
        BispikError: if it is none.
    """
    try:
        with safe_open(path, framework="pt") as checked:  # checks that places neither overlap nor leave the file
            mapped = files.map(path)
            length = int.from_bytes(mapped[:8], "little")
            header = json.loads(mapped[8 : 8 + length])
            return {
                name: _stored(header[name], mapped, 8 + length)
                if header[name]["dtype"] in _SAFETENSORS
                else checked.get_tensor(name)
                for name in checked.keys()  # noqa: SIM118 - it is no dictionary
            }
    except (SafetensorError, OSError, ValueError, LookupError) as error:
        raise BispikError(f"{path}: not a safetensors file: {first_line(error)}") from error


def _stored(entry: Mapping[str, Any], mapped: mmap.mmap, start: int) -> Tensor:
    dtype, (begin, end) = _SAFETENSORS[entry["dtype"]], entry["data_offsets"]
    if begin == end:
        return torch.empty(entry["shape"], dtype=dtype)
    flat = torch.frombuffer(mapped, dtype=torch.uint8, count=end - begin, offset=start + begin)
    if (start + begin) % dtype.itemsize:
        flat = flat.clone()
    return flat.view(dtype).reshape(entry["shape"])


def read_shards(index: Path, files: TensorFiles) -> dict[str, Tensor]:
    """Return the tensors of all shards that an index names, mapped.

    Raises:
        BispikError: if the index is none, or a shard is missing, damaged, lies in another folder, or holds other
            tensors than the index says.
    """
    places = _weight_map(index)
    files.paths.append(index)
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        shard = index.parent / name
        if Path(name).name != name or not shard.is_file():
            raise BispikError(f"{index}: names the shard {name!r}, which is not a file beside it")
        found = read_safetensors(shard, files)
        expected = {tensor for tensor, place in places.items() if place == name}
        if different := sorted(expected ^ set(found)):
            what = "lacks" if different[0] in expected else "holds more than the index names:"
            raise BispikError(f"{shard}: {what} {different[0]} ({len(different)} such tensors)")
        tensors |= found
    return tensors


def _weight_map(index: Path) -> Mapping[str, str]:
    try:
        if index.stat().st_size > HEADER_MAX:
            raise BispikError(f"{index}: longer than {HEADER_MAX:,} bytes, so not an index of shards")
        content = json.loads(index.read_text(encoding="utf-8"))
        places = content["weight_map"]
        if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
            raise TypeError("weight_map does not map names of tensors to names of files")
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise BispikError(f"{index}: not an index of shards: {first_line(error)}") from error
    return cast("Mapping[str, str]", places)


def index_in(folder: Path) -> Path:
    """Return the one index of shards in a folder.

    Raises:
        BispikError: if there is none, or more than one.
    """
    found: Sequence[Path] = sorted(folder.glob(f"*{INDEX}"))
    if len(found) != 1:
        raise BispikError(
            f"{folder}: is a folder with {len(found) or 'no'} indexes of shards (*.safetensors{INDEX}); name a file"
        )
    return found[0]
