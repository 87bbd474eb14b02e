"""Spiking graph to integers, calibrated on text, with a proof that nothing overflows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.compiler.bounds import output_ranges, score_range
from bispik.compiler.calibrate import rounded, row_scales, sample_inputs
from bispik.compiler.fixed_point import MEMBRANE_MAX
from bispik.compiler.float_network import FloatActivity
from bispik.compiler.graph import Attention, Injection, Join, Node, Population, Readout, SpikingGraph
from bispik.compiler.program import (
    IntegerAttention,
    IntegerJoin,
    IntegerNode,
    IntegerPopulation,
    IntegerReadout,
    NeuronProgram,
    QuantizedProgram,
)
from bispik.compiler.quantize_input import quantize_input
from bispik.compiler.quantize_neurons import (
    MAXIMAL_EXPONENT,
    Candidate,
    InputSynapses,
    first_safe,
    synapse_candidates,
)
from bispik.models.errors import BispikError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOptions:
    """What the user chooses."""

    bits: int = 8
    """Bits per synaptic weight, 1 to 8."""
    neuron_program: NeuronProgram = "bispik"
    window: int
    """Tokens that keys and values have room for."""
    head_on_chip: bool = True
    seed: int = 0
    """Picks the calibration's sampled input vectors."""


def quantize(graph: SpikingGraph, calibrated: FloatActivity, options: QuantizeOptions) -> QuantizedProgram:
    """Return the network in integers.

    Every population gets membrane units per unit of the float membrane: one factor a neuron where its weights are
    quantised by row (``bispik``), one a population where Lava's own neuron asks for it (``stock``). Threshold, bias and
    weights share it, so nothing is rescaled at run time. The exponent on the currents is the largest for which no input
    whatever can drive a membrane out of 24 bits.

    Args:
        graph: the network in real numbers.
        calibrated: the network run on ordinary text; weight scales are chosen for what it saw there.
        options: what the user chooses.

    Raises:
        BispikError: if the options do not fit the network, or no exponent keeps a population from overflowing.
    """
    check_options(graph, options)
    return _Quantizer(graph, calibrated, options).program()


def check_options(graph: SpikingGraph, options: QuantizeOptions) -> None:
    """Check what the user chose against the network.

    Raises:
        BispikError: if a choice is impossible for it.
    """
    if not 1 <= options.bits <= 8:
        raise BispikError(f"--bits {options.bits}: weights have 1 to 8 bits")
    if not 1 <= options.window <= graph.max_positions:
        raise BispikError(
            f"--window {options.window}: the network was trained with {graph.max_positions} positions; "
            f"choose 1 to {graph.max_positions}"
        )
    ternary = [node.name for node in graph.of_kind(Population) if node.neurons.spikes == "ternary"]
    if options.neuron_program == "stock" and ternary:
        raise BispikError(
            f"--neurons stock: Lava's own neuron only spikes 0 or 1, but {len(ternary)} populations of this network "
            f"(the first is {ternary[0]}) have ternary spikes; use --neurons bispik"
        )
    soft = [node.name for node in graph.of_kind(Population) if node.neurons.reset == "soft"]
    if options.neuron_program == "stock" and soft:
        raise BispikError(
            f"--neurons stock: Lava's own neuron can only reset to zero, but {len(soft)} populations of this network "
            f"(the first is {soft[0]}) subtract their threshold; use --neurons bispik"
        )


