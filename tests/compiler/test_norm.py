"""A norm in fixed point: what it computes, what it can reach, and what of it a matrix can add up."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bispik.backends.sim import _kernels
from bispik.compiler.bounds import NORM_LIMIT, OutputRange, current_range, norm_fits_64_bits, norm_range
from bispik.compiler.fixed_point import normalised
from bispik.compiler.graph import Norm
from bispik.compiler.program import IntegerNorm
from bispik.compiler.quantize_norm import OUTPUT_MAX, quantize_norm
from bispik.models.errors import BispikError

Bits = tuple[int, int]

vectors = st.integers(0, 15).flatmap(
    lambda width: st.lists(st.integers(-(1 << width) + 1, (1 << width) - 1), min_size=1, max_size=24)
)
bits = st.tuples(st.integers(0, 8), st.integers(0, 8))
epsilons = st.one_of(st.integers(0, 4), st.integers(0, 10**7))


def norm_of(size: int, bits: Bits, epsilon: int) -> IntegerNorm:
    return IntegerNorm(name="n", source="x", size=size, fraction_bits=bits[0], root_bits=bits[1], epsilon=epsilon)


def engine_output(values: list[int], norm: IntegerNorm) -> npt.NDArray[np.int32]:
    found = np.empty(len(values), np.int32)
    bits = {"fraction_bits": norm.fraction_bits, "root_bits": norm.root_bits}
    _kernels.normalise(np.array(values, np.int32), found, epsilon=norm.epsilon, **bits)
    return found


def output(values: list[int], bits: Bits, epsilon: int) -> npt.NDArray[np.int64]:
    return normalised(np.array(values, np.int64), fraction_bits=bits[0], root_bits=bits[1], epsilon=epsilon)


@settings(max_examples=300)
@given(values=vectors, bits=bits, epsilon=epsilons)
@example(values=[1] + [0] * 16, bits=(8, 0), epsilon=0)  # as far from the mean as a channel can lie
@example(values=[-1, 1], bits=(0, 0), epsilon=0)
def test_outputs_keep_to_their_range_and_length(values: list[int], bits: Bits, epsilon: int) -> None:
    found, possible = output(values, bits, epsilon), norm_range(len(values), bits[0])
    assert possible.length is not None
    assert possible.low <= found.min() <= found.max() <= possible.high
    assert math.sqrt(int((found**2).sum())) <= possible.length


@settings(max_examples=300)
@given(values=vectors, bits=bits, epsilon=epsilons)
def test_outputs_are_a_layer_norm(values: list[int], bits: Bits, epsilon: int) -> None:
    """Half a unit of rounding, and at most one unit more of the root, away from the norm in real numbers."""
    size, total = len(values), sum(values)
    spread = size * sum(value * value for value in values) - total * total + epsilon
    assume(spread > 0)
    for value, found in zip(values, output(values, bits, epsilon).tolist(), strict=True):
        exact = (size * value - total) / math.sqrt(spread) * 2 ** bits[0]
        root_error = abs(exact) / (math.sqrt(spread) * 2 ** bits[1])
        assert abs(found - exact) <= 0.5 + root_error + 1e-9
        assert found * exact >= 0


@given(size=st.integers(1, 8), value=st.integers(-1000, 1000), bits=bits)
def test_equal_channels_are_at_their_mean(size: int, value: int, bits: Bits) -> None:
    assert output([value] * size, bits, 0).tolist() == [0] * size


@settings(max_examples=300)
@given(values=vectors, bits=bits, epsilon=epsilons)
def test_sim_normalises_as_defined(values: list[int], bits: Bits, epsilon: int) -> None:
    found = engine_output(values, norm_of(len(values), bits, epsilon))
    np.testing.assert_array_equal(found, output(values, bits, epsilon))


@settings(max_examples=200)
@given(
    root=st.integers(1, math.isqrt(NORM_LIMIT - 1)),
    offset=st.integers(-2, 2),
    scale=st.integers(0, 8),
    step=st.integers(0, 9),
)
def test_sim_finds_roots_next_to_squares_up_to_the_limit(root: int, offset: int, scale: int, step: int) -> None:
    """The spread is put next to a square by epsilon, where a root in floating point goes wrong first."""
    values = [0, step]
    epsilon = (root * root >> 2 * scale) + offset - step * step
    norm = norm_of(2, (4, scale), epsilon)
    assume(epsilon >= 0 and norm_fits_64_bits(norm, step))
    found = engine_output(values, norm)
    np.testing.assert_array_equal(found, output(values, (4, scale), epsilon))


@settings(max_examples=300)
@given(values=vectors, bits=bits, epsilon=epsilons, data=st.data())
def test_no_input_leaves_the_range_of_a_current_behind_a_norm(
    values: list[int], bits: Bits, epsilon: int, data: st.DataObject
) -> None:
    """Weights of any kind, and those that point where the outputs do: a row cannot add up more than that."""
    found = output(values, bits, epsilon)
    weight = data.draw(st.lists(st.integers(-127, 127), min_size=len(values), max_size=len(values)))
    along = np.rint(127 * found / max(1, np.abs(found).max()))
    rows = np.stack([np.array(weight), along, -along]).astype(np.float64)
    low, high = current_range(rows, norm_range(len(values), bits[0]))
    current = rows @ found
    assert np.all(low <= current)
    assert np.all(current <= high)


def test_the_length_is_a_tighter_bound_than_the_interval_and_is_nearly_reached() -> None:
    size, fraction_bits = 64, 6
    values = [(-1) ** channel * 1000 for channel in range(size)]
    row = np.sign([values]).astype(np.float64) * 127
    possible = norm_range(size, fraction_bits)
    _, high = current_range(row, possible)
    _, interval = current_range(row, OutputRange(possible.low, possible.high))
    current = float((row @ output(values, (fraction_bits, 8), 0))[0])
    assert current <= high[0] < 1.02 * current
    assert high[0] < interval[0] / 7


@settings(max_examples=200)
@given(size=st.integers(1, 4096), magnitude=st.integers(0, OUTPUT_MAX), exponent=st.integers(0, 10))
def test_chosen_norms_fit_64_bits_for_every_input(size: int, magnitude: int, exponent: int) -> None:
    node, source = Norm(name="n", source="x", size=size, epsilon=1e-5), OutputRange(-magnitude, magnitude)
    chosen = quantize_norm(node, source, exponent, [np.ones((1, size))], 8, gain=4.0)
    worst = size * size * magnitude * magnitude + chosen.epsilon
    assert worst << 2 * chosen.root_bits < NORM_LIMIT
    assert 2 * size * magnitude << chosen.fraction_bits + chosen.root_bits + 1 < NORM_LIMIT


@pytest.mark.parametrize("size", [16_000, 16_384, 70_000, 1 << 20])
def test_outputs_of_wide_norms_fit_16_bits(size: int) -> None:
    node, reader = Norm(name="n", source="x", size=size, epsilon=1e-5), np.eye(1, size)
    chosen = quantize_norm(node, OutputRange(0, 3), 0, [reader], 8, gain=1.0)
    assert norm_range(size, chosen.fraction_bits).magnitude <= OUTPUT_MAX
    assert chosen.fraction_bits >= 4


def test_inputs_too_large_for_64_bits_are_refused() -> None:
    node = Norm(name="n", source="x", size=1 << 17, epsilon=1e-5)
    with pytest.raises(BispikError, match=r"n: 131072 inputs of up to 32,767 cannot be normalised in 64 bits"):
        quantize_norm(node, OutputRange(-32_767, 32_767), 10, [], 8, gain=1.0)


def test_epsilon_is_worth_the_same_in_every_unit() -> None:
    """Epsilon follows the unit of the source: the norm of a stream in units of 2^-10 is that of the real stream."""
    node = Norm(name="n", source="x", size=8, epsilon=1e-2)
    real = np.array([0.05, -0.1, 0.02, 0.15, 0.0, -0.03, 0.07, 0.01])
    chosen = quantize_norm(node, OutputRange(-1 << 10, 1 << 10), 10, [], 8, gain=1.0)
    found = normalised(
        np.rint(real * 1024).astype(np.int64),
        fraction_bits=chosen.fraction_bits,
        root_bits=chosen.root_bits,
        epsilon=chosen.epsilon,
    )
    expected = (real - real.mean()) / np.sqrt(real.var() + node.epsilon)
    np.testing.assert_allclose(found / 2.0**chosen.fraction_bits, expected, atol=2**-6)
