"""The chip's side of the Lava backend: what stands between this program and Loihi 2."""

from __future__ import annotations

from collections.abc import Sequence

from bispik.backends.lava.compat import import_lava
from bispik.backends.lava.session import LavaSession
from bispik.backends.lava.stream.session import LavaStreamSession
from bispik.compiler.program import (
    IntegerAttention,
    IntegerJoin,
    IntegerNorm,
    IntegerPopulation,
    IntegerReadout,
    QuantizedProgram,
)
from bispik.compiler.stream.program import StreamProgram
from bispik.models.errors import BispikError


class Loihi2Session(LavaSession):
    """One sequence on Loihi 2: the Processes of `network.build_network`, with Intel's models for the chip."""

    execution_mode = "loihi2: Loihi2HwCfg"

    def __init__(self, program: QuantizedProgram, probes: Sequence[str] = ()) -> None:
        """Refuse: this cannot run yet.

        Raises:
            BispikError: always; the message says what is missing.
        """
        del probes
        raise BispikError(f"loihi2: {', and '.join(_missing(program))}; use --backend lava for the simulator")


class Loihi2StreamSession(LavaStreamSession):
    """One sequence on Loihi 2: the Processes of `stream.network`, with Intel's models for the chip."""

    execution_mode = "loihi2: Loihi2HwCfg"

    def __init__(self, program: StreamProgram, probes: Sequence[str] = ()) -> None:
        """Refuse: this cannot run yet.

        Raises:
            BispikError: always; the message says what is missing.
        """
        del probes
        ours = sum(population.neurons.program == "bispik" for population in program.populations)
        missing = (
            f"there is no neurocore microcode for {ours} populations (of {len(program.populations)}) of bispik neurons"
            if ours
            else f"all {len(program.populations)} populations are Lava's own LIF, but the host's input and output need "
            "the adapters of that library, which are not public and which bispik has not been written against"
        )
        raise BispikError(f"loihi2: {', and '.join([*_library(), missing])}; use --backend lava for the simulator")


def _missing(program: QuantizedProgram) -> list[str]:
    """Say what a run on hardware lacks here."""
    return [*_library(), f"there is no neurocore microcode for {_without_microcode(program)}"]


def _library() -> list[str]:
    try:
        import_lava()
    except ImportError as error:
        raise BispikError(str(error)) from error
    from bispik.backends.lava.vendor import loihi2_is_installed

    if loihi2_is_installed():
        return []
    return ["Intel's lava-loihi is not installed (members of Intel's Neuromorphic Research Community have it)"]


def _without_microcode(program: QuantizedProgram) -> str:
    """List what Lava's public library has no program for on the chip; stock populations are Lava's own LIFReset."""
    populations = program.of_kind(IntegerPopulation)
    counts = {
        f"populations (of {len(populations)}) of bispik neurons": sum(
            p.neurons.program == "bispik" for p in populations
        ),
        "attentions": len(program.of_kind(IntegerAttention)),
        "joins": len(program.of_kind(IntegerJoin)),
        "norms (whose roots and divisions are for an embedded processor)": len(program.of_kind(IntegerNorm)),
        "readouts": sum(readout.on_chip for readout in program.of_kind(IntegerReadout)),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)
