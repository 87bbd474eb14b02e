"""The numbers of the convolutions between the stages of an unrolled window.

Weights and biases are divided by the neurons' thresholds, so that every threshold is 1: snnTorch and SpikingJelly take
one threshold for a layer. They are float32, which is what the tools compute in.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bispik.compiler.deferred import Deferred, FloatArray, Matrix, numbers
from bispik.compiler.unroll import Signal
from bispik.compiler.unroll_chain import Chain, Stage

CARRY = 2.0
"""Weight of a spike onto the neuron that repeats it."""


def stage_weights(chain: Chain, at: int) -> Deferred:
    """Return the kernel in front of a stage: (its channels, channels of the stage before, 2 * back + 1, 1).

    out[c, i] += kernel[c, e, back - r] * in[e, i - r], for r tokens back.
    """
    stage = chain.stages[at - 1]
    back = reach(stage)
    shape = (chain.size(at), chain.size(at - 1), 2 * back + 1, 1)

    def make() -> FloatArray:
        kernel = np.zeros(shape, np.float32)
        rows, columns = chain.channels[at], chain.channels[at - 1]
        for bundle in stage.bundles:
            for synapses in bundle.inputs:
                place = kernel[rows[bundle.name], :, back - synapses.back, 0]
                for source, sign in _read(synapses.signal, stage.takes):
                    _add(place[:, columns[source]], synapses.weight, sign * synapses.sign / bundle.threshold)
        for name in stage.carried:
            _add(kernel[rows[name], columns[name], back, 0], None, np.full(_length(rows[name]), CARRY))
        return kernel

    return Deferred(shape=shape, dtype=np.dtype(np.float32), make=make)


def stage_bias(chain: Chain, at: int) -> FloatArray:
    """Return the bias of every channel of a stage."""
    bias = np.zeros(chain.size(at), np.float32)
    for bundle in chain.stages[at - 1].bundles:
        bias[chain.channels[at][bundle.name]] = bundle.bias / bundle.threshold
    return bias


def feedback_weights(chain: Chain, at: int) -> Deferred:
    """Return the kernel that a stage's spikes go through on their way back: (channels, channels, 1, 1).

    A spike takes the threshold, 1, off its own neuron, and puts it onto the neuron of the other sign. A neuron that
    repeats spikes forgets what it got, CARRY, before the next step.
    """
    stage = chain.stages[at - 1]
    size = chain.size(at)
    decay = stage.bundles[0].memory.decay

    def make() -> FloatArray:
        kernel = np.zeros((size, size, 1, 1), np.float32)
        rows = chain.channels[at]
        for bundle in stage.bundles:
            _add(kernel[rows[bundle.name], rows[bundle.name], 0, 0], None, np.full(bundle.size, -1.0))
            if bundle.partner:
                _add(kernel[rows[bundle.name], rows[bundle.partner], 0, 0], None, np.ones(bundle.size))
        for name in stage.carried:
            _add(kernel[rows[name], rows[name], 0, 0], None, np.full(_length(rows[name]), -CARRY * decay))
        return kernel

    return Deferred(shape=(size, size, 1, 1), dtype=np.dtype(np.float32), make=make)


def output_weights(chain: Chain) -> Deferred:
    """Return the kernel in front of the output: (width, channels of the last stage, 1, 1)."""
    columns = chain.channels[-1]
    width = chain.size(0)
    shape = (width, chain.size(len(chain.stages)), 1, 1)

    def make() -> FloatArray:
        kernel = np.zeros(shape, np.float32)
        for source, sign in _read(chain.output, chain.takes):
            _add(kernel[:, columns[source], 0, 0], None, np.full(width, sign))
        return kernel

    return Deferred(shape=shape, dtype=np.dtype(np.float32), make=make)


def reach(stage: Stage) -> int:
    """Return how many tokens back a stage looks."""
    return max((synapses.back for bundle in stage.bundles for synapses in bundle.inputs), default=0)


def _read(signal: Signal, takes: tuple[int, ...]) -> list[tuple[str, float]]:
    """Return the bundles of the stage before that a signal is read from; of summed stages one stands for all."""
    lines = signal[-1:] if len(takes) > 1 else signal
    return [pair for line in lines for pair in zip(line.bundles, line.signs, strict=True)]


def _add(place: npt.NDArray[np.float32], weight: Matrix | None, gain: npt.NDArray[np.float64]) -> None:
    """Add gain * weight, row by row, to a part of a kernel."""
    if weight is None or weight.ndim == 1:
        diagonal = np.arange(len(gain))
        place[diagonal, diagonal] += (gain if weight is None else gain * numbers(weight)).astype(np.float32)
    else:
        place += (gain[:, None] * numbers(weight)).astype(np.float32)


def _length(channels: slice) -> int:
    return int(channels.stop - channels.start)
