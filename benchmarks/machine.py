"""The machine: what it is, how fast it reads memory, and which cores are used."""

from __future__ import annotations

import os
import platform
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Turn, timed
from bispik.backends.sim.kernel_path import available_paths, chosen_path

CPU_FIELDS = ("model name", "cpu family", "model", "flags")
LIBRARIES = ("bispik", "numpy", "torch", "transformers")


@contextmanager
def pinned(*cores: int) -> Generator[None]:
    """Run on some of the cores that the process may use, by their place among them."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(allowed)[core] for core in cores})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def read_memory(size: int) -> Turn:
    """Return a turn that reads memory with one thread, in seconds per byte: a sum over a large float32 array.

    PyTorch's sum has several accumulators in vector registers; it reads as fast as a hand-written loop with prefetches.
    """
    numbers = torch.zeros(size // 4)
    return timed(numbers.sum, size)


def describe(bandwidth: float, read_bytes: int) -> dict[str, Any]:
    """The machine, the kernels and the versions, for the results file."""
    cpu = _cpu()
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": {name: cpu.get(name, "") for name in CPU_FIELDS if name != "flags"},
        "cpu_flags": sorted(cpu.get("flags", "").split()),
        "cores": len(os.sched_getaffinity(0)),
        "caches": _caches(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "memory_read_bytes_per_second": round(bandwidth),
        "memory_read_method": f"torch.sum over {read_bytes >> 20} MB of float32, one thread, the fastest of all rounds",
        "kernels": chosen_path(),
        "kernels_available": available_paths(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def _cpu() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; only what `platform` knows where there is none."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {"model name": platform.processor() or platform.machine()}
    pairs = (line.partition(":") for line in first.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    return {"model name": platform.machine(), "flags": fields.get("Features", ""), **fields}


def _caches() -> dict[str, str]:
    """Size of each cache of the first core, such as ``{"L1 Data": "48K"}``."""
    found: dict[str, str] = {}
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((cache / name).read_text().strip() for name in ("level", "type", "size"))
        found[f"L{level} {kind}"] = size
    return found
