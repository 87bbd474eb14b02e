"""``--emit``: what ``bispik-compile`` writes for other tools, and what such a file does not hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from bispik.backends.onnx.library import import_onnx
from bispik.cli.emit_sanafe import SANAFE
from bispik.compiler.graph import SpikingGraph
from bispik.compiler.nir_unrolled import LEFT_OUT, check_unrolled, write_unrolled
from bispik.compiler.program import QuantizedProgram
from bispik.compiler.unroll import Profile
from bispik.models.errors import BispikError

NETWORK = {"netx": "network.net", "onnx": "network.onnx", "sanafe": SANAFE}
"""Files or folders that a network in NIR becomes, by the name of ``--emit``."""

LANGUAGE_MODEL = {
    "nir-unrolled": ("unrolled.nir",),
    "nir-soft-lowered": ("soft_lowered.nir",),
    "onnx": ("program.onnx", "embedding.onnx", "readout.onnx"),
    "sanafe": (SANAFE,),
}
"""What a language model becomes, by the name of ``--emit``; of ONNX, the last two files are the host's part."""

EMITTED = tuple(dict.fromkeys((*NETWORK.values(), *(name for names in LANGUAGE_MODEL.values() for name in names))))
"""Everything that ``--emit`` may write: what an earlier compile left of it goes when another one is finished."""

PROFILES: Mapping[str, Profile] = {"nir-unrolled": "unrolled", "nir-soft-lowered": "soft_lowered"}


def refuse_emitted(kinds: Sequence[str], known: Collection[str], what: str) -> None:
    """Refuse kinds that a source cannot become.

    Raises:
        BispikError: naming the first.
    """
    for kind in kinds:
        if kind not in known:
            raise BispikError(f"--emit {kind}: {what}, which becomes one of {', '.join(known)}")


def check_language_model(graph: SpikingGraph, window: int, kinds: Sequence[str]) -> None:
    """Refuse, before any work, what the network cannot become.

    Raises:
        BispikError: naming the option, the part of the network, and why.
    """
    for kind in kinds:
        _check(graph, window, kind)


def _check(graph: SpikingGraph, window: int, kind: str) -> None:
    try:
        if kind in PROFILES:
            check_unrolled(graph, window, PROFILES[kind])
        elif kind == "onnx":
            import_onnx()
    except BispikError as error:
        raise BispikError(f"--emit {kind}: {error}") from error


def emit_nir(graph: SpikingGraph, window: int, kinds: Sequence[str], folder: Path) -> None:
    """Write the files of a network in real numbers."""
    for kind in kinds:
        if kind in PROFILES:
            write_unrolled(graph, folder / LANGUAGE_MODEL[kind][0], window, PROFILES[kind])


def emit_onnx(program: QuantizedProgram, kinds: Sequence[str], folder: Path) -> None:
    """Write the files of integers.

    Raises:
        BispikError: if the program is too large for ONNX.
    """
    if "onnx" not in kinds:
        return
    from bispik.backends.onnx.export import export_host_onnx, export_onnx

    export_onnx(program, folder / LANGUAGE_MODEL["onnx"][0])
    export_host_onnx(program, folder)


def statement(graph: SpikingGraph, window: int) -> tuple[str, ...]:
    """Say what a file holds, who imports it, and what is left to the host."""
    tools = f"norse (dt={graph.dt:g}), snnTorch and SpikingJelly (dt={graph.dt:g})"
    held = f"{window} tokens side by side for {graph.steps_per_token} steps, as {tools} import them"
    return (f"{held}; not in it, because NIR has no node for it:", *LEFT_OUT)
