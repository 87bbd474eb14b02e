"""What bits cost the example network: the compiler's quantiser beside naive rounding, on held-out text."""

from __future__ import annotations

import json
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Line, progress
from benchmarks.sizes import Sizes
from bispik.cli.compile import main as compile_main

EXAMPLE = Path(__file__).parent.parent / "examples" / "kjv_shakespeare"
BITS = (8, 6, 4, 3, 2, 1)
GOALS = {8: 1.0, 6: 2.0, 4: 5.0}
"""Per cent of the float network's bits per byte, without training for integers."""


def quantising(_sizes: Sizes, _rng: np.random.Generator) -> list[Line]:
    """Compile the shipped checkpoint at every width, in the compiler's way and with one scale a matrix."""
    return [_line(bits, *(_compiled(bits, rounding) for rounding in ("spikes", "naive"))) for bits in BITS]


def _line(bits: int, ours: dict[str, Any], naive: dict[str, Any]) -> Line:
    found, other = ours["quantization"], naive["quantization"]
    loss, naive_loss = (100 * (q["bpb_integer"] / q["bpb_float"] - 1) for q in (found, other))
    return Line(
        part="quantisation",
        name=f"example network, {bits} bit{'' if bits == 1 else 's'}: more bits per byte than in floating point",
        value=loss,
        unit="%",
        goal=GOALS.get(bits),
        at_most=True,
        note=(
            f"{found['bpb_integer']:.3f} against {found['bpb_float']:.3f}; naive rounding {other['bpb_integer']:.3f}, "
            f"{naive_loss:+.1f}%; {ours['mapping']['neurocores']} neurocores"
        ),
        details={"naive": naive_loss, "spike_agreement": found["spike_agreement"]},
    )


def _compiled(bits: int, rounding: str) -> dict[str, Any]:
    progress(f"example: {bits} bits, rounding {rounding}")
    printed = StringIO()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(printed), redirect_stderr(StringIO()):
        arguments = ["--bits", str(bits), "--rounding", rounding, "--json", "-o", folder]
        status = compile_main([str(EXAMPLE / "checkpoint.pt"), *arguments])
    if status != 0:
        raise RuntimeError(f"the example does not compile: bispik-compile gave {status}")
    values: dict[str, Any] = json.loads(printed.getvalue())
    return values
