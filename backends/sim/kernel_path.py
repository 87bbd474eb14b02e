"""Which of the engine's kernels run: one for each instruction set, all with the same bits."""

from __future__ import annotations

import os

from bispik.backends.sim import _kernels
from bispik.models.errors import BispikError

VARIABLE = "BISPIK_KERNELS"
"""Environment variable that names the kernels to use; empty or not set: the fastest that run here and are proven."""

UNPROVEN = frozenset({"amx"})
"""Kernels that have run with an imitation of their instructions only, on no processor: who wants them names them."""


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