class _Quantizer:
    """Walks the graph once; ``scales`` grows with it."""

    def __init__(self, graph: SpikingGraph, calibrated: FloatActivity, options: QuantizeOptions) -> None:
        self.graph, self.calibrated, self.options = graph, calibrated, options
        self.ranges = output_ranges(graph.nodes, options.window)
        self.scales: dict[str, FloatArray] = {}
        self.injection: Injection = graph.of_kind(Injection)[0]

    def program(self) -> QuantizedProgram:
        nodes = [integer for node in self.graph.nodes for integer in self._node(node)]
        return QuantizedProgram(
            nodes=tuple(nodes),
            steps_per_token=self.graph.steps_per_token,
            window=self.options.window,
            bits=self.options.bits,
            neuron_program=self.options.neuron_program,
            membrane_scale=self.scales,
            hyperparameters=self.graph.hyperparameters,
            tokenizer=self.graph.tokenizer,
        )

    def _node(self, node: Node) -> list[IntegerNode]:
        match node:
            case Injection():
                return []  # made together with the population that it drives: they share a scale
            case Population() if node.sources == (self.injection.name,):
                return self._input(node)
            case Population():
                return [self._population(node)]
            case Join():
                maximum = self.ranges[node.name].magnitude
                return [IntegerJoin(name=node.name, inputs=node.inputs, size=node.size, maximum=maximum)]
            case Attention():
                return [self._attention(node)]
            case Readout():
                return [self._readout(node)]

    def _input(self, node: Population) -> list[IntegerNode]:
        program = self.options.neuron_program
        tables, population, scale = quantize_input(self.injection, node, program, self.options.window)
        self.scales[node.name] = scale
        return [tables, population]

    def _population(self, node: Population) -> IntegerPopulation:
        synapses = tuple(
            InputSynapses(
                source=projection.source,
                weight=None if projection.weight is None else projection.weight.astype(np.float64),
                outputs=self.ranges[projection.source],
                samples=sample_inputs(self.calibrated.outputs[projection.source], self.options.seed),
            )
            for projection in node.inputs
        )
        candidates = synapse_candidates(node.neurons, synapses, self.options.neuron_program, self.options.bits)
        chosen, neurons = first_safe(node.name, node.neurons, candidates, self.graph.steps_per_token)
        self.scales[node.name] = chosen.scale
        return IntegerPopulation(name=node.name, inputs=chosen.projections, neurons=neurons)

    def _attention(self, node: Attention) -> IntegerAttention:
        """Scores are whole numbers; the finest exponent that cannot overflow keeps thresholds exact."""
        scores = score_range(node, self.ranges)
        exponents = {float(1 << exponent): exponent for exponent in range(MAXIMAL_EXPONENT, -1, -1)}
        candidates = (
            Candidate(
                program="bispik",
                projections=(),
                scale=np.full(node.heads, unit),
                low=np.full(node.heads, unit * scores.low),
                high=np.full(node.heads, unit * scores.high),
            )
            for unit in exponents
        )
        chosen, neurons = first_safe(node.name, node.neurons, candidates, self.graph.steps_per_token)
        return IntegerAttention(
            name=node.name,
            query=node.query,
            key=node.key,
            value=node.value,
            heads=node.heads,
            head_dim=node.head_dim,
            exponent=exponents[float(chosen.scale[0])],
            neurons=neurons,
        )

    def _readout(self, node: Readout) -> IntegerReadout:
        """Fold gain and mean subtraction of the final LayerNorm into the head; one scale, so that integers rank."""
        gained = node.weight.astype(np.float64) * node.gamma
        weight = gained - gained.mean(axis=1, keepdims=True)
        counts = sample_inputs(self.calibrated.outputs[node.source].sum(axis=0)[None], self.options.seed)
        scale = row_scales(weight, counts, self.options.bits, per_row=False)
        integers = rounded(weight, scale, self.options.bits)
        maximum = self.ranges[node.source].magnitude
        steps = self.graph.steps_per_token
        reached = int(np.abs(integers.astype(np.int64)).sum(axis=1).max()) * maximum * steps
        if self.options.head_on_chip and reached > MEMBRANE_MAX:
            raise BispikError(
                f"{node.name}: accumulators could reach {reached:,} of {MEMBRANE_MAX:,}; "
                "use fewer --bits or --head host"
            )
        bias = node.scale * (node.weight.astype(np.float64) @ node.beta)
        return IntegerReadout(
            name=node.name,
            source=node.source,
            weight=integers,
            bits=self.options.bits,
            on_chip=self.options.head_on_chip,
            scale=node.scale / (float(scale[0]) * steps),
            epsilon=node.epsilon,
            bias=bias.astype(np.float32),
        )
