"""Patterns of synapses against PyTorch's own layers."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.compiler.stream.wiring import Convolution, row_sums
from tests.stream.random_programs import convolutions


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([(1, 1, 6), (2, 5, 4), (4, 3, 7)]).flatmap(convolutions), st.integers(0, 99))
def test_a_convolution_is_that_of_pytorch(wiring: Convolution, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.integers(-9, 10, wiring.weight_shape)
    values = rng.integers(-3, 4, (2, wiring.inputs))
    found = wiring.apply(weight, values)
    padded = np.pad(values.reshape(2, *wiring.source), ((0, 0), (0, 0), (9, 9), (9, 9)))
    slid = torch.nn.functional.conv2d(
        torch.from_numpy(padded[:, :, 9 - wiring.padding[0] :, 9 - wiring.padding[1] :]).double(),
        torch.from_numpy(weight).double(),
        stride=wiring.stride,
        dilation=wiring.dilation,
        groups=wiring.groups,
    )[:, :, : wiring.target[1], : wiring.target[2]]
    np.testing.assert_array_equal(found, slid.reshape(2, -1).numpy())


@settings(max_examples=30, deadline=None)
@given(convolutions((2, 4, 3)), st.integers(0, 99))
def test_row_sums_bound_what_any_input_adds_up_to(wiring: Convolution, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.integers(-9, 10, wiring.weight_shape)
    negative, positive = row_sums(wiring, weight)
    currents = wiring.apply(weight, rng.integers(0, 2, (40, wiring.inputs)))
    assert (currents <= positive).all()
    assert (currents >= negative).all()
