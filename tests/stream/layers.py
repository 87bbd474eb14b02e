"""Stream programs of one population, by hand."""

from __future__ import annotations

import numpy as np

from bispik.compiler.program import NeuronProgram
from bispik.compiler.stream.network import Output
from bispik.compiler.stream.program import (
    IntegerStreamInput,
    IntegerStreamNeurons,
    IntegerStreamPopulation,
    IntegerStreamProjection,
    StreamProgram,
)
from bispik.compiler.stream.wiring import Convolution, Sparse, Wiring


def neurons(size: int, *, program: NeuronProgram = "bispik", output: Output = "spikes") -> IntegerStreamNeurons:
    zero = np.zeros(size, np.int32)
    return IntegerStreamNeurons(
        program=program,
        reset="hard" if output == "spikes" else "none",
        output=output,
        current_decay=zero + 4096,
        decay=zero + 100,
        threshold=zero + 64,
        subtract=zero,
        bias=zero,
        initial=zero,
        initial_current=zero,
    )


def one_layer(
    wiring: Wiring,
    *,
    high: int = 1,
    delay: int = 0,
    bits: int = 8,
    program: NeuronProgram = "bispik",
    output: Output = "spikes",
) -> StreamProgram:
    """A program of one population, whose weights are all 1."""
    projection = IntegerStreamProjection(
        source="input",
        wiring=wiring,
        weight=np.ones(wiring.weight_shape, np.int8),
        exponent=6,
        bits=bits,
        delay=delay,
    )
    layer = neurons(wiring.outputs, program=program, output=output)
    population = IntegerStreamPopulation(name="p", shape=(wiring.outputs,), inputs=(projection,), neurons=layer)
    return StreamProgram(
        input=IntegerStreamInput(name="input", shape=(wiring.inputs,), size=wiring.inputs, low=0, high=high, unit=1.0),
        populations=(population,),
        output="p",
        dt=1e-3,
        discretisation="euler",
        origin="a test",
        bits=bits,
        neuron_program=program,
        membrane_scale={"p": np.ones(wiring.outputs)},
    )


CONVOLUTION = Convolution(
    source=(2, 8, 8), target=(4, 8, 8), kernel=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1
)


def row(outputs: int, inputs: int, each: int) -> Sparse:
    """Neurons that read ``each`` neighbouring sources."""
    sources = np.concatenate([np.sort((np.arange(each) + place) % inputs) for place in range(outputs)])
    return Sparse(
        inputs=inputs,
        outputs=outputs,
        starts=np.arange(outputs + 1, dtype=np.int64) * each,
        sources=sources.astype(np.int32),
    )
