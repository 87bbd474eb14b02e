"""Spiking graph to integers, calibrated on text, with a proof that nothing overflows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.compiler.bounds import OutputRange, join_range, output_range
from bispik.compiler.calibrate import Rows, rounded_rows, row_scales
from bispik.compiler.calibration import Calibration
from bispik.compiler.deferred import numbers
from bispik.compiler.fixed_point import MEMBRANE_MAX
from bispik.compiler.float_network import Progress
from bispik.compiler.graph import Attention, Injection, Join, Node, Norm, Population, Projection, Readout, SpikingGraph
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNode,
    IntegerNorm,
    IntegerPopulation,
    IntegerProjection,
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
from bispik.compiler.quantize_norm import STREAM_EXPONENTS, check_stream, quantize_norm, quantize_stream
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
    """Picks the calibration's sampled input vectors; see `calibration.calibrate`."""


Keep: TypeAlias = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""Takes an array and returns the same numbers, which it may have put elsewhere than into memory."""


def quantize(
    graph: SpikingGraph,
    calibrated: Calibration,
    options: QuantizeOptions,
    *,
    keep: Keep = lambda array: array,
    progress: Progress = lambda _done, _of: None,
) -> QuantizedProgram:
    """Return the network in integers.

    Every population gets membrane units per unit of the float membrane: one factor a neuron where its weights are
    quantised by row (``bispik``), one a population where Lava's own neuron asks for it (``stock``). Threshold, bias and
    weights share it, so nothing is rescaled at run time. The exponent on the currents is the largest for which no input
    whatever can drive a membrane out of 24 bits.

    Args:
        graph: the network in real numbers.
        calibrated: the network's activity on ordinary text; weight scales are chosen for what it saw there.
        options: what the user chooses.
        keep: receives matrices and tables as they are made, one node at a time.
        progress: called with (nodes done, nodes in all).

    Raises:
        BispikError: if the options do not fit the network, or no exponent keeps a population from overflowing.
    """
    check_options(graph, options)
    if not any(isinstance(node, Join) and graph.of_kind(Injection)[0].name in node.inputs for node in graph.nodes):
        return _Quantizer(graph, calibrated, options, 0, keep, progress).program()
    # The readers of a real stream find out whether its unit suits them; the finest that suits all is taken.
    *finer, coarsest = STREAM_EXPONENTS
    for exponent in finer:
        with suppress(BispikError):
            return _Quantizer(graph, calibrated, options, exponent, keep, progress).program()
    return _Quantizer(graph, calibrated, options, coarsest, keep, progress).program()


def check_options(graph: SpikingGraph, options: QuantizeOptions) -> None:
    """Check what the user chose against the network.

    Raises:
        BispikError: if a choice is impossible for it.
    """
    neurons = {node.name: node.neurons for node in graph.of_kind(Population)}
    check_choices(
        options,
        max_positions=graph.max_positions,
        ternary=[name for name, found in neurons.items() if found.spikes == "ternary"],
        soft=[name for name, found in neurons.items() if found.reset == "soft"],
    )


def check_choices(options: QuantizeOptions, *, max_positions: int, ternary: Sequence[str], soft: Sequence[str]) -> None:
    """Check what the user chose against what has to be known of a network.

    Args:
        options: the choices.
        max_positions: tokens that the network has positions for.
        ternary: names of the populations with ternary spikes.
        soft: names of the populations that subtract their threshold.

    Raises:
        BispikError: if a choice is impossible for it.
    """
    if not 1 <= options.bits <= 8:
        raise BispikError(f"--bits {options.bits}: weights have 1 to 8 bits")
    if not 1 <= options.window <= max_positions:
        raise BispikError(
            f"--window {options.window}: the network was trained with {max_positions} positions; "
            f"choose 1 to {max_positions}"
        )
    if options.neuron_program == "stock" and ternary:
        raise BispikError(
            f"--neurons stock: Lava's own neuron only spikes 0 or 1, but {len(ternary)} populations of this network "
            f"(the first is {ternary[0]}) have ternary spikes; use --neurons bispik"
        )
    if options.neuron_program == "stock" and soft:
        raise BispikError(
            f"--neurons stock: Lava's own neuron can only reset to zero, but {len(soft)} populations of this network "
            f"(the first is {soft[0]}) subtract their threshold; use --neurons bispik"
        )


class _Quantizer:
    """Walks the graph once; ``scales``, ``ranges`` and ``exponents`` grow with it."""

    def __init__(
        self,
        graph: SpikingGraph,
        calibrated: Calibration,
        options: QuantizeOptions,
        stream_exponent: int,
        keep: Keep,
        progress: Progress,
    ) -> None:
        self.graph, self.calibrated, self.options = graph, calibrated, options
        self.stream_exponent = stream_exponent
        self.keep, self.progress = keep, progress
        self.scales: dict[str, FloatArray] = {}
        self.ranges: dict[str, OutputRange] = {}
        self.exponents: dict[str, int] = {}
        """By node: its integers are its outputs in units of 2^-exponent."""
        self.injection: Injection = graph.of_kind(Injection)[0]

    def program(self) -> QuantizedProgram:
        nodes: list[IntegerNode] = []
        for done, node in enumerate(self.graph.nodes):
            self.progress(done, len(self.graph.nodes))
            for integer in map(self._kept, self._node(node)):
                nodes.append(integer)
                self.exponents.setdefault(integer.name, 0)
                if not isinstance(integer, IntegerReadout):
                    self.ranges[integer.name] = output_range(integer, self.ranges, self.options.window)
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

    def _kept(self, node: IntegerNode) -> IntegerNode:
        match node:
            case IntegerInjection():
                return replace(node, token_table=self.keep(node.token_table))
            case IntegerPopulation():
                return replace(node, inputs=tuple(self._kept_projection(entry) for entry in node.inputs))
            case IntegerReadout():
                return replace(node, weight=self.keep(node.weight))
            case _:
                return node

    def _kept_projection(self, entry: IntegerProjection) -> IntegerProjection:
        if entry.weight is None or entry.weight.ndim < 2:
            return entry
        return replace(entry, weight=self.keep(entry.weight))

    def _node(self, node: Node) -> list[IntegerNode]:
        match node:
            case Injection():
                return []  # made together with the node that it drives: they share a scale
            case Population() if node.sources == (self.injection.name,):
                return self._input(node)
            case Population():
                return [self._population(node)]
            case Join() if node.sources == (self.injection.name,):
                self.exponents[node.name] = self.stream_exponent
                return list(quantize_stream(self.injection, node, self.stream_exponent, self.options.window))
            case Join():
                return [self._join(node)]
            case Norm():
                return [self._norm(node)]
            case Attention():
                return [self._attention(node)]
            case Readout():
                return [self._readout(node)]

    def _input(self, node: Population) -> list[IntegerNode]:
        program = self.options.neuron_program
        tables, population, scale = quantize_input(self.injection, node, program, self.options.window)
        self.scales[node.name] = scale
        return [tables, population]

    def _join(self, node: Join) -> IntegerJoin:
        """Shift all inputs into the finest of their units."""
        finest = max(self.exponents[source] for source in node.inputs)
        shifts = tuple(finest - self.exponents[source] for source in node.inputs)
        self.exponents[node.name] = finest
        maximum = join_range(node.inputs, shifts, self.ranges).magnitude
        if finest > 0:
            check_stream(node.name, maximum, finest)
        return IntegerJoin(name=node.name, inputs=node.inputs, exponents=shifts, size=node.size, maximum=maximum)

    def _norm(self, node: Norm) -> IntegerNorm:
        readers = (
            numbers(projection.weight).astype(np.float64)
            for population in self.graph.of_kind(Population)
            for projection in population.inputs
            if projection.source == node.name and projection.weight is not None and projection.weight.ndim == 2
        )
        keep = max(population.neurons.decay for population in self.graph.of_kind(Population))
        gain = sum(keep**step for step in range(self.graph.steps_per_token))
        source, exponent = self.ranges[node.source], self.exponents[node.source]
        norm = quantize_norm(node, source, exponent, readers, self.options.bits, gain)
        self.exponents[node.name] = norm.fraction_bits
        return norm

    def _population(self, node: Population) -> IntegerPopulation:
        synapses = tuple(self._synapses(projection) for projection in node.inputs)
        candidates = synapse_candidates(node.neurons, synapses, self.options.neuron_program, self.options.bits)
        chosen, neurons = first_safe(node.name, node.neurons, candidates, self.graph.steps_per_token)
        self.scales[node.name] = chosen.scale
        return IntegerPopulation(name=node.name, inputs=chosen.projections, neurons=neurons)

    def _synapses(self, projection: Projection) -> InputSynapses:
        weight = None if projection.weight is None else numbers(projection.weight).astype(np.float64)
        is_matrix = weight is not None and weight.ndim == 2
        return InputSynapses(
            source=projection.source,
            weight=weight,
            outputs=self.ranges[projection.source],
            unit=float(1 << self.exponents[projection.source]),
            samples=self.calibrated.inputs(projection.source) if is_matrix else np.zeros((0, 1)),
        )

    def _attention(self, node: Attention) -> IntegerAttention:
        """Scores are whole numbers; the finest exponent that cannot overflow keeps thresholds exact."""
        signed = self.ranges[node.query].signed or self.ranges[node.key].signed
        low, high = -node.head_dim if signed else 0, node.head_dim
        exponents = {float(1 << exponent): exponent for exponent in range(MAXIMAL_EXPONENT, -1, -1)}
        candidates = (
            Candidate(
                program="bispik",
                projections=(),
                scale=np.full(node.heads, unit),
                low=np.full(node.heads, unit * low),
                high=np.full(node.heads, unit * high),
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

    def _head_integers(
        self, name: str, rows: Rows, finest: FloatArray, maximum: int
    ) -> tuple[FloatArray, npt.NDArray[np.int8]]:
        """Round the head's weights. Where accumulators could leave 24 bits, the scale is coarser, by a bit at most.

        Args:
            name: of the readout, for errors.
            rows: its weights.
            finest: the scale that suits them best, (rows,), all the same.
            maximum: the largest sum of an input over the steps of a token.
        """
        scale = finest
        while True:
            integers = rounded_rows(rows, scale, self.options.bits)
            largest = max(
                int(np.abs(integers[some], dtype=np.int16).sum(axis=1, dtype=np.int64).max()) for some in rows.blocks()
            )
            reached = largest * maximum
            if reached <= MEMBRANE_MAX or not self.options.head_on_chip:
                return scale, integers
            scale = scale * min(0.99, MEMBRANE_MAX / reached)
            if scale[0] < finest[0] / 2:
                raise BispikError(
                    f"{name}: accumulators could reach {reached:,} of {MEMBRANE_MAX:,}; use fewer --bits or --head host"
                )

    def _readout(self, node: Readout) -> IntegerReadout:
        """Fold gain and mean subtraction of the final LayerNorm into the head; one scale, so that integers rank."""
        stored = numbers(node.weight)

        def folded(some: slice) -> FloatArray:
            gained = stored[some].astype(np.float64) * node.gamma
            gained -= gained.mean(axis=1, keepdims=True)
            return gained

        rows = Rows(shape=(stored.shape[0], stored.shape[1]), some=folded)
        finest = row_scales(rows, self.calibrated.readout_inputs(), self.options.bits, per_row=False)
        steps = self.graph.steps_per_token
        scale, integers = self._head_integers(node.name, rows, finest, self.ranges[node.source].magnitude * steps)
        bias = node.scale * np.concatenate([stored[some].astype(np.float64) @ node.beta for some in rows.blocks()])
        return IntegerReadout(
            name=node.name,
            source=node.source,
            weight=integers,
            bits=self.options.bits,
            on_chip=self.options.head_on_chip,
            scale=node.scale / (float(scale[0]) * steps),
            epsilon=node.epsilon * 4.0 ** self.exponents[node.source],
            bias=bias.astype(np.float32),
        )
