"""What quantisation-aware training has to know of the quantiser's choices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bispik.compiler.calibrate import largest_integer
from bispik.compiler.fixed_point import DECAY_ONE, MEMBRANE_MAX, STOCK_BIAS_MAX, STOCK_EXPONENT
from bispik.compiler.lift import lift
from bispik.compiler.program import (
    IntegerAttention,
    IntegerNode,
    IntegerPopulation,
    QuantizedProgram,
)
from bispik.compiler.quantize import quantize
from bispik.compiler.quantize_input import TABLE_MAX
from bispik.compiler.quantize_neurons import ONE_TO_ONE_BITS
from bispik.compiler.quantize_options import QuantizeOptions
from bispik.models.bispikclm.checkpoint import Checkpoint
from bispik.models.bispikclm.integer_scales import (
    IntegerLimits,
    IntegerScales,
    PopulationScale,
    RowUnits,
    SharedThreshold,
)


def training_scales(
    checkpoint: Checkpoint, token_ids: npt.NDArray[np.int64], options: QuantizeOptions
) -> IntegerScales:
    """Quantise a network as it is now and return what training keeps until the next look.

    Args:
        checkpoint: the network.
        token_ids: calibration text, (sequences, tokens), at most the window long.
        options: bits, neuron program and window of the program that the network is trained for. Weights are rounded to
            the nearest, as training rounds them.

    Raises:
        BispikError: if the network cannot be compiled, or not with these options.
    """
    return scales_of(quantize(lift(checkpoint), token_ids, replace(options, rounding="nearest")), checkpoint)


def scales_of(program: QuantizedProgram, checkpoint: Checkpoint) -> IntegerScales:
    """Return the choices that were made for a program of this network."""
    neurons = program.of_kind(IntegerPopulation)[0].neurons
    log_scale = checkpoint.tensors.get("readout_log_scale")
    readout = program.readout
    unscaled = readout.scale * program.steps_per_token
    return IntegerScales(
        limits=IntegerLimits(
            weight=largest_integer(program.bits),
            binary_weights=program.bits == 1,
            one_to_one=largest_integer(ONE_TO_ONE_BITS),
            table=TABLE_MAX,
            membrane=MEMBRANE_MAX,
            stock_exponent=STOCK_EXPONENT,
            stock_bias=STOCK_BIAS_MAX,
        ),
        keep=(DECAY_ONE - neurons.decay) / DECAY_ONE,
        populations={
            module_name(node.name): _scale(program, node)
            for node in program.nodes
            if isinstance(node, IntegerPopulation | IntegerAttention)
        },
        readout=(1.0 if log_scale is None else float(np.exp(log_scale.item()))) / unscaled,
    )


def module_name(node: str) -> str:
    """Name of the network's module whose neurons are a node's."""
    if node == "embed":
        return "embedding_spike"
    block, *part = node.split("/")
    name = f"blocks.{int(block.removeprefix('block_'))}"
    match part:
        case ["sum"] | ["output"]:
            return f"{name}.output_spike"
        case ["attn", "attention"]:
            return f"{name}.attention.score_spike"
        case ["attn", own]:
            return f"{name}.attention.{own}_spike"
        case _:
            return f"{name}.ffn.{part[-1]}_spike"


def _scale(program: QuantizedProgram, node: IntegerNode) -> PopulationScale:
    if isinstance(node, IntegerAttention):
        ones = np.ones(node.heads)
        return RowUnits(units=ones, exponent=node.exponent, one_to_one=ones)
    assert isinstance(node, IntegerPopulation)
    if node.neurons.program == "stock":
        return SharedThreshold(threshold=int(node.neurons.threshold[0]) >> STOCK_EXPONENT)
    matrices = [
        projection for projection in node.inputs if projection.weight is not None and projection.weight.ndim == 2
    ]
    exponent = (matrices or node.inputs)[0].exponent
    one_to_one: npt.NDArray[np.float64] = np.ones(node.size)
    for projection in node.inputs:
        if projection.weight is not None and projection.weight.ndim == 1:
            one_to_one = projection.weight.astype(np.float64) * 2.0 ** (projection.exponent - exponent)
    units = program.membrane_scale[node.name] / float(1 << exponent)
    return RowUnits(units=units, exponent=exponent, one_to_one=one_to_one)
