"""The network of the same shape that does not spike, on the same tokens: the ANN that an SNN has to beat.

One multiply-accumulate (MAC) per weight of the dense projections and the head, and 2 * channels * (position +
1) per attention for scores and mixing. Memory at batch 1: every weight once a token, the two embedding rows,
and the keys and values of all tokens so far; activations are taken to stay in registers, in the ANN's favour.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from bispik.backends.counts import IntArray
from bispik.compiler.program import IntegerAttention, IntegerPopulation, QuantizedProgram
from bispik.energy.constants import Constant, Dimension, only_keys, parse_constant, parse_toml
from bispik.energy.ranges import Range
from bispik.models.errors import BispikError

PRECISIONS = (("FP32", "mac_fp32", 4), ("FP16", "mac_fp16", 2), ("int8", "mac_int8", 1))
"""Name, constant of one MAC, bytes per value."""

_DIMENSIONS: dict[str, Dimension] = {
    "mac_fp32": "energy",
    "mac_fp16": "energy",
    "mac_int8": "energy",
    "byte_moved": "energy",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The ANN in one precision, over the whole run; joules."""

    precision: str
    macs: int
    bytes_moved: int
    arithmetic: Range
    memory: Range

    @property
    def total(self) -> Range:
        """Arithmetic and memory."""
        return self.arithmetic + self.memory


def baseline_constants() -> dict[str, Constant]:
    """Return the constants of `baselines.toml`, by name."""
    where = "baselines.toml"
    sheet = parse_toml(files("bispik.energy").joinpath(where).read_text(encoding="utf-8"), where)
    only_keys(sheet, frozenset({"schema", "constants"}), frozenset({"schema", "constants"}), where)
    if sheet["schema"] != 1:
        raise BispikError(f"{where}: schema is {sheet['schema']!r}; this version reads 1")
    only_keys(sheet["constants"], frozenset(_DIMENSIONS), frozenset(_DIMENSIONS), where)
    return {name: parse_constant(name, sheet["constants"][name], kind, where) for name, kind in _DIMENSIONS.items()}


def ann_baselines(program: QuantizedProgram, positions: IntArray) -> tuple[Baseline, ...]:
    """Return the ANN of the program's shape on tokens at these positions, in every precision."""
    constants = baseline_constants()
    macs, values = ann_work(program, positions)
    return tuple(
        Baseline(
            precision=precision,
            macs=macs,
            bytes_moved=values * size,
            arithmetic=constants[mac].value * macs,
            memory=constants["byte_moved"].value * (values * size),
        )
        for precision, mac, size in PRECISIONS
    )


def ann_work(program: QuantizedProgram, positions: IntArray) -> tuple[int, int]:
    """Return the MACs and the values moved to and from memory for tokens at these positions."""
    tokens, seen = len(positions), int((positions + 1).sum())
    weights = dense_weights(program)
    attended = sum(attention.size for attention in program.of_kind(IntegerAttention))
    embedding_rows = 2 * program.injection.size
    macs = weights * tokens + 2 * attended * seen
    values = (weights + embedding_rows) * tokens + 2 * attended * seen
    return macs, values


def dense_weights(program: QuantizedProgram) -> int:
    """Return the number of weights in dense projections and the head."""
    matrices = [
        projection.weight
        for population in program.of_kind(IntegerPopulation)
        for projection in population.inputs
        if projection.weight is not None and projection.weight.ndim == 2
    ]
    return int(np.sum([matrix.size for matrix in matrices], dtype=np.int64)) + program.readout.weight.size
