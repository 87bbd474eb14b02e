"""What a file does not say must be said, and must fit the tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bispik.compiler.stream.nir_read import read_nir_stream
from bispik.models.errors import BispikError
from tests.stream.nir_files import entry, exit_, lif, nir, write

DT = 1e-3
N3 = np.ones(3)


def refused(tmp_path: Path, message: str, node: Any = None, metadata: Any = None, **options: Any) -> None:
    node = lif(3) if node is None else node
    nodes = {"input": entry(3), "n": node, "output": exit_(3)}
    path = write(tmp_path, nodes, "input n output", metadata=metadata)
    arguments: dict[str, Any] = {"convention": None, "dt": None} | options
    with pytest.raises(BispikError, match=message):
        read_nir_stream(path, **arguments)


def test_without_a_time_step_the_known_tools_are_listed(tmp_path: Path) -> None:
    refused(tmp_path, r"--convention.*--dt.*norse: dt 0.001 s.*snntorch: dt 0.0001 s, euler, and --reset hard or soft")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"convention": "brian"}, r"--convention brian: no such tool is known; there are norse, snntorch"),
        ({"convention": "snntorch"}, r"snntorch's files do not say what a spike does to the membrane; say it: --reset"),
        ({"convention": "lava", "reset": "soft"}, r"--reset soft: lava has none; it has hard"),
        ({"convention": "sinabs", "dt": 1e-3}, r"sinabs counts time constants in steps; leave --dt out"),
        ({"dt": -1.0}, r"--dt -1.0: expected seconds per time step, above 0"),
        ({"dt": 1e-3, "metadata": {"dt": 2e-3}}, r"its metadata say dt = 0.002 s, but --dt is 0.001"),
        ({"convention": "norse"}, r"n: tau is 0.004, which norse would mean as 4 s, .*give --dt 0.001 without"),
        ({"convention": "norse", "node": lif(3, r=2.0)}, r"n: r is 2 to 2, but norse knows only r = 1"),
        ({"convention": "snntorch", "reset": "soft", "node": nir.IF(N3, N3)}, r"n: snntorch writes no IF"),
        ({"convention": "lava", "node": nir.IF(2 * N3, N3)}, r"n: r is 2 to 2, but lava knows only r = 1"),
        ({"dt": DT, "reset": "soft", "node": lif(3, v_reset=0.1)}, r"n: v_reset is 0.1, but with a soft reset nothing"),
    ],
)
def test_what_is_said_must_fit_the_tool(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    refused(tmp_path, message, **options)
