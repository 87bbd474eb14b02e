"""What the compiler's quantiser decides and training keeps until it asks again: units, exponents, widths.

Everything else of a program in integers (weights, thresholds, biases, tables) follows from these and the parameters
of the moment; `integer_forward` computes it in every forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.models.bispikclm.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerLimits:
    """Widths of the integer arithmetic; the compiler is the one place where they are written."""

    weight: int
    """Largest magnitude of a matrix weight; ``binary_weights`` have no zero."""
    binary_weights: bool
    one_to_one: int
    """Largest magnitude of a one-to-one weight."""
    table: int
    """Largest magnitude in an embedding table."""
    membrane: int
    """Membranes, thresholds and biases saturate here."""
    stock_exponent: int
    """Shift of every current and threshold of a ``stock`` neuron."""
    stock_bias: int
    """Largest mantissa of a ``stock`` neuron's bias."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowUnits:
    """A population of the ``bispik`` neuron program, or attention scores: units are chosen by neuron and stay."""

    units: npt.NDArray[np.float64]
    """(n,): integer units of the current, before the exponent, per unit of current; 1 where inputs are counts."""
    exponent: int
    """Shift on all currents: the membrane has units * 2^exponent per unit of current."""
    one_to_one: npt.NDArray[np.float64]
    """(n,): weight of the one-to-one input, if there is one, in units of the current before the exponent.

    Times 2^exponent it is an integer; beside a projection it has an exponent of its own, which may be the lower one.
    """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SharedThreshold:
    """A population of the ``stock`` neuron program: one integer threshold stays; units follow from it.

    A neuron whose threshold is theta in units of the current has (threshold + 1/2) / theta integer units per unit.
    """

    threshold: int
    """In units of 2^stock_exponent."""


PopulationScale: TypeAlias = RowUnits | SharedThreshold


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerScales:
    """What stays fixed between two looks at the quantiser."""

    limits: IntegerLimits
    keep: float
    """Share of a membrane that is kept each step, a multiple of 1/4096; the product is truncated toward zero."""
    populations: Mapping[str, PopulationScale]
    """By module name of the network's ``SpikingNeurons``, for example ``blocks.0.attention.query_spike``."""
    readout: float
    """Integer units per unit of the folded head's weight."""


ScaleSource: TypeAlias = Callable[[Checkpoint, npt.NDArray[np.int64]], IntegerScales]
"""Asks the quantiser about a network as it is now, on calibration text (sequences, tokens)."""
