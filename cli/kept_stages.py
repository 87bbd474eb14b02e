"""What the finished stages of a compile made, kept until all are done: ``--resume`` goes on from there.

Each stage's dataclass is a file in our container, in a hidden folder of the output's. That is named after a digest
of all that the result follows from: the stages that are left make the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import bispik.backends
import bispik.compiler
import bispik.models
from bispik.compiler.artifact import Format, load, save
from bispik.compiler.manifest import Arrays, encode
from bispik.models.errors import BispikError
from bispik.models.files import lock_folder, remove_abandoned

Content = TypeVar("Content")

LOG = logging.getLogger(__name__)

PREFIX = ".resume-"


class KeptStages:
    """Results by the name of their stage; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def has(self, stage: str) -> bool:
        """Tell whether a stage was finished, now or in an earlier run."""
        return self.folder is not None and self._path(stage).is_file()

    def file(self, name: str, otherwise: Path) -> Path:
        """Return where a stage is to write a file of its own: among what is kept, or else in that folder."""
        return (self.folder or otherwise) / name

    def result(self, stage: str, kind: type[Content], make: Callable[[], Content]) -> Content:
        """Return what a stage made in an earlier run, or have it made, and keep it.

        What was just made is read back: an uninterrupted run computes from the same arrays as a resumed one.

        Raises:
            BispikError: as ``make``; if it cannot be kept, or what was kept is damaged.
        """
        if self.folder is None:
            return make()
        form = Format(name=f"bispik-stage-{stage}", version="1", what=f"kept result of the stage {stage}")
        if not self.has(stage):
            save(make(), form, self._path(stage))
        else:
            LOG.info("%s was kept by an earlier run", stage, extra={"facts": {"stage": stage, "kept": True}})
        try:
            return load(kind, form, self._path(stage))
        except BispikError as error:
            raise BispikError(f"{error}; or remove {self.folder}") from error

    def _path(self, stage: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{stage}.bspk"


NOTHING_KEPT = KeptStages(None)


@contextmanager
def kept_stages(out: Path, digest: Callable[[], str] | None) -> Generator[KeptStages]:
    """Yield what is kept in an output folder for a compile; remove it when the block has succeeded.

    Args:
        out: the output folder; what other compiles kept there is removed.
        digest: of all that the result follows from; None to keep nothing.

    Raises:
        BispikError: if it cannot be kept there, or another process is at the same compile.
    """
    if digest is None:
        yield NOTHING_KEPT
        return
    folder = out / f"{PREFIX}{digest()[:16]}"
    try:
        is_new = not out.exists()
        folder.mkdir(parents=True, exist_ok=True)
        for other in set(out.glob(f"{PREFIX}*")) - {folder}:
            remove_abandoned(out, other.name)
        lock = lock_folder(folder)
    except BlockingIOError as error:
        raise BispikError(f"{folder}: another process is at this compile; wait for it, or give another -o") from error
    except OSError as error:
        raise BispikError(f"{folder}: cannot be written: {error.strerror or error}") from error
    try:
        yield KeptStages(folder)
    except BaseException:
        _leave(folder, out, is_new=is_new)
        raise
    else:
        shutil.rmtree(folder)
    finally:
        os.close(lock)


def _leave(folder: Path, out: Path, *, is_new: bool) -> None:
    """Say what is kept; keep no empty folders."""
    stages = sorted(path.stem for path in folder.glob("[!.]*.bspk"))
    if stages:
        print(
            f"{len(stages)} finished stages ({', '.join(stages)}) are kept in {folder}; the same command goes on from "
            "there",
            file=sys.stderr,
        )
        return
    shutil.rmtree(folder, ignore_errors=True)
    if is_new:
        with suppress(OSError):  # it holds something
            out.rmdir()


def compile_digest(files: Sequence[Path], options: Mapping[str, Any]) -> str:
    """Return a digest of the contents of files, of options, and of the code that will work on them.

    Raises:
        BispikError: if a file cannot be read.
    """
    arrays: Arrays = {}
    plain = {name: encode(value, arrays, name) for name, value in options.items()}
    assert not arrays
    digest = hashlib.sha256(json.dumps([plain, np.__version__, sys.version], sort_keys=True).encode())
    for package in (bispik.models, bispik.compiler, bispik.backends):
        root = Path(str(package.__file__)).parent
        for module in sorted(root.rglob("*.py")):
            digest.update(hashlib.sha256(module.read_bytes()).digest())
    for path in files:
        digest.update(_file_digest(path))
    return digest.hexdigest()


def source_files(source: Path) -> list[Path]:
    """Return the files that a checkpoint or network may consist of: it, and what may stand beside it."""
    if source.is_dir() or source.name.endswith(".index.json"):
        folder = source if source.is_dir() else source.parent
        return sorted({*folder.glob("*.safetensors"), *folder.glob("*.json")})
    return [path for path in (source, source.with_suffix(".json")) if path.is_file()]


def _file_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
            return digest.digest()
    except OSError as error:
        raise BispikError(f"{path}: cannot be read: {error.strerror or error}") from error
