"""Containers: mapped, aligned, of one form only; whatever else a file holds is refused, quickly."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from bispik.compiler import container
from bispik.compiler.container import ALIGNMENT, ContainerError, map_arrays, read_header, write_container

ARRAYS: dict[str, Any] = {
    "/odd": np.arange(7, dtype=np.int16),
    "/weights": np.arange(640, dtype=np.int8).reshape(5, 128),
    "/empty": np.zeros((0, 3), np.float32),
    "/yes": np.array([True, False]),
    "/turned": np.arange(12, dtype=np.float64).reshape(3, 4).T,
}


def written(path: Path, arrays: dict[str, Any] = ARRAYS) -> Path:
    with path.open("wb") as file:
        write_container(file, {"name": "ours"}, arrays)
    return path


def read(path: Path) -> container.Contents:
    with path.open("rb") as file:
        return map_arrays(file, read_header(file))


def test_arrays_come_back_mapped_aligned_and_read_only(tmp_path: Path) -> None:
    path = written(tmp_path / "a")
    contents = read(path)
    assert contents.stop == path.stat().st_size
    assert contents.arrays.keys() == ARRAYS.keys()
    for name, array in contents.arrays.items():
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert array.dtype == ARRAYS[name].dtype
        assert not array.flags.writeable
        assert not array.flags.owndata
        assert array.ctypes.data % ALIGNMENT == 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        contents.arrays["/weights"].flags.writeable = True


def test_safetensors_reads_it_too(tmp_path: Path) -> None:
    with safe_open(written(tmp_path / "a"), framework="numpy") as file:
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    turned = {name: np.asfortranarray(ARRAYS[name]) for name in reversed(ARRAYS)}
    assert written(tmp_path / "a").read_bytes() == written(tmp_path / "b", turned).read_bytes()


def test_containers_stand_one_behind_the_other(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        for number in range(3):
            write_container(file, {"number": str(number)}, {"/a": np.full(5, number, np.int32)})
    start = 0
    with path.open("rb") as file:
        for number in range(3):
            header = read_header(file, start)
            contents = map_arrays(file, header)
            assert header.texts["number"] == str(number)
            assert contents.arrays["/a"].tolist() == [number] * 5
            assert contents.arrays["/a"].ctypes.data % ALIGNMENT == 0
            start = contents.stop


def test_every_altered_byte_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "PIECE", 100)  # so that there are several, hashed in parallel
    path = written(tmp_path / "a")
    read(path)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(ContainerError):
            read(path)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path / "a")
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ContainerError):
            read(path)


def with_header(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite a container's header, with its own form kept and no checksum made anew."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    raw = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    raw += b" " * (-(8 + len(raw)) % ALIGNMENT)
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + content[8 + length :])


HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "overlaps": lambda header: header["/weights"].update(data_offsets=[0, 640]),
    "reaches beyond the file": lambda header: header["/odd"].update(data_offsets=[64, 1 << 50]),
    "is huge": lambda header: header["/odd"].update(shape=[1 << 39], data_offsets=[64, 64 + (1 << 40)]),
    "overflows": lambda header: header["/odd"].update(shape=[1 << 39] * 8),
    "has a negative size": lambda header: header["/odd"].update(shape=[-7]),
    "has a size that is no integer": lambda header: header["/odd"].update(shape=[7.0]),
    "has a size that is a truth": lambda header: header["/odd"].update(shape=[True]),
    "has many dimensions": lambda header: header["/odd"].update(shape=[7] + [1] * 40),
    "has no shape": lambda header: header["/odd"].pop("shape"),
    "is of an unknown type": lambda header: header["/odd"].update(dtype="F8_E4M3"),
    "is of a type that is no text": lambda header: header["/odd"].update(dtype=["I16"]),
    "is no table": lambda header: header.update({"/odd": [1]}),
    "has no padding": lambda header: [header.pop(name) for name in list(header) if name.startswith("padding/")],
    "has more padding": lambda header: header.update({"padding/x": header["/odd"]}),
    "has no digest": lambda header: header.update(__metadata__={}),
    "has texts that are none": lambda header: header.update(__metadata__={"bispik": "[1]"}),
    "has metadata that is none": lambda header: header.update(__metadata__=3),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_header_is_refused_without_memory(what: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a")
    with_header(path, HOSTILE[what])  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        with pytest.raises(ContainerError):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08",
        b"\xff" * 64,
        (1 << 62).to_bytes(8, "little") + b"{}",
        b"\x02\0\0\0\0\0\0\0[]",
        b"\x02\0\0\0\0\0\0\0{}",
        b"\x00\0\1\0\0\0\0\0" + b"[" * 65536,
        b"\x00\0\1\0\0\0\0\0" + b"9" * 65536,
    ],
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ContainerError):
        read(tmp_path / "a")
