"""Projections and neurons of a stream program as Lava's own processes.

Lava's CPU models check no range and wrap silently, so whatever would not come out exactly is refused here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.arithmetic import IntArray
from bispik.backends.lava.stock import ACTIVATION_BITS, DELAY_MAX, stock_bias
from bispik.backends.lava.stream.layout import Layout, lava_can
from bispik.backends.lava.vendor import Conv, DelayDense, DelaySparse, Dense, SignMode, Sparse, csr_matrix
from bispik.compiler.bounds import OutputRange
from bispik.compiler.fixed_point import DECAY_ONE, STOCK_EXPONENT, STOCK_THRESHOLD_MAX
from bispik.compiler.stream.program import IntegerStreamNeurons, IntegerStreamProjection
from bispik.compiler.stream.wiring import Convolution, OneToOne, row_sums
from bispik.compiler.stream.wiring import Dense as DenseWiring
from bispik.compiler.stream.wiring import Sparse as SparseWiring
from bispik.models.errors import BispikError

Synapses: TypeAlias = Dense | Sparse | Conv

CONV_BITS = 24
"""Lava's `Conv` sends 24-bit signed integers, `Dense` and `Sparse` 32-bit ones; larger ones would wrap."""

BISPIK = "compile with --neurons bispik"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LifParameters:
    """Constants of Lava's ``LIF``."""

    du: int
    dv: int
    vth: int
    bias_mant: npt.NDArray[np.int32]
    """(n,), 13 bits signed."""
    bias_exp: npt.NDArray[np.int32]
    """(n,), 0 to 7."""


def lif_parameters(name: str, neurons: IntegerStreamNeurons) -> LifParameters:
    """Write neurons for ``LIF``; those that send their membrane get a threshold that theirs must not reach.

    Raises:
        BispikError: if they do not fit.
    """
    if neurons.reset == "soft" or (neurons.reset == "none" and neurons.output == "spikes"):
        raise BispikError(f"{name}: Lava's LIF resets to 0, these neurons have reset '{neurons.reset}'; {BISPIK}")
    for values, what in (
        (neurons.current_decay, "current decay"),
        (neurons.decay, "decay"),
        (neurons.threshold, "threshold"),
    ):
        if (values != values[0]).any():
            raise BispikError(f"{name}: Lava's LIF has one {what} a population, these neurons have many; {BISPIK}")
    current_decay, decay = int(neurons.current_decay[0]), int(neurons.decay[0])
    if not 1 <= current_decay <= DECAY_ONE:
        raise BispikError(f"{name}: Lava's LIF has current decays from 1 to {DECAY_ONE}, not {current_decay}")
    if not 0 <= decay < DECAY_ONE:
        raise BispikError(
            f"{name}: a membrane without memory (decay {decay}); Lava's LIF keeps at least 1/{DECAY_ONE} of it "
            f"(decay {DECAY_ONE - 1}); {BISPIK}"
        )
    vth, rest = divmod(int(neurons.threshold[0]), 1 << STOCK_EXPONENT)
    if neurons.output == "membrane":
        vth, rest = STOCK_THRESHOLD_MAX, 0
    if rest or not 0 <= vth <= STOCK_THRESHOLD_MAX:
        raise BispikError(
            f"{name}: threshold {neurons.threshold[0]}; Lava's LIF has multiples of {1 << STOCK_EXPONENT} "
            f"from 0 to {STOCK_THRESHOLD_MAX << STOCK_EXPONENT:,}; {BISPIK}"
        )
    mantissa, exponent = stock_bias(name, neurons.bias)
    return LifParameters(du=current_decay - 1, dv=decay, vth=vth, bias_mant=mantissa, bias_exp=exponent)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Connection:
    """One projection, and between what it stands."""

    population: str
    index: int
    projection: IntegerStreamProjection
    wait: int
    source: Layout
    target: Layout
    sent: OutputRange
    """What the source can send."""

    @property
    def name(self) -> str:
        """Of its process."""
        return f"{self.population}/synapses {self.index}"

    @property
    def message_bits(self) -> int:
        """Return Lava's number: 0 for inputs that spike 0 or 1, else the bits of a graded or signed input."""
        return 0 if self.sent == OutputRange(0, 1) else self.sent.magnitude.bit_length() + self.sent.signed

    @property
    def reach(self) -> int:
        """The largest activation that it can cause, in the units of Lava's neurons."""
        negative, positive = row_sums(self.projection.wiring, self.projection.weight.astype(np.int64))
        largest = int((positive - negative).max(initial=0)) * self.sent.magnitude
        return largest << max(0, self.projection.exponent - STOCK_EXPONENT)


