from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bispik.backends.counts import busiest
from bispik.backends.counts.busiest import Busiest


@given(st.integers(0, 1000), st.integers(0, 60), st.integers(1, 5), st.sampled_from([1, 7, 1 << 20]))
def test_the_largest_sum_of_each_group_is_found(seed: int, entries: int, tokens: int, at_once: int) -> None:
    random = np.random.default_rng(seed)
    groups, rows = 4, 6
    group, member = random.integers(0, groups, entries), random.integers(0, 5, entries)
    row, factor = random.integers(0, rows, entries), random.integers(1, 4, entries)
    numbers = random.integers(0, 9, (rows, tokens))
    sums = np.zeros((groups, 5, tokens), np.int64)
    np.add.at(sums, (group, member), factor[:, None] * numbers[row])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(busiest, "AT_ONCE", at_once)
        found = Busiest(group, member, row, factor, groups).of(numbers, numbers.max(axis=1))
    np.testing.assert_array_equal(found, sums.max(axis=1))
