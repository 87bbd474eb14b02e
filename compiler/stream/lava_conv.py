"""What Lava's `Conv` can do."""

from __future__ import annotations

from bispik.compiler.stream.wiring import Convolution

CONV_NUMBER_MAX = 127
"""Largest stride, padding, dilation and number of groups (8 bits)."""


def lava_convolves(wiring: Convolution) -> bool:
    """Tell whether Lava's `Conv` has this geometry: padding on both sides alike, the output's size rounded down."""
    sizes = tuple(
        (wiring.source[axis + 1] + 2 * wiring.padding[axis] - wiring.dilation[axis] * (wiring.kernel[axis] - 1) - 1)
        // wiring.stride[axis]
        + 1
        for axis in (0, 1)
    )
    numbers = (*wiring.stride, *wiring.padding, *wiring.dilation, wiring.groups)
    return min(sizes) >= 1 and sizes == wiring.target[1:] and max(numbers) <= CONV_NUMBER_MAX
