"""What commands tell of themselves: ``-v`` on stderr, ``--log-json`` as JSON lines, ``--debug`` as a bundle.

Whoever has something to tell asks for ``logging.getLogger("bispik...")``; facts go into ``extra={"facts": {...}}``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import os
import platform
import sys
import time
import traceback
import zipfile
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bispik.models.errors import BispikError
from bispik.models.files import written_whole

LOG = logging.getLogger("bispik")

RECORDS_MAX = 10_000
"""Records of a bundle; of more, the last."""

PRIVATE = ("prompt",)
"""Options whose values are the user's own words: a bundle has only their length."""

VARIABLES = ("BISPIK_KERNELS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED")
"""Of the environment, what may change what bispik does; nothing else of it is in a bundle."""


def add_logging(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command."""
    group = parser.add_argument_group("what is told of the command itself")
    group.add_argument("-v", "--verbose", action="store_true", help="say on stderr what is done, and how long it takes")
    group.add_argument("--log-json", type=Path, metavar="FILE", help="write that as JSON lines")
    group.add_argument(
        "--debug",
        type=Path,
        metavar="FILE.zip",
        help="write a bundle for a bug report: versions, options, log and error; no weights and no prompts",
    )


class Memory(logging.Handler):
    """Keeps the last records."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=RECORDS_MAX)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.lines.append(json_line(record))


class Lines(logging.Formatter):
    """JSON, one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return json_line(record)


def json_line(record: logging.LogRecord) -> str:
    """Return a record as JSON: time (UTC), level, logger, message and what it adds under ``facts``."""
    values = {
        "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    facts: Mapping[str, Any] = getattr(record, "facts", {})
    return json.dumps({**values, **({"facts": facts} if facts else {})}, default=str)


@contextmanager
def told(program: str, options: argparse.Namespace) -> Generator[None]:
    """Tell of the command in the block as the options ask for; a bundle is written however it ends.

    Raises:
        BispikError: if a file of log or bundle cannot be written.
    """
    asked = options.verbose or options.log_json or options.debug
    if not asked:
        yield
        return
    with ExitStack() as stack:
        if options.verbose:
            shown = logging.StreamHandler(sys.stderr)
            shown.setFormatter(logging.Formatter(f"{program}: %(message)s"))
            stack.enter_context(_handling(shown))
        if options.log_json is not None:
            stack.enter_context(_handling(_file_handler(options.log_json)))
        memory = Memory()
        stack.enter_context(_handling(memory))
        started, error = time.perf_counter(), ""
        facts = {"program": program, "version": importlib.metadata.version("bispik"), "options": public(options)}
        LOG.info("begin", extra={"facts": facts})
        try:
            yield
        except BaseException as fault:
            error = "" if isinstance(fault, SystemExit) else traceback.format_exc()
            LOG.error("%s: %s", type(fault).__name__, fault)
            raise
        finally:
            LOG.info("end", extra={"facts": {"seconds": time.perf_counter() - started}})
            if options.debug is not None:
                write_bundle(options.debug, facts, tuple(memory.lines), error)


def public(options: argparse.Namespace) -> dict[str, Any]:
    """Return options and their values, but for what is the user's own words."""
    values = {name: value for name, value in sorted(vars(options).items()) if value is not None}
    return {name: _length(value) if name in PRIVATE else _plain(value) for name, value in values.items()}


def _length(value: str | list[str]) -> str:
    texts = [value] if isinstance(value, str) else value
    return ", ".join(f"{len(text)} characters" for text in texts)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str, list, tuple)) else str(value)


def write_bundle(path: Path, facts: Mapping[str, Any], lines: tuple[str, ...], error: str) -> None:
    """Write ``command.json``, ``environment.json``, ``log.jsonl`` and ``error.txt`` into a zip archive.

    Raises:
        BispikError: if it cannot be written.
    """
    with written_whole(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("command.json", json.dumps(facts, indent=1, default=str))
        bundle.writestr("environment.json", json.dumps(environment(), indent=1))
        bundle.writestr("log.jsonl", "\n".join(lines) + "\n")
        bundle.writestr("error.txt", error)
    sys.stderr.write(f"wrote {path}: versions, options, log and error, for a bug report; no weights, no prompts\n")


def environment() -> dict[str, Any]:
    """Return what a program's behaviour may depend on: machine, Python, versions of all packages, some variables."""
    packages = {found.metadata["Name"]: found.version for found in importlib.metadata.distributions()}
    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "processors": os.cpu_count(),
        "python": sys.version,
        "packages": dict(sorted(packages.items())),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def _file_handler(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, "w", encoding="utf-8")
    except OSError as error:
        raise BispikError(f"{path}: cannot be written: {error.strerror or error}") from error
    handler.setFormatter(Lines())
    return handler


@contextmanager
def _handling(handler: logging.Handler) -> Generator[None]:
    level = LOG.level
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        LOG.setLevel(level)
        handler.close()
