"""Damage to files, drawn from a random stream: bytes, words of texts, values of JSON, entries of archives."""

from __future__ import annotations

import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

from bispik.compiler.container import TYPES, write_container

NUMBERS = (-1, 0, 1, 7, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63)
WORDS = (
    *map(str, NUMBERS),
    *(
        "1e400",
        "-1e400",
        "nan",
        "inf",
        "1e-320",
        "9" * 5000,
        "true",
        "null",
        '""',
        "[]",
        "{}",
        "[[]]",
        "a.b",
        "=",
        "\0",
    ),
    *('"\\ud800"', '"' + "x" * 3000 + '"', "[" * 3000, '{"a":' * 3000, "../../etc/passwd", "\ufeff", "\n"),
)
VALUES: tuple[Any, ...] = (
    *(*NUMBERS, -0.5, 1e308, float("nan"), float("inf"), True, None, [], {}, [[]], [1, 2]),
    *("", "x", "x" * 3000, "\ud800", "../x", {"type": "x"}, {"array": "/x"}, {"map": {}}),
)
TOKEN = re.compile(rb"[-+.\w]+|\"[^\"]*\"|[\[\]{}=,:]")


def damaged_bytes(content: bytes, draw: random.Random) -> bytes:
    """A few flipped, overwritten, inserted, repeated, moved or missing bytes."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        place = draw.randrange(len(data) + 1)
        length = min(draw.choice((1, 2, 4, 8, 16, 64, 512)), len(data) - place)
        other = draw.randrange(len(data) + 1)
        match draw.randrange(8):
            case 0 if place < len(data):
                data[place] ^= 1 << draw.randrange(8)
            case 1:
                data[place : place + length] = draw.randbytes(length)
            case 2:
                width = draw.choice((1, 2, 4, 8))
                number = (draw.choice(NUMBERS) & ((1 << 8 * width) - 1)).to_bytes(width, "little")
                data[place : place + width] = number
            case 3:
                data[place:place] = draw.randbytes(draw.choice((1, 4, 64)))
            case 4:
                del data[place : place + length]
            case 5:
                data[place:place] = data[other : other + length]
            case 6:
                data[place : place + length] = data[other : other + length]
            case _:
                del data[draw.choice((place, len(data) - min(length, len(data)))) :]
    return bytes(data)


def damaged_text(content: bytes, draw: random.Random) -> bytes:
    """Words exchanged for others, for extreme numbers, or for what opens and never closes; or damaged bytes."""
    if draw.random() < 0.4:
        return damaged_bytes(content, draw)
    for _ in range(draw.choice((1, 1, 2, 4))):
        words = list(TOKEN.finditer(content))
        if not words:
            return damaged_bytes(content, draw)
        word = draw.choice(words)
        new = draw.choice((draw.choice(WORDS).encode(), draw.choice(words).group(), b""))
        content = content[: word.start()] + new + content[word.end() :]
    return content


def damaged_value(value: Any, draw: random.Random) -> Any:
    """A copy of JSON's values with one of them changed, however deep."""
    if isinstance(value, dict) and value and draw.random() < 0.95:
        key = draw.choice(list(value))
        changed = {**value, key: damaged_value(value[key], draw)}
        if draw.random() < 0.04:
            del changed[key]
        elif draw.random() < 0.04:
            changed[draw.choice(("x", "", *value))] = draw.choice(VALUES)
        return changed
    if isinstance(value, list) and value and draw.random() < 0.95:
        place = draw.randrange(len(value))
        new = draw.choice(
            ((damaged_value(value[place], draw),), (damaged_value(value[place], draw),), (), (value[place],) * 2)
        )
        return [*value[:place], *new, *value[place + 1 :]]
    if isinstance(value, (int, float)) and draw.random() < 0.5:
        return value + draw.choice((-1, 1, 2**16, -(2**16)))
    return draw.choice(VALUES)


def damaged_json(content: bytes, draw: random.Random) -> bytes:
    if draw.random() < 0.4:
        return damaged_text(content, draw)
    value = json.loads(content)
    for _ in range(draw.choice((1, 1, 2))):
        value = damaged_value(value, draw)
    return json.dumps(value).encode()


def damaged_lines(content: bytes, draw: random.Random) -> bytes:
    """JSON lines with one of them damaged."""
    lines = content.splitlines()
    place = draw.randrange(len(lines))
    return b"\n".join([*lines[:place], damaged_json(lines[place], draw), *lines[place + 1 :]])


