"""What Lava would run a graph of Processes as on Loihi 2: its own choice of models, process by process.

`Loihi2HwCfg` prefers models for neurocores, then those for the embedded processors, then Python. It falls back to
Python without a word, so what it chose is looked at here, and whatever would not be on the chip is said.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bispik.backends.lava.runtime import nothing_registered
from bispik.backends.lava.vendor import (
    AbstractNcProcessModel,
    AbstractProcess,
    CLoihiProcessModel,
    Loihi2HwCfg,
    ProcGroupDiGraphs,
)

Runs = Literal["neurocores", "embedded processor", "host", "library", "microcode"]
"""Where a Process runs; or what it lacks: Intel's library, which has a model of Lava's own Processes for the chip, or a
microcode program that nobody has written."""

INTEL_MODULES = (
    "nxcore",
    "lava.magma.core.model.nc.model",
    "lava.magma.core.model.c.model",
    "lava.magma.compiler.subcompilers.nc.ncproc_compiler",
    "lava.proc.embedded_io.spike",
)
"""What Lava or a run on the chip imports of lava-loihi and NxCore: the driver of the boards, the bases of models for
neurocores and embedded processors, their compiler, the adapters between the host and the chip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipProcess:
    """One Process of the graph that the compiler gets, where hierarchical ones are resolved."""

    name: str
    """In Lava."""
    kind: str
    """Its class: ``LIFReset``, ``Dense``, ``Attention``."""
    node: str
    """The node of the program that it belongs to."""
    model: str
    """The class that Lava chose to run it."""
    runs: Runs


def missing_modules() -> tuple[str, ...]:
    """Return the names in INTEL_MODULES that cannot be imported here."""
    return tuple(name for name in INTEL_MODULES if not _can_be_imported(name))


def chip_processes(
    processes: Mapping[str, AbstractProcess], host: Sequence[str], entry: str
) -> tuple[ChipProcess, ...]:
    """Let Lava resolve a graph and choose its models for the chip.

    Hierarchical Processes become what they consist of: a population becomes Lava's `Dense` and its neurons.

    Args:
        processes: by node of the program. They can be compiled no more.
        host: nodes that stand for the host: its input, and what it reads.
        entry: the node that Lava starts from to find the others.
    """
    configuration = Loihi2HwCfg(select_sub_proc_model=True)
    nodes = {id(process): node for node, process in processes.items()}
    with nothing_registered():
        groups = ProcGroupDiGraphs(processes[entry], configuration, {}).get_proc_groups()
    found: list[ChipProcess] = []
    for process in (process for group in groups for process in group):
        node = _node_of(process, nodes)
        model = process.model_class
        found.append(
            ChipProcess(
                name=process.name,
                kind=type(process).__name__,
                node=node,
                model=model.__name__,
                runs="host" if node in host else _runs(process, model),
            )
        )
    return tuple(sorted(found, key=lambda process: process.name))


def _runs(process: AbstractProcess, model: type) -> Runs:
    if issubclass(model, AbstractNcProcessModel):
        return "neurocores"
    if issubclass(model, CLoihiProcessModel):
        return "embedded processor"
    return "library" if type(process).__module__.startswith("lava.proc.") else "microcode"


def _node_of(process: AbstractProcess, nodes: Mapping[int, str]) -> str:
    """Return the node of a Process, of the one that it is part of, or the name in front of ``/synapses 0``."""
    whole: AbstractProcess | None = process
    while whole is not None:
        if id(whole) in nodes:
            return nodes[id(whole)]
        whole = whole.parent_proc
    return process.name.rpartition("/")[0]


def _can_be_imported(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a package on the way to it
        return False
