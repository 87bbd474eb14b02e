"""Stock stream programs as lava-dl's ``.net`` file, which `lava.lib.dl.netx.hdf5.Network` loads.

The format knows layers one behind the other: ``dense``, ``dense_rec`` (with a loop of one step onto itself), ``conv``,
and ``flatten`` from a feature map to neurons, with neurons that Lava's `LIF` runs. What else a program has is refused:
the file never holds another network than the program.

Layer i lies i + 1 steps behind the input. Neurons that send their membrane have the largest threshold there is: the
host reads ``network.layers[-1].neuron.v``. Where neurons have a bias, `Network` must be told to start them when their
first input arrives: ``Network(path, reset_interval=steps + layers + 1, reset_offset=1)``. Input that is not 0 or 1
needs its ``input_message_bits``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.compiler.fixed_point import (
    DECAY_ONE,
    STOCK_BIAS_MAX,
    STOCK_EXPONENT,
    STOCK_THRESHOLD_MAX,
    decayed,
    saturated,
)
from bispik.compiler.hdf5_writing import hdf5_written
from bispik.compiler.stream.lava_conv import lava_convolves
from bispik.compiler.stream.network import Output
from bispik.compiler.stream.program import (
    IntegerStreamNeurons,
    IntegerStreamPopulation,
    IntegerStreamProjection,
    StreamProgram,
)
from bispik.compiler.stream.wiring import Convolution, Dense, Map
from bispik.models.errors import BispikError

IntArray = npt.NDArray[np.int64]

Layer: TypeAlias = dict[str, str | int | npt.NDArray[np.generic]]
"""What stands in one layer's group, by path within it."""

DELAY_MAX = 62
"""Steps; netx clamps longer delays."""

BIAS_EXPONENT = 6
"""netx shifts every bias by it."""

MATRIX_MAX = 1 << 26
"""Weights of a wiring that is written as a matrix."""

BLOCK = 64
"""Inputs whose weights are looked up at a time: memory stays near that of the matrix."""


