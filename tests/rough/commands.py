"""Commands that are ended on purpose, and what is then in their folder; see `tests.rough.driver`."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a command ended."""

    code: int
    """Negative if a signal ended the process itself."""
    said: str
    operations: int
    """On the file system, that it had begun."""


class Driver:
    """Runs ``bispik-compile`` in processes that are forked from one that has imported everything."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.rough.driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def run(
        self,
        *arguments: str | Path,
        folder: Path,
        signal: str = "SIGKILL",
        at: int = 0,
        file_size: int | None = None,
    ) -> Ending:
        """Run a command; send it the signal as operation ``at`` on what is in ``folder`` begins, if that is not 0."""
        asked = {
            "arguments": list(map(str, arguments)),
            "signal": signal,
            "at": at,
            "folder": str(folder),
            "file_size": file_size,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return Ending(**answer)

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)


def contents(folder: Path) -> Mapping[str, str]:
    """Return digests of a folder's files by name; hidden ones too, and empty for no folder."""
    if not folder.exists():
        return {}
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def visible(folder: Path) -> Mapping[str, str]:
    """Return digests of a folder's files by name, but for hidden files and folders."""
    return {name: digest for name, digest in contents(folder).items() if not name.startswith(".")}
