"""The door to the chip: the Processes of the Lava backend under `Loihi2HwCfg`, and what stands between them and it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bispik.backends.lava.compat import import_lava
from bispik.backends.lava.session import LavaSession
from bispik.backends.lava.stream.session import LavaStreamSession, tape_of
from bispik.backends.lava.tape import Tape
from bispik.compiler.program import (
    IntegerAttention,
    IntegerJoin,
    IntegerNode,
    IntegerNorm,
    IntegerPopulation,
    IntegerReadout,
    QuantizedProgram,
)
from bispik.compiler.stream.program import StreamProgram
from bispik.compiler.stream.schedule import schedule
from bispik.models.errors import BispikError

if TYPE_CHECKING:
    from bispik.backends.lava.chip import ChipProcess

POPULATION, NORM = "population", "norm"
"""What a message calls them."""

NAMES_SHOWN = 4
"""Of nodes that are listed."""


class Loihi2Session(LavaSession):
    """One sequence on Loihi 2: the Processes of `network.build_network`, with Intel's models for the chip."""

    execution_mode = "loihi2: Loihi2HwCfg"

    def __init__(self, program: QuantizedProgram, probes: Sequence[str] = ()) -> None:
        """Build the graph, let Lava choose models, and refuse: no program of this kind can run there yet.

        Raises:
            BispikError: always; the message says what is missing.
        """
        del probes
        raise BispikError(refusal(chip_plan(program), kinds_of(program)))


class Loihi2StreamSession(LavaStreamSession):
    """One sequence on Loihi 2: the Processes of `stream.network`, with Intel's models for the chip."""

    execution_mode = "loihi2: Loihi2HwCfg"

    def __init__(self, program: StreamProgram, probes: Sequence[str] = ()) -> None:
        """Build the graph, let Lava choose models, and refuse: the host's side of the chip is not there.

        Raises:
            BispikError: always; the message says what is missing.
        """
        del probes
        kinds = {population.name: POPULATION for population in program.populations}
        raise BispikError(refusal(stream_chip_plan(program), kinds))


def chip_plan(program: QuantizedProgram) -> tuple[ChipProcess, ...]:
    """Return what a language model's Processes run as on the chip: the graph is that of `LavaSession`.

    Raises:
        BispikError: if Lava is not installed, or the program is not fit for it.
    """
    _require_lava()
    from bispik.backends.lava.chip import chip_processes
    from bispik.backends.lava.network import build_network
    from bispik.backends.lava.runtime import nothing_registered

    with nothing_registered():
        processes = build_network(program, Tape(program, ()))
    injection, readout = program.injection.name, program.readout
    host = [injection] if readout.on_chip else [injection, readout.name]
    return chip_processes(processes, host, injection)


def stream_chip_plan(program: StreamProgram) -> tuple[ChipProcess, ...]:
    """Return what a stream program's Processes run as on the chip: the graph is that of `LavaStreamSession`.

    Raises:
        BispikError: if Lava is not installed, or the program is not fit for it.
    """
    _require_lava()
    from bispik.backends.lava.chip import chip_processes
    from bispik.backends.lava.runtime import nothing_registered
    from bispik.backends.lava.stream.network import build_stream_network

    entry = program.input.name
    with nothing_registered():
        timing = schedule(entry, program.populations)
        graph = build_stream_network(program, timing, tape_of(program))
    return chip_processes(graph.processes, [entry], entry)


def kinds_of(program: QuantizedProgram) -> dict[str, str]:
    """Return what a message calls each node."""
    return {node.name: _kind(node) for node in program.nodes}


def refusal(plan: Sequence[ChipProcess], kinds: dict[str, str]) -> str:
    """Say which populations run as they are, which nodes need microcode, and what is not installed.

    Args:
        plan: the graph's Processes.
        kinds: what each node of the program is.
    """
    from bispik.backends.lava.chip import missing_modules

    lacking = {process.node for process in plan if process.runs == "microcode"}
    by_kind = {kind: [name for name in kinds if kinds[name] == kind] for kind in dict.fromkeys(kinds.values())}
    without = {kind: [name for name in names if name in lacking] for kind, names in by_kind.items()}
    populations = by_kind.get(POPULATION, [])
    stock = [name for name in populations if name not in lacking]
    says = [f"{len(stock)} of {len(populations)} populations run as stock, in Lava's own processes{_names(stock)}"]
    microcode = [_counted(kind, names) for kind, names in without.items() if names and kind != NORM]
    if microcode:
        says.append(f"there is no neurocore microcode program for {', '.join(microcode)}")
    if without.get(NORM):
        says.append(f"nor a program for the embedded processors for {_counted(NORM, without[NORM])}")
    missing, models = missing_modules(), sorted({process.kind for process in plan if process.runs == "library"})
    if missing:
        says.append(
            "Intel's lava-loihi is not installed (members of Intel's Neuromorphic Research Community have it): "
            f"no module {', '.join(missing)}"
        )
    if models:
        says.append(f"no model for the chip of Lava's {', '.join(models)}")
    if not (lacking or missing or models):
        says.append(
            "every Process has a model for the chip, but the host's input and output need lava-loihi's adapters, "
            "which are not public and which bispik has not been written against"
        )
    return f"loihi2: {'; '.join(says)}. Use --backend lava for the simulator"


def _counted(kind: str, nodes: Sequence[str]) -> str:
    return f"{len(nodes)} {kind}{'s' if len(nodes) > 1 else ''}{_names(nodes)}"


def _names(nodes: Sequence[str]) -> str:
    if not nodes:
        return ""
    more = f" and {len(nodes) - NAMES_SHOWN} more" if len(nodes) > NAMES_SHOWN else ""
    return f" ({', '.join(nodes[:NAMES_SHOWN])}{more})"


def _kind(node: IntegerNode) -> str:
    match node:
        case IntegerPopulation():
            return POPULATION
        case IntegerAttention():
            return "attention"
        case IntegerJoin():
            return "join"
        case IntegerNorm():
            return NORM
        case IntegerReadout():
            return "readout"
        case _:
            return "input"


def _require_lava() -> None:
    try:
        import_lava()
    except ImportError as error:
        raise BispikError(str(error)) from error