def damaged_archive(content: bytes, draw: random.Random) -> bytes:
    """A zip archive with one entry damaged and its checksum right again."""
    if draw.random() < 0.3:
        return damaged_bytes(content, draw)
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(made, "w") as copy:
        entries = archive.namelist()
        pickles = [name for name in entries if name.endswith("data.pkl")]
        chosen = draw.choice(pickles if draw.random() < 0.8 else entries)
        for name in entries:
            data = archive.read(name)
            copy.writestr(name, damaged_bytes(data, draw) if name == chosen else data)
    return made.getvalue()


def damaged_safetensors(content: bytes, draw: random.Random) -> bytes:
    """A safetensors file with its header damaged and the header's length right again."""
    if draw.random() < 0.3:
        return damaged_bytes(content, draw)
    length = int.from_bytes(content[:8], "little")
    header = damaged_json(content[8 : 8 + length], draw)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def damaged_hdf5(content: bytes, draw: random.Random) -> bytes:
    """An HDF5 file in order with one item missing, of another value, type or shape, or a link; or damaged bytes."""
    if draw.random() < 0.5:
        return damaged_bytes(content, draw)
    made = io.BytesIO(content)
    with h5py.File(made, "r+") as file:
        places: list[str] = []
        file.visit(places.append)
        place = draw.choice(places)
        old = file[place]
        value = old[()] if isinstance(old, h5py.Dataset) else None
        del file[place]
        match draw.randrange(7):
            case 0:
                pass
            case 1:
                file[place] = draw.choice(
                    (h5py.SoftLink("/"), h5py.SoftLink(f"/{place}"), h5py.ExternalLink("x.h5", "/"))
                )
            case 2:
                file[place] = file["/"]
            case 3:
                shape = draw.choice(((), (0,), (1 << 40,), (1 << 20, 1 << 20), (3, 3), (0, 5)))
                chunks = True if shape and draw.random() < 0.5 and 0 not in shape else None
                file.create_dataset(place, shape, draw.choice(("f4", "f8", "i8", "u1", "S3")), chunks=chunks)
            case 4 if isinstance(value, np.ndarray) and value.size and value.dtype.kind in "iuf":
                changed = value.copy()
                changed.reshape(-1)[draw.randrange(value.size)] = draw.choice(
                    (0, 1, 127, np.nan if value.dtype.kind == "f" else 2)
                )
                file[place] = changed
            case 5 if isinstance(value, np.ndarray):
                file.create_dataset(place, data=value[: len(value) // 2] if value.ndim else [value])
            case _:
                file[place] = draw.choice(
                    (-1, 0, 1, 2**31, 2**62, 0.5, 1e308, float("nan"), "", "x", "/", "x" * 3000, [1.0], [], ["a", "b"])
                )
    return made.getvalue()


def damaged_container(content: bytes, draw: random.Random) -> bytes:
    """A container of ours with its manifest or an array damaged, and every checksum right again."""
    if draw.random() < 0.2:
        return damaged_bytes(content, draw)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    texts = json.loads(header.pop("__metadata__")["bispik"])
    first = 8 + length
    arrays = {
        name: np.frombuffer(
            content[first:], TYPES[entry["dtype"]], int(np.prod(entry["shape"], dtype=int)), entry["data_offsets"][0]
        ).reshape(entry["shape"])
        for name, entry in header.items()
        if not name.startswith("padding/")
    }
    end = first + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    texts.pop("sha256")
    if draw.random() < 0.7 or not arrays:
        texts["manifest"] = json.dumps(damaged_value(json.loads(texts["manifest"]), draw))
    else:
        name = draw.choice(list(arrays))
        array = arrays[name].copy()
        if array.size:
            flat = array.reshape(-1)
            lowest, highest = (0, 1) if array.dtype == bool else _range(array.dtype)
            for place in draw.choices(range(flat.size), k=draw.choice((1, 3, 20))):
                flat[place] = draw.choice((lowest, highest, 0, 1, -1 if lowest else 0))
        arrays[name] = array if draw.random() < 0.8 else array[: len(array) // 2]
    made = io.BytesIO()
    write_container(made, texts, arrays)
    return made.getvalue() + content[end:]


def _range(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    info: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return info.min, info.max


Damage = Callable[[bytes, random.Random], bytes]