def write_netx(program: StreamProgram, path: Path) -> None:
    """Write a program; complete, or not at all.

    Raises:
        BispikError: naming what the format has no place for, or if the file cannot be written.
    """
    if program.neuron_program != "stock":
        raise BispikError(f"{path}: netx knows Lava's own neurons alone; compile with --neurons stock")
    layers = _layers(program)
    with hdf5_written(path) as file:
        for index, layer in enumerate(layers):
            for key, value in layer.items():
                if key == "type":
                    file.create_dataset(f"layer/{index}/{key}", (1,), "S10", [str(value).encode("ascii")])
                else:
                    file.create_dataset(f"layer/{index}/{key}", data=value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Source:
    """What a layer reads."""

    name: str
    shape: tuple[int, ...]
    is_map: bool
    """netx holds it as a feature map."""


def _layers(program: StreamProgram) -> list[Layer]:
    """Return the file's layers."""
    first = next((p.wiring for p in program.populations[0].inputs if isinstance(p.wiring, Convolution)), None)
    entry_shape = first.source if first and lava_convolves(first) else program.input.shape
    layers: list[Layer] = [{"type": "input", "shape": np.array(entry_shape)}]
    source = _Source(name=program.input.name, shape=entry_shape, is_map=len(entry_shape) == 3)
    early = next((p.name for i, p in enumerate(program.populations) if _spikes_early(p.neurons, i + 1)), None)
    for population in program.populations:
        forward, loop = _split(population, source.name)
        if early and (forward.delay or loop):
            raise BispikError(
                f"{population.name}: a delay or a loop, while {early} spikes by its bias alone before the first input "
                "has come to it: in netx such a spike would still arrive behind it; use a smaller bias or no delay"
            )
        wiring = forward.wiring
        if (
            isinstance(wiring, Convolution)
            and lava_convolves(wiring)
            and (source.is_map, source.shape) == (True, wiring.source)
            and loop is None
            and not forward.delay
        ):
            layers.append(_conv(population, forward, wiring))
            source = _Source(name=population.name, shape=wiring.target, is_map=True)
            continue
        if source.is_map and len(layers) > 1:
            layers.append({"type": "flatten"})
        layers.append(_dense(population, forward, loop))
        source = _Source(name=population.name, shape=(population.size,), is_map=False)
    if program.output != source.name:
        raise BispikError(f"{program.output}: it is not the last layer, and netx has no other output")
    return layers


def _split(
    population: IntegerStreamPopulation, before: str
) -> tuple[IntegerStreamProjection, IntegerStreamProjection | None]:
    """Return the projection from the layer before, and that onto the population itself.

    Raises:
        BispikError: if there are others, or the population starts from elsewhere than rest.
    """
    name = population.name
    forward = [projection for projection in population.inputs if projection.source == before]
    loops = [projection for projection in population.inputs if projection.source == name]
    others = sorted({projection.source for projection in population.inputs} - {before, name})
    if others:
        raise BispikError(f"{name}: it reads {', '.join(others)}; netx's layers read the one before ({before}) alone")
    if len(forward) != 1 or len(loops) > 1:
        raise BispikError(
            f"{name}: {len(forward)} projections from {before} and {len(loops)} onto itself; netx has one from the "
            "layer before, and at most one loop"
        )
    if population.neurons.initial.any() or population.neurons.initial_current.any():
        raise BispikError(f"{name}: a membrane or a current that does not start at 0; netx's neurons all do")
    loop = loops[0] if loops else None
    if loop and (loop.delay != 1 or forward[0].delay):
        raise BispikError(
            f"{name}: delays of {loop.delay} on the loop and {forward[0].delay} from {before}; netx's loops take 1 "
            "step, and their layers have no delays"
        )
    if forward[0].delay > DELAY_MAX:
        raise BispikError(f"{name}: a delay of {forward[0].delay} steps; netx has up to {DELAY_MAX}")
    return forward[0], loop


def _spikes_early(neurons: IntegerStreamNeurons, steps: int) -> bool:
    """Tell whether neurons spike within so many steps from rest, driven by their bias alone."""
    membrane = np.zeros(neurons.size, np.int64)
    for _ in range(steps if neurons.output == "spikes" else 0):
        membrane = saturated(decayed(membrane, neurons.decay.astype(np.int64)) + neurons.bias)
        if (membrane > neurons.threshold).any():
            return True
    return False


def _conv(population: IntegerStreamPopulation, projection: IntegerStreamProjection, wiring: Convolution) -> Layer:
    weight = _shifted(population.name, projection, projection.weight.astype(np.int64))
    return {
        "type": "conv",
        "shape": np.array(wiring.target),
        "inChannels": wiring.source[0],
        "outChannels": wiring.target[0],
        "kernelSize": np.array(wiring.kernel),
        "stride": np.array(wiring.stride),
        "padding": np.array(wiring.padding),
        "dilation": np.array(wiring.dilation),
        "groups": wiring.groups,
        "weight": weight.astype(np.float32),
        **_neurons(population, wiring.target),
    }


def _dense(
    population: IntegerStreamPopulation, forward: IntegerStreamProjection, loop: IntegerStreamProjection | None
) -> Layer:
    weight = _matrix(population.name, forward)
    recurrent = _matrix(population.name, loop) if loop else None
    both = weight if recurrent is None else np.hstack((weight, recurrent))
    parts = [weight] if recurrent is None else [weight, recurrent]
    if not survives(both, parts):
        raise BispikError(
            f"{population.name}: weights from {int(both.min())} to {int(both.max())}, which netx's own scaling of "
            "weights changes (all of them 0, or none above 0 with a power of two below)"
        )
    layer: Layer = {
        "type": "dense" if recurrent is None else "dense_rec",
        "shape": np.array([population.size]),
        "inFeatures": weight.shape[1],
        "outFeatures": weight.shape[0],
        "weight": weight.astype(np.float32),
    }
    if recurrent is not None:
        layer["weight_rec"] = recurrent.astype(np.float32)
    if forward.delay:
        layer["delay"] = forward.delay
    return layer | dict(_neurons(population, None))


def _matrix(name: str, projection: IntegerStreamProjection) -> IntArray:
    """Return a projection's weights as a matrix, (neurons, inputs)."""
    wiring, weight = projection.wiring, projection.weight.astype(np.int64)
    if wiring.outputs * wiring.inputs > MATRIX_MAX:
        raise BispikError(
            f"{name}: {wiring.outputs:,} x {wiring.inputs:,} weights from {projection.source}; netx holds them as a "
            f"matrix of up to {MATRIX_MAX:,}"
        )
    if not isinstance(wiring, Dense):
        columns = (
            wiring.apply(weight, np.eye(min(BLOCK, wiring.inputs - start), wiring.inputs, start, dtype=np.int64))
            for start in range(0, wiring.inputs, BLOCK)
        )
        weight = np.concatenate(list(columns)).T
    return _shifted(name, projection, weight)


def _shifted(name: str, projection: IntegerStreamProjection, weight: IntArray) -> IntArray:
    """Return the weights in units of 2^6, which are Lava's."""
    shift = projection.exponent - STOCK_EXPONENT
    if not 0 <= shift <= 7 or np.abs(weight << shift).max(initial=0) > 127:
        raise BispikError(
            f"{name}: exponent {projection.exponent} from {projection.source}; netx has {STOCK_EXPONENT}, with weights "
            "of 8 bits"
        )
    return weight << shift


def survives(weight: IntArray, parts: list[IntArray]) -> bool:
    """Tell whether netx and Lava compute with the weights that the file holds.

    netx scales them up to use the synapses' 8 bits, and gives Lava an exponent that takes that back; Lava then clips
    each matrix to the range that its signs suggest.
    """
    low, high = int(weight.min(initial=0)), int(weight.max(initial=0))
    if low == high == 0:
        return False
    mixed = low < 0
    if mixed and int(weight.max()) < 0:
        mixed, scale = False, 256 / -low
    elif mixed:
        scale = min(127 / high if high else math.inf, 128 / -low)
    else:
        scale = 255 / high
    shift = math.floor(math.log2(scale)) + mixed
    if shift < 0:
        return False
    for part in parts:
        scaled = part << shift
        signed = part.min() < 0 < part.max()
        if scaled.max() > 255 or scaled.min() < (-256 if signed else -255):
            return False
    return True


def _neurons(
    population: IntegerStreamPopulation, shape: Map | None
) -> Mapping[str, str | int | npt.NDArray[np.generic]]:
    """Return the neurons' entries; ``shape`` is that of their feature map."""
    name, neurons = population.name, population.neurons
    for values, what in ((neurons.current_decay, "current decay"), (neurons.decay, "decay")):
        if (values != values[0]).any():
            raise BispikError(f"{name}: netx has one {what} a layer, these neurons have many")
    if neurons.decay[0] >= DECAY_ONE:
        raise BispikError(f"{name}: a membrane without memory (decay {neurons.decay[0]}); Lava's LIF has up to 4095")
    entries: dict[str, str | int | npt.NDArray[np.generic]] = {
        "neuron/type": "CUBA",
        "neuron/iDecay": int(neurons.current_decay[0]),
        "neuron/vDecay": int(neurons.decay[0]),
        "neuron/vThMant": _threshold(name, neurons.output, neurons.threshold),
        "neuron/refDelay": 1,
        "neuron/gradedSpike": 0,
    }
    if neurons.bias.any():
        entries["bias"] = _bias(name, neurons.bias, shape)
    return entries


def _threshold(name: str, output: Output, threshold: npt.NDArray[np.int32]) -> int:
    if output == "membrane":
        return STOCK_THRESHOLD_MAX
    mantissa, rest = divmod(int(threshold[0]), 1 << STOCK_EXPONENT)
    if rest or (threshold != threshold[0]).any() or not 0 <= mantissa <= STOCK_THRESHOLD_MAX:
        raise BispikError(
            f"{name}: netx has one threshold a layer, a multiple of {1 << STOCK_EXPONENT} up to "
            f"{STOCK_THRESHOLD_MAX << STOCK_EXPONENT:,}; this is {threshold[0]}"
        )
    return mantissa


def _bias(name: str, bias: npt.NDArray[np.int32], shape: Map | None) -> IntArray:
    mantissa = bias.astype(np.int64) >> BIAS_EXPONENT
    wrong = ((mantissa << BIAS_EXPONENT) != bias) | (np.abs(mantissa) > STOCK_BIAS_MAX)
    if wrong.any():
        raise BispikError(
            f"{name}: a bias of {bias[wrong][0]}; netx has multiples of {1 << BIAS_EXPONENT} up to "
            f"{STOCK_BIAS_MAX << BIAS_EXPONENT:,}"
        )
    # netx has feature maps (x, y, channel).
    return mantissa if shape is None else np.ascontiguousarray(mantissa.reshape(shape).transpose(2, 1, 0))
