"""The door to the chip: the simulator's graph, Lava's own choice of models for it, and words for what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bispik.backends.lava.chip import missing_modules
from bispik.backends.lava.hardware import Loihi2Session, chip_plan
from bispik.backends.lava.network import build_network, run_configuration
from bispik.backends.lava.tape import Tape
from bispik.backends.lava.vendor import AbstractProcess, Loihi2HwCfg, ProcGroupDiGraphs
from bispik.compiler.program import IntegerPopulation, QuantizedProgram
from bispik.models.errors import BispikError
from tests.networks import random_program

STOCK: dict[str, Any] = {"neuron_program": "stock", "reset": "hard"}


def network(program: QuantizedProgram) -> dict[str, AbstractProcess]:
    return dict(build_network(program, Tape(program, ())))


def leaves(program: QuantizedProgram, configuration: Any) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Kind of each Process that a configuration leads to, and where it sends to."""
    groups = ProcGroupDiGraphs(network(program)[program.injection.name], configuration, {}).get_proc_groups()
    return {process.name: (type(process).__name__, targets(process)) for group in groups for process in group}


def targets(process: Any) -> tuple[str, ...]:
    """Names of the Processes that a resolved Process sends to."""
    return tuple(sorted(port.process.name for out in process.out_ports for port in out.get_dst_ports()))


@pytest.mark.parametrize("options", [STOCK, {}, {"spikes": "ternary", "steps": 2}], ids=["stock", "soft", "ternary"])
def test_the_graph_is_the_simulators(options: dict[str, Any]) -> None:
    program = random_program(7, layers=1, **options)
    simulated = leaves(program, run_configuration(True))
    assert leaves(program, Loihi2HwCfg(select_sub_proc_model=True)) == simulated
    assert any("block_00/attn/query/synapses 0" in sent_to for _, sent_to in simulated.values())
    plan = chip_plan(program)
    assert {process.name: process.kind for process in plan} == {name: kind for name, (kind, _) in simulated.items()}
    assert {process.node for process in plan} == {node.name for node in program.nodes}


def test_what_each_process_runs_as() -> None:
    program = random_program(7, layers=1, **STOCK)
    runs = {process.name: process.runs for process in chip_plan(program)}
    assert runs["input"] == "host"
    assert runs["embed/neurons"] == runs["block_00/attn/query/synapses 0"] == "library"
    assert runs["block_00/attn/attention"] == runs["block_00/attn/sum"] == runs["head"] == "microcode"
    soft = {process.name: process.runs for process in chip_plan(random_program(7, layers=1))}
    assert soft["embed/neurons"] == "microcode"
    on_host = chip_plan(random_program(7, layers=0, readout_on_chip=False, **STOCK))
    assert {process.node: process.runs for process in on_host} == {"input": "host", "embed": "library", "head": "host"}


def test_the_message_names_stock_populations_microcode_and_library() -> None:
    program = random_program(7, layers=1, **STOCK)
    count = len(program.of_kind(IntegerPopulation))
    with pytest.raises(BispikError) as refused:
        Loihi2Session(program)
    message = str(refused.value)
    assert f"{count} of {count} populations run as stock, in Lava's own processes (embed, " in message
    assert "no neurocore microcode program for 1 attention (block_00/attn/attention), 2 joins (" in message
    assert "lava-loihi is not installed" in message
    assert "no module nxcore, lava.magma.core.model.nc.model" in message
    assert "no model for the chip of Lava's Dense, LIFReset" in message
    assert "--backend lava" in message


def test_bispik_neurons_and_norms_are_named() -> None:
    with pytest.raises(BispikError, match=r"0 of 9 populations .* program for 9 populations \(embed, .* and 5 more\)"):
        Loihi2Session(random_program(7, layers=1))
    with pytest.raises(BispikError, match=r"nor a program for the embedded processors for 2 norms"):
        Loihi2Session(random_program(7, layers=1, norm=True, spikes="ternary", steps=2))


def test_every_module_of_intels_is_missing_here() -> None:
    assert len(missing_modules()) == 5


# --- with a stand-in for Intel's library ------------------------------------------------------------------------------

# lava-loihi adds modules to Lava's packages, which have no __init__.py so that others can. So does the stand-in.
STAND_IN = {
    "nxcore.py": "",
    "lava/utils/loihi2_profiler.py": "",
    "lava/proc/embedded_io/spike.py": "",
    "lava/magma/compiler/subcompilers/nc/ncproc_compiler.py": "",
    "lava/magma/core/model/nc/model.py": """
from lava.magma.core.model.model import AbstractProcessModel

class AbstractNcProcessModel(AbstractProcessModel):
    def run(self): raise NotImplementedError
""",
    "lava/magma/core/model/c/model.py": """
from lava.magma.core.model.model import AbstractProcessModel

class AbstractCProcessModel(AbstractProcessModel):
    def run(self): raise NotImplementedError

class CLoihiProcessModel(AbstractCProcessModel): ...
""",
}
MODEL = """
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.{package}.process import {process}

@implements(proc={process}, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class Nc{process}Model(AbstractNcProcessModel): ...
"""
DENSE = {"lava/proc/dense/ncmodels.py": MODEL.format(package="dense", process="Dense")}
LIF_RESET = {"lava/proc/lif/ncmodels.py": MODEL.format(package="lif", process="LIFReset")}

ASK = """
from bispik.backends.lava.hardware import Loihi2Session, chip_plan
from bispik.models.errors import BispikError
from tests.networks import random_program

layers, on_chip = {layers}, {layers} > 0
program = random_program(7, layers=layers, neuron_program="stock", reset="hard", readout_on_chip=on_chip)
for process in chip_plan(program):
    print(process.name, process.model, process.runs, sep="|")
try:
    Loihi2Session(program)
except BispikError as error:
    print(error)
"""


def with_intels_library(folder: Path, files: dict[str, str], layers: int) -> str:
    """What the door says in a Python that has these files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(layers=layers)],
        env={"PYTHONPATH": f"{folder}:{Path(__file__).parent.parent.parent}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_neurocore_models_are_chosen_where_they_are(tmp_path: Path) -> None:
    said = with_intels_library(tmp_path, {**STAND_IN, **DENSE, **LIF_RESET}, layers=1)
    assert "embed/neurons|NcLIFResetModel|neurocores" in said
    assert "block_00/attn/query/synapses 0|NcDenseModel|neurocores" in said
    assert "block_00/attn/attention|PyAttentionModel|microcode" in said
    assert "9 of 9 populations run as stock" in said
    assert "no neurocore microcode program for 1 attention (block_00/attn/attention), 2 joins (" in said
    assert "not installed" not in said


def test_a_library_without_a_model_is_told(tmp_path: Path) -> None:
    said = with_intels_library(tmp_path, {**STAND_IN, **DENSE}, layers=1)
    assert "no model for the chip of Lava's LIFReset. Use" in said
    assert "not installed" not in said


def test_where_nothing_else_is_missing_the_adapters_are(tmp_path: Path) -> None:
    said = with_intels_library(tmp_path, {**STAND_IN, **DENSE, **LIF_RESET}, layers=0)
    assert "input|PyInjectionModel|host" in said
    assert "1 of 1 populations run as stock, in Lava's own processes (embed); every Process has a model" in said
    assert "adapters" in said
