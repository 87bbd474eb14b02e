"""``--emit``: what ``bispik-compile`` writes for other tools, and what such a file does not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bispik.compiler.graph import SpikingGraph
from bispik.compiler.nir_unrolled import LEFT_OUT, check_unrolled, write_unrolled
from bispik.compiler.unroll import Profile
from bispik.models.errors import BispikError

NETWORK = {"netx": "network.net", "onnx": "network.onnx"}
"""Files that a network in NIR becomes, by the name of ``--emit``."""

LANGUAGE_MODEL = {"nir-unrolled": "unrolled.nir", "nir-soft-lowered": "soft_lowered.nir"}
"""Files that a language model becomes, by the name of ``--emit``."""

PROFILES: Mapping[str, Profile] = {"nir-unrolled": "unrolled", "nir-soft-lowered": "soft_lowered"}


def refuse_emitted(kinds: Sequence[str], known: Mapping[str, str], what: str) -> None:
    """Refuse kinds that a source cannot become.

    Raises:
        BispikError: naming the first.
    """
    for kind in kinds:
        if kind not in known:
            raise BispikError(f"--emit {kind}: {what}, which becomes {' or '.join(known)}")


def check_language_model(graph: SpikingGraph, window: int, kinds: Sequence[str]) -> None:
    """Refuse, before any work, what the network cannot become.

    Raises:
        BispikError: naming the option, the part of the network, and why.
    """
    for kind in kinds:
        _check(graph, window, kind)


def _check(graph: SpikingGraph, window: int, kind: str) -> None:
    try:
        check_unrolled(graph, window, PROFILES[kind])
    except BispikError as error:
        raise BispikError(f"--emit {kind}: {error}") from error


def emit_language_model(graph: SpikingGraph, window: int, kinds: Sequence[str], folder: Path) -> None:
    """Write the files."""
    for kind in kinds:
        write_unrolled(graph, folder / LANGUAGE_MODEL[kind], window, PROFILES[kind])


def statement(graph: SpikingGraph, window: int) -> tuple[str, ...]:
    """Say what a file holds, who imports it, and what is left to the host."""
    tools = f"norse (dt={graph.dt:g}), snnTorch and SpikingJelly (dt={graph.dt:g})"
    held = f"{window} tokens side by side for {graph.steps_per_token} steps, as {tools} import them"
    return (f"{held}; not in it, because NIR has no node for it:", *LEFT_OUT)
