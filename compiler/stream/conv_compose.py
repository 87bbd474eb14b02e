"""A convolution behind a convolution as one convolution, where that is exact.

With y[p] = sum_i A[i] x[p s1 + i d1 - p1] and z[q] = sum_j B[j] y[q s2 + j d2 - p2] along an axis,

    z[q] = sum_ij A[i] B[j] x[q s1 s2 + (j d2 s1 + i d1) - (p2 s1 + p1)]

wherever y has the place that B asks for. Where it has none, B sees 0: the formula holds there only if A would see
nothing but 0 too. That depends on sizes, and is tried out place by place.
"""

from __future__ import annotations

from math import gcd

import numpy as np
import numpy.typing as npt

from bispik.compiler.stream.network import FloatArray
from bispik.compiler.stream.wiring import Convolution

MAX_PLACES = 1 << 22
"""Places along one axis that are tried out; beyond that a composition counts as not exact."""


def composed_geometry(second: Convolution, first: Convolution) -> Convolution | None:
    """Return the geometry of ``second`` behind ``first``, or None where one convolution cannot say it exactly."""
    if first.target != second.source or not all(_exact(second, first, axis) for axis in (0, 1)):
        return None
    kernel, dilation = zip(*(_taps(second, first, axis) for axis in (0, 1)), strict=True)
    stride = tuple(second.stride[axis] * first.stride[axis] for axis in (0, 1))
    padding = tuple(second.padding[axis] * first.stride[axis] + first.padding[axis] for axis in (0, 1))
    return Convolution(
        source=first.source,
        target=second.target,
        kernel=(kernel[0], kernel[1]),
        stride=(stride[0], stride[1]),
        padding=(padding[0], padding[1]),
        dilation=(dilation[0], dilation[1]),
        groups=gcd(second.groups, first.groups),
    )


def composed_weight(
    geometry: Convolution, second: Convolution, second_weight: FloatArray, first: Convolution, first_weight: FloatArray
) -> FloatArray:
    """Return the weights of the composed convolution."""
    groups = geometry.groups
    outer = _regrouped(second, second_weight, groups)  # (g, o, m, j_y, j_x)
    inner = _regrouped(first, first_weight, groups)  # (g, m, c, i_y, i_x)
    weight = np.zeros((groups, outer.shape[1], inner.shape[2], *geometry.kernel))
    for jy in range(second.kernel[0]):
        for jx in range(second.kernel[1]):
            product = np.einsum("gom,gmcyx->gocyx", outer[:, :, :, jy, jx], inner)
            y, x = (_places(geometry, second, first, axis, tap) for axis, tap in ((0, jy), (1, jx)))
            weight[:, :, :, y[:, None], x] += product
    return weight.reshape(geometry.weight_shape)


def _places(
    geometry: Convolution, second: Convolution, first: Convolution, axis: int, tap: int
) -> npt.NDArray[np.int64]:
    """Return where the first kernel's taps lie in the composed one, for one tap of the second."""
    ahead = np.arange(first.kernel[axis]) * first.dilation[axis]
    return (tap * second.dilation[axis] * first.stride[axis] + ahead) // geometry.dilation[axis]


def _exact(second: Convolution, first: Convolution, axis: int) -> bool:
    size, middle, last = first.source[axis + 1], first.target[axis + 1], second.target[axis + 1]
    if last * second.kernel[axis] * first.kernel[axis] > MAX_PLACES:
        return False
    asked = (
        np.arange(last)[:, None] * second.stride[axis]
        + np.arange(second.kernel[axis]) * second.dilation[axis]
        - second.padding[axis]
    ).ravel()
    nowhere = asked[(asked < 0) | (asked >= middle)]
    seen = nowhere[:, None] * first.stride[axis] + np.arange(first.kernel[axis]) * first.dilation[axis]
    seen -= first.padding[axis]
    return not ((seen >= 0) & (seen < size)).any()


def _taps(second: Convolution, first: Convolution, axis: int) -> tuple[int, int]:
    """Return the length and the dilation of the composed kernel along an axis."""
    outer, inner = second.dilation[axis] * first.stride[axis], first.dilation[axis]
    last = (second.kernel[axis] - 1) * outer + (first.kernel[axis] - 1) * inner
    steps = [step for step, taps in ((outer, second.kernel[axis]), (inner, first.kernel[axis])) if taps > 1]
    dilation = gcd(*steps) if steps else 1
    return last // dilation + 1, dilation


def _regrouped(wiring: Convolution, weight: FloatArray, groups: int) -> FloatArray:
    """Return weights (groups, outputs, inputs, y, x) of fewer groups, with zeros between those that are joined."""
    merged = wiring.groups // groups
    out, fan = wiring.target[0] // wiring.groups, wiring.source[0] // wiring.groups
    result = np.zeros((groups, merged, out, merged, fan, *wiring.kernel))
    for part in range(merged):
        result[:, part, :, part] = weight.reshape(groups, merged, out, fan, *wiring.kernel)[:, part]
    return result.reshape(groups, merged * out, merged * fan, *wiring.kernel)
