"""Rounding that keeps currents: what one weight's rounding changes, the weights behind it make up for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.calibrate import Rows, nearest_integers
from bispik.compiler.float_network import blocks

FloatArray = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]

COLUMNS_TOGETHER = 512
"""Inputs whose rounding is planned together; what these leave over, later ones make up for by least squares."""

COLUMNS_AT_ONCE = 64
"""Inputs that are rounded between two updates of the others of their group."""

WEIGHTS_AT_ONCE = 1 << 22

DAMPING = 0.05
"""Added to the products of inputs, as a share of their mean square: so few samples do not know more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Group:
    columns: npt.NDArray[np.int64]
    arriving: Single
    """(samples, columns)."""
    inverse: Single
    """Of the inputs' products, damped."""
    upper: Single
    """Upper triangular; its transpose times itself is the inverse."""


class Feedback:
    """Rounds matrices that read the same inputs, so that their currents on samples stay what they were.

    Inputs are rounded one after the other, the strongest first. By how much the rounding of one changes a row's
    currents is made up for by the weights that are yet to be rounded, as far as inputs arrive together (optimal brain
    surgery, as in GPTQ, arXiv:2210.17323). The inputs are those of the integer network: its currents are kept.
    """

    def __init__(self, inputs: Single) -> None:
        """Look at the inputs, (samples, inputs)."""
        energy = (inputs.astype(np.float64) ** 2).sum(axis=0)
        damping = max(float(energy.mean()) * DAMPING, float(np.finfo(np.float32).tiny))
        order = np.argsort(-energy, kind="stable")
        self.groups = [_group(inputs, order[some], damping) for some in blocks(len(order), COLUMNS_TOGETHER)]

    def rounded(self, rows: Rows, scale: FloatArray, bits: int) -> npt.NDArray[np.int8]:
        """Round a matrix, (rows, inputs), times a scale per row, (rows,), to integers of ``bits`` bits."""
        integers = np.empty(rows.shape, np.int8)
        for some in blocks(rows.shape[0], WEIGHTS_AT_ONCE // max(1, rows.shape[1])):
            integers[some] = self._rows(rows.some(some).astype(np.float32), scale[some].astype(np.float32), bits)
        return integers

    def _rows(self, weight: Single, scale: Single, bits: int) -> Single:
        integers = np.empty_like(weight)
        missing: Single = np.zeros((len(self.groups[0].arriving), len(weight)), np.float32)
        for number, group in enumerate(self.groups):
            block = weight[:, group.columns]
            if number:
                more = (missing.T @ group.arriving) @ group.inverse
                missing -= group.arriving @ more.T
                block += more
            found = _in_order(block.copy(), scale, bits, group.upper)
            integers[:, group.columns] = found
            if number + 1 < len(self.groups):
                missing += group.arriving @ (block - found / scale[:, None]).T
        return integers


def _group(inputs: Single, columns: npt.NDArray[np.int64], damping: float) -> _Group:
    arriving = np.ascontiguousarray(inputs[:, columns])
    products: FloatArray = (arriving.T @ arriving).astype(np.float64)
    products[np.diag_indices_from(products)] += damping
    inverse: FloatArray = np.linalg.inv(products).astype(np.float64)
    upper = np.ascontiguousarray(np.linalg.cholesky((inverse + inverse.T) / 2).T)
    return _Group(
        columns=columns, arriving=arriving, inverse=inverse.astype(np.float32), upper=upper.astype(np.float32)
    )


def _in_order(block: Single, scale: Single, bits: int, upper: Single) -> Single:
    """Round columns from left to right; ``block`` is used up."""
    integers = np.empty_like(block)
    for part in blocks(block.shape[1], COLUMNS_AT_ONCE):
        errors = np.empty((len(block), part.stop - part.start), np.float32)
        for column in range(part.start, part.stop):
            integers[:, column] = nearest_integers(block[:, column] * scale, bits)
            error = (block[:, column] - integers[:, column] / scale) / upper[column, column]
            errors[:, column - part.start] = error
            block[:, column + 1 : part.stop] -= error[:, None] * upper[column, column + 1 : part.stop]
        block[:, part.stop :] -= errors @ upper[part, part.stop :]
    return integers
