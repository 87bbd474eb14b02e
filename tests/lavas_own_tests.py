"""Lava's own unit tests, which its wheel brings along, under our shim; and on other Pythons and NumPys.

``python -m tests.lavas_own_tests`` makes an environment of its own, in ``build/lava``, for each pair in VERSIONS whose
Python is installed, and prints a table: a row a pair, a column a file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parent.parent
SECONDS = 1800

FILES = (
    "proc/lif/test_models.py",
    "proc/lif/test_process.py",
    "proc/dense/test_models.py",
    "proc/dense/test_process.py",
    "proc/sparse/test_models.py",
    "proc/sparse/test_process.py",
    "proc/conv/test_process.py",
    "proc/conv/test_utils.py",
    "proc/io/test_source_sink.py",
    "magma/core/process/ports/test_ports.py",
    "magma/core/process/ports/test_virtual_ports_in_process.py",
)
"""Of the Processes that we use: LIF, LIFReset, Dense, Sparse, their delays, Conv, source, sink, and of ports, whose
reshape the shim replaces."""

VERSIONS = (
    ("3.11", "2.3.5"),  # as `make` installs them
    ("3.10", "1.26.4"),
    ("3.10", "2.2.6"),
    ("3.11", "1.26.4"),
    ("3.11", "2.4.2"),
    ("3.12", "1.26.4"),
    ("3.12", "2.3.5"),
    ("3.13", "2.3.5"),
    ("3.13", "2.4.2"),
)
"""Python and NumPy."""

RUN = """
import sys
from bispik.backends.lava.compat import import_lava

import_lava()
import pytest

sys.exit(pytest.main(sys.argv[1:]))
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of Lava's tests."""

    passed: dict[str, int]
    """By file."""
    skipped: list[str]
    """Names of tests that Lava itself leaves out."""
    failed: list[str]
    output: str


def run_lavas_own_tests(python: Path, folder: Path) -> Outcome:
    """Run them in a Python that has Lava and pytest; what they write goes into a folder."""
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    results = folder / "lava.xml"
    # In a folder of its own, where `tests` is Lava's, without our configuration of pytest, which makes warnings errors.
    options = ["-q", "-c", os.devnull, "--rootdir", str(packages), "-p", "no:cacheprovider", f"--junitxml={results}"]
    done = subprocess.run(
        [str(python), "-c", RUN, *options, *(str(packages / "tests" / "lava" / name) for name in FILES)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "typings"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if not results.exists():
        raise RuntimeError(f"Lava's tests did not run:\n{done.stdout}\n{done.stderr}")
    passed: Counter[str] = Counter()
    skipped: list[str] = []
    failed: list[str] = []
    for case in ET.parse(results).iter("testcase"):
        module = case.get("classname", "").replace(".", "/")
        (name,) = [name for name in FILES if name.removesuffix(".py") in module]
        if case.find("skipped") is not None:
            skipped.append(f"{name}: {case.get('name')}")
        elif len(case):
            failed.append(f"{name}: {case.get('name')}")
        else:
            passed[name] += 1
    return Outcome({name: passed[name] for name in FILES}, skipped, failed, done.stdout)


def table(rows: dict[str, Outcome]) -> str:
    """Return Markdown: a row a file, a column an environment."""
    names = list(rows)
    lines = ["| file | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    lines += [f"| `{name}` | " + " | ".join(str(rows[row].passed[name]) for row in names) + " |" for name in FILES]
    total = [f"{sum(o.passed.values())} of {sum(o.passed.values()) + len(o.failed)}" for o in rows.values()]
    return "\n".join([*lines, "| all | " + " | ".join(total) + " |"])


def interpreter(version: str) -> Path | None:
    """Return a Python of this version: on the path, or a version manager's."""
    managed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    found = shutil.which(f"python{version}")
    candidates = [*managed, *([Path(found)] if found else [])]
    return next((path for path in candidates if _runs(path)), None)


def _runs(path: Path) -> bool:
    return subprocess.run([str(path), "-c", ""], capture_output=True, check=False).returncode == 0


def environment(python: Path, numpy: str, folder: Path) -> Path:
    """Make an environment with Lava, this NumPy and pytest; return its Python."""
    inside = folder / "bin" / "python"
    if not (folder / "made").exists():
        subprocess.run([str(python), "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(inside), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        subprocess.run([*pip, f"numpy=={numpy}", "scipy", "networkx", "asteval", "pytest"], check=True)
        subprocess.run([*pip, "--no-deps", "--ignore-requires-python", "lava-nc==0.10.0"], check=True)
        (folder / "made").touch()
    return inside


def main() -> int:
    """Run every pair; returns the exit code."""
    rows: dict[str, Outcome] = {}
    for version, numpy in VERSIONS:
        python = interpreter(version)
        if python is None:
            print(f"Python {version}: not installed", file=sys.stderr)
            continue
        folder = ROOT / "build" / "lava" / f"{version}-{numpy}"
        inside = environment(python, numpy, folder)
        print(f"Python {version}, NumPy {numpy}", file=sys.stderr)
        outcome = rows[f"{version}, NumPy {numpy}"] = run_lavas_own_tests(inside, folder)
        for how, names in (("skipped", outcome.skipped), ("failed", outcome.failed)):
            for name in names:
                print(f"  {how}: {name}", file=sys.stderr)
    print(table(rows))
    return int(any(outcome.failed for outcome in rows.values()))


if __name__ == "__main__":
    raise SystemExit(main())