def synapses(connection: Connection) -> Synapses:
    """Return the process that sends (weight applied to what arrives) << (exponent - 6), one step later, or more.

    It is a `Conv` where that can do it, a `Dense` where every source reaches every neuron, else a `Sparse`. Lava drops
    the lowest bit of signed weights of the latter two: they are doubled, and the exponent takes that back.

    Raises:
        BispikError: if the projection's exponent, delay or sums do not fit.
    """
    projection, wiring, wait = connection.projection, connection.projection.wiring, connection.wait
    name, source = connection.population, projection.source
    shift = projection.exponent - STOCK_EXPONENT
    if shift < 0:
        raise BispikError(
            f"{name}: exponent {projection.exponent} from {source} is below the {STOCK_EXPONENT} that Lava's "
            f"neurons shift by; {BISPIK}"
        )
    if wait > DELAY_MAX:
        raise BispikError(
            f"{name}: messages from {source} must wait {wait} steps; Lava's synapses delay by {DELAY_MAX}"
        )
    convolution = _lavas_convolution(connection)
    bits = CONV_BITS if convolution else ACTIVATION_BITS - 1  # one for the doubled weights
    if connection.reach >= 1 << (bits - 1):
        raise BispikError(
            f"{name}: currents from {source} could reach {connection.reach:,} of {(1 << (bits - 1)) - 1:,} "
            f"({bits} bits in Lava's synapses)"
        )
    if convolution:
        return _conv(connection, convolution)
    if isinstance(wiring, DenseWiring) or not projection.weight.any():
        return _dense(connection, shift)
    return _sparse(connection, shift)


def _lavas_convolution(connection: Connection) -> Convolution | None:
    """Return the wiring if it is a convolution that a `Conv` can do where its neurons lie."""
    wiring = connection.projection.wiring
    if not isinstance(wiring, Convolution) or not lava_can(connection.projection, connection.wait):
        return None
    in_order = (connection.source.shape, connection.target.shape) == (wiring.source[::-1], wiring.target[::-1])
    return wiring if in_order else None


def _conv(connection: Connection, wiring: Convolution) -> Conv:
    """Return a `Conv`, which turns its kernel around, and has (x, y) where we have (y, x)."""
    kernel = connection.projection.weight.astype(np.int32)[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)
    return Conv(
        weight=np.ascontiguousarray(kernel),
        input_shape=wiring.source[::-1],
        padding=wiring.padding[::-1],
        stride=wiring.stride[::-1],
        dilation=wiring.dilation[::-1],
        groups=wiring.groups,
        num_message_bits=connection.message_bits,
        name=connection.name,
    )


def _dense(connection: Connection, shift: int) -> Dense:
    wiring, weight = connection.projection.wiring, connection.projection.weight.astype(np.int32)
    if not isinstance(wiring, DenseWiring):
        weight = np.zeros((wiring.outputs, wiring.inputs), np.int32)
    ordered = np.ascontiguousarray(2 * weight[connection.target.order][:, connection.source.order])
    delays = {"delays": connection.wait} if connection.wait else {}
    return (DelayDense if connection.wait else Dense)(
        weights=ordered,
        weight_exp=shift - 1,
        num_message_bits=connection.message_bits,
        sign_mode=SignMode.MIXED,
        name=connection.name,
        **delays,
    )


def _sparse(connection: Connection, shift: int) -> Sparse:
    rows, sources, weights = triples(connection.projection)
    places_of_rows, places_of_sources = np.argsort(connection.target.order), np.argsort(connection.source.order)
    wiring = connection.projection.wiring
    shape = (wiring.outputs, wiring.inputs)
    places = (places_of_rows[rows], places_of_sources[sources])
    matrix = csr_matrix((2 * weights.astype(np.int32), places), shape=shape)
    delays = (
        {"delays": csr_matrix((np.full(len(rows), connection.wait), places), shape=shape)} if connection.wait else {}
    )
    return (DelaySparse if connection.wait else Sparse)(
        weights=matrix,
        weight_exp=shift - 1,
        num_message_bits=connection.message_bits,
        sign_mode=SignMode.MIXED,
        name=connection.name,
        **delays,
    )


def triples(projection: IntegerStreamProjection) -> tuple[IntArray, IntArray, npt.NDArray[np.int8]]:
    """Return neuron, source neuron and weight of each synapse that is not 0."""
    wiring, weight = projection.wiring, projection.weight
    match wiring:
        case DenseWiring():
            rows, sources = np.nonzero(weight)
            return rows, sources, weight[rows, sources]
        case OneToOne():
            (rows,) = np.nonzero(weight)
            return rows, rows, weight[rows]
        case SparseWiring():
            (stored,) = np.nonzero(weight)
            return wiring.rows[stored], wiring.sources[stored].astype(np.int64), weight[stored]
        case Convolution():
            return _convolution_triples(wiring, weight)


def _convolution_triples(
    wiring: Convolution, weight: npt.NDArray[np.int8]
) -> tuple[IntArray, IntArray, npt.NDArray[np.int8]]:
    channels, height, width = wiring.source
    output, y, x = (axis.ravel() for axis in np.indices(wiring.target))
    first = output // (wiring.target[0] // wiring.groups) * (channels // wiring.groups)
    found: list[tuple[IntArray, IntArray, npt.NDArray[np.int8]]] = []
    for c, i, j in np.ndindex(weight.shape[1:]):
        from_y = y * wiring.stride[0] + i * wiring.dilation[0] - wiring.padding[0]
        from_x = x * wiring.stride[1] + j * wiring.dilation[1] - wiring.padding[1]
        weights = weight[output, c, i, j]
        (rows,) = np.nonzero((weights != 0) & (from_y >= 0) & (from_y < height) & (from_x >= 0) & (from_x < width))
        sources = ((first + c) * height + from_y) * width + from_x
        found.append((rows, sources[rows], weights[rows]))
    rows, sources, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, sources, weights
