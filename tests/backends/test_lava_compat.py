"""Lava imports and runs on this Python; in a new Python each time, because an import happens only once."""

import subprocess
import sys

import pytest

# One synapse a neuron, du at its maximum (no memory in the current), no leak: v grows by 64 and by 32 a step,
# from the second step on (a Dense delays by one), and fires above 100. The reshapes go through a ReshapePort.
NETWORK = """
import dataclasses, multiprocessing, sys

if sys.argv[1:]:
    multiprocessing.set_start_method(sys.argv[1])


def outside():
    method = multiprocessing.get_start_method(allow_none=True)
    return method, dataclasses.dataclass, multiprocessing.Process, multiprocessing.set_start_method


before = outside()

from bispik.backends.lava.compat import import_lava

import_lava()
import_lava()
assert outside() == before

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import Dense
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.process import LIF

source = Source(data=np.ones((2, 5), dtype=int))
dense = Dense(weights=np.diag([64, 32]))
lif = LIF(shape=(2,), du=4095, dv=0, vth=100)
sink = Sink(shape=(2,), buffer=5)
source.s_out.connect(dense.s_in)
dense.a_out.reshape((2, 1)).reshape((2,)).connect(lif.a_in)
lif.s_out.connect(sink.a_in)
try:
    lif.run(condition=RunSteps(num_steps=5), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    print(sink.data.get().astype(int).tolist())
finally:
    lif.stop()
"""


def run_python(code: str, *args: str) -> str:
    """Standard output of a new Python in which every warning is an error."""
    command = [sys.executable, "-W", "error", "-c", code, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("start_method", [[], ["fork"], ["spawn"]], ids=["unset", "fork", "spawn"])
def test_dense_and_lif_run_five_steps(start_method: list[str]) -> None:
    assert run_python(NETWORK, *start_method).strip() == "[[0, 0, 1, 0, 1], [0, 0, 0, 0, 1]]"


def test_missing_lava_says_how_to_install_it() -> None:
    code = """
import sys
sys.modules["lava"] = None  # what Python puts there to forbid an import
from bispik.backends.lava.compat import import_lava
try:
    import_lava()
except ImportError as error:
    print(error)
"""
    assert "pip install --no-deps --ignore-requires-python lava-nc==0.10.0" in run_python(code)
