"""Which of the engine's kernels run: one for each instruction set, all with the same bits."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from bispik.backends.sim import _kernels
from bispik.models.errors import BispikError

VARIABLE = "BISPIK_KERNELS"
"""Environment variable that names the kernels to use; empty or not set: the fastest that run here and are proven."""

UNPROVEN = frozenset({"amx"})
"""Kernels that have run with an imitation of their instructions only, on no processor: who wants them names them."""

LARGEST_THREADS = 1024
"""More threads than any machine runs at once are a mistake."""

Engine = TypeVar("Engine")


def available_paths() -> list[str]:
    """Names of the kernels that were built and that this processor runs, the fastest last."""
    return [name for name, available in _kernels.built_paths() if available]


def unavailable_paths() -> list[str]:
    """Names of the kernels that were built and that this processor cannot run."""
    return [name for name, available in _kernels.built_paths() if not available]


def chosen_path() -> str:
    """Name of the kernels that run.

    Raises:
        BispikError: if `VARIABLE` names some that were not built or that this processor cannot run.
    """
    wanted, available = os.environ.get(VARIABLE, ""), available_paths()
    if not wanted:
        return [name for name in available if name not in UNPROVEN][-1]
    if wanted not in available:
        built = [name for name, _ in _kernels.built_paths()]
        reason = "this processor cannot run them" if wanted in built else "this build has no such kernels"
        raise BispikError(f"{VARIABLE}={wanted}: {reason}; here are {', '.join(available)}")
    return wanted


def with_threads(make: Callable[[str], Engine], threads: int) -> Engine:
    """Return the engine that ``make`` makes with the kernels that run here.

    Raises:
        BispikError: for kernels that are not here, or more threads than there can be.
    """
    if not 1 <= threads <= LARGEST_THREADS:
        raise BispikError(f"--threads {threads}: give 1 to {LARGEST_THREADS}")
    try:
        return make(chosen_path())
    except RuntimeError as error:
        raise BispikError(f"--threads {threads}: the system gives no more threads: {error}") from error


def mode_on(path: str) -> str:
    """Return in words what runs, by the name of its kernels."""
    return f"sim: C++ kernels ({path}), bit-exact with the reference"
