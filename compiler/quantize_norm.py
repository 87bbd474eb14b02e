"""A norm inside a block in fixed point, and the real residual stream that it may read."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from bispik.compiler.bounds import OutputRange, injected_range, norm_fits_64_bits, norm_range
from bispik.compiler.calibrate import largest_integer
from bispik.compiler.deferred import FloatArray as Floats
from bispik.compiler.deferred import numbers
from bispik.compiler.fixed_point import MEMBRANE_MAX
from bispik.compiler.graph import Injection, Join, Norm
from bispik.compiler.program import IntegerInjection, IntegerJoin, IntegerNorm
from bispik.compiler.quantize_input import integer_gains, table_of
from bispik.models.errors import BispikError

FloatArray = npt.NDArray[np.float64]

STREAM_EXPONENTS = range(10, 3, -1)
"""A stream of real numbers has a unit of 2^-10, or the next coarser one that its readers can take, down to 2^-4."""

OUTPUT_MAX = (1 << 15) - 1
"""Largest number that a norm or the stream may carry: tables and recorded outputs have 16 bits."""

LARGEST_FRACTION = 8
"""Bits behind the point of a norm's output that any reader can use: 8-bit weights are no finer."""

LARGEST_ROOT = 8
"""More bits of the root than this change an output by less than its own rounding does."""


def quantize_stream(
    injection: Injection, join: Join, exponent: int, window: int
) -> tuple[IntegerInjection, IntegerJoin]:
    """Return the host's tables in units of 2^-exponent, and the join that passes their sum on.

    Raises:
        BispikError: if a number does not fit 16 bits in this unit, or the step gains are no multiples of the first.
    """
    unit, step_gain = integer_gains(injection)
    factor = unit * (1 << exponent)
    tokens, positions = numbers(injection.token_table), numbers(injection.position_table)[:window]
    tables = IntegerInjection(
        name=injection.name,
        token_table=table_of(tokens, factor, 1.0),
        position_table=table_of(positions, factor, 1.0),
        step_gain=step_gain,
    )
    reached = injected_range(tables).magnitude
    largest = sum(_largest(table) for table in (tokens, positions)) * abs(factor) * max(np.abs(step_gain))
    check_stream(join.name, max(reached, largest), exponent)  # `reached` is cut off where the tables end
    stream = IntegerJoin(name=join.name, inputs=join.inputs, exponents=(0,), size=join.size, maximum=reached)
    return tables, stream


def _largest(values: Floats) -> float:
    return float(max(values.max(initial=0), -values.min(initial=0)))


def check_stream(name: str, reached: float, exponent: int) -> None:
    """Check that a stream of real numbers in units of 2^-exponent fits the 16 bits in which runs are recorded.

    Raises:
        BispikError: if it does not; a coarser unit may do.
    """
    if reached > OUTPUT_MAX:
        raise BispikError(
            f"{name}: the residual stream reaches {reached / (1 << exponent):.4g}, which leaves 16 bits in units of "
            f"2^-{exponent}; such a network needs a smaller input_scale"
        )


def quantize_norm(
    node: Norm, source: OutputRange, exponent: int, readers: Iterable[FloatArray], bits: int, gain: float
) -> IntegerNorm:
    """Return the norm with as many bits as its readers and 64-bit arithmetic have room for.

    Args:
        node: the norm in real numbers.
        source: outputs of its source in integers.
        exponent: their unit is 2^-exponent.
        readers: weights of the matrices that read the norm, (neurons, size) each.
        bits: of those weights once they are integers.
        gain: the most that the steps of a token multiply a constant current by.

    Raises:
        BispikError: if 64 bits do not suffice for inputs as large as the source's.
    """
    epsilon = round(node.epsilon * (node.size * 2.0**exponent) ** 2)
    fraction_bits = _fraction_bits(node.size, readers, bits, gain)
    for root_bits in range(LARGEST_ROOT, -1, -1):
        norm = IntegerNorm(
            name=node.name,
            source=node.source,
            size=node.size,
            fraction_bits=fraction_bits,
            root_bits=root_bits,
            epsilon=epsilon,
        )
        if norm_fits_64_bits(norm, source.magnitude):
            return norm
    raise BispikError(
        f"{node.name}: {node.size} inputs of up to {source.magnitude:,} cannot be normalised in 64 bits; "
        "such a network needs a smaller input_scale"
    )


def _fraction_bits(size: int, readers: Iterable[FloatArray], bits: int, gain: float) -> int:
    """Return as many bits as leave outputs 16 bits, and the readers' membranes half their range at an exponent of 0.

    A row of integers can add up no more than its length times the norm's, sqrt(n) * 2^fraction_bits.
    """
    longest = 1.0
    for weight in readers:
        peak = np.abs(weight).max(axis=1)
        length = np.sqrt((weight**2).sum(axis=1))
        longest = max(longest, float((length / np.where(peak > 0, peak, 1)).max(initial=0)) * largest_integer(bits))
    room = MEMBRANE_MAX / 2 / (gain * longest * np.sqrt(size))
    bits = int(np.clip(np.floor(np.log2(max(room, 1.0))), 0, LARGEST_FRACTION))
    while bits > 0 and norm_range(size, bits).magnitude > OUTPUT_MAX:
        bits -= 1
    return bits
