"""Spiking graph to integers, calibrated on text, with a proof that nothing overflows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.compiler.bounds import OutputRange, join_range, output_range
from bispik.compiler.deferred import numbers
from bispik.compiler.feedback import Feedback
from bispik.compiler.float_network import NodeActivity, Progress, walk_float
from bispik.compiler.graph import Attention, Injection, Join, Node, Norm, Population, Projection, Readout, SpikingGraph
from bispik.compiler.integer_network import Array, run_integers
from bispik.compiler.matching import Match, wanted
from bispik.compiler.program import (
    IntegerAttention,
    IntegerInjection,
    IntegerJoin,
    IntegerNode,
    IntegerNorm,
    IntegerPopulation,
    IntegerProjection,
    IntegerReadout,
    QuantizedProgram,
)
from bispik.compiler.quantize_head import HeadChoice, HeadInputs, quantize_head
from bispik.compiler.quantize_input import quantize_input
from bispik.compiler.quantize_neurons import (
    MAXIMAL_EXPONENT,
    Candidate,
    InputSynapses,
    first_safe,
    synapse_candidates,
    trained_in_integers,
)
from bispik.compiler.quantize_norm import STREAM_EXPONENTS, check_stream, quantize_norm, quantize_stream
from bispik.compiler.quantize_options import QuantizeOptions, check_options
from bispik.models.errors import BispikError

FloatArray = npt.NDArray[np.float64]


SAMPLED_INPUTS = 1 << 20
"""Numbers that the samples of one source hold, about, if that leaves a number of vectors within the next two."""

FEWEST_SAMPLES, MOST_SAMPLES = 256, 1024
"""Input vectors on which scales are compared; more than the latter changed no choice on the example model."""

FEEDBACK_SAMPLES = 2048
"""Input vectors at most from which feedback between weights is learnt."""

Keep: TypeAlias = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""Takes an array and returns the same numbers, which it may have put elsewhere than into memory."""


def quantize(
    graph: SpikingGraph,
    token_ids: npt.NDArray[np.int64],
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
        token_ids: ordinary text, (sequences, tokens). The integers run on it as they are made, so that every population
            is quantised for what it will really receive.
        options: what the user chooses.
        keep: receives matrices and tables as they are made, one node at a time.
        progress: called with (nodes done, nodes in all).

    Raises:
        BispikError: if the options do not fit the network, or no exponent keeps a population from overflowing.
    """
    check_options(graph, options)
    if not any(isinstance(node, Join) and graph.of_kind(Injection)[0].name in node.inputs for node in graph.nodes):
        return _Quantizer(graph, token_ids, options, 0, keep, progress).program()
    # The readers of a real stream find out whether its unit suits them; the finest that suits all is taken.
    *finer, coarsest = STREAM_EXPONENTS
    for exponent in finer:
        with suppress(BispikError):
            return _Quantizer(graph, token_ids, options, exponent, keep, progress).program()
    return _Quantizer(graph, token_ids, options, coarsest, keep, progress).program()


class _Quantizer:
    """Walks the graph once; ``scales``, ``ranges`` and ``exponents`` grow with it."""

    def __init__(
        self,
        graph: SpikingGraph,
        token_ids: npt.NDArray[np.int64],
        options: QuantizeOptions,
        stream_exponent: int,
        keep: Keep,
        progress: Progress,
    ) -> None:
        self.graph, self.token_ids, self.options = graph, token_ids, options
        self.stream_exponent = stream_exponent
        self.keep, self.progress = keep, progress
        self.scales: dict[str, FloatArray] = {}
        self.ranges: dict[str, OutputRange] = {}
        self.exponents: dict[str, int] = {}
        """By node: its integers are its outputs in units of 2^-exponent."""
        self.injection: Injection = graph.of_kind(Injection)[0]
        self.sent: dict[str, Array] = {}
        """By node: its integers on the text, until its last reader has been made."""
        self.rates: dict[str, float] = {}
        self.feedback: dict[str, Feedback] = {}
        """By node: made of what it sent, for the matrices that read it."""
        self.trained = True
        """Whether all matrices so far lie on integers that training chose."""

    def program(self) -> QuantizedProgram:
        nodes: list[IntegerNode] = []
        last = {source: node.name for node in self.graph.nodes for source in node.sources}
        floats = self._floats()
        for done, node in enumerate(self.graph.nodes):
            self.progress(done, len(self.graph.nodes))
            for integer in map(self._kept, self._node(node, next(floats, None))):
                nodes.append(integer)
                self.exponents.setdefault(integer.name, 0)
                if not isinstance(integer, IntegerReadout):
                    self._run(integer)
            for source in (source for source in node.sources if last[source] == node.name):
                self.sent.pop(source, None)
                self.feedback.pop(source, None)
        return QuantizedProgram(
            nodes=tuple(nodes),
            steps_per_token=self.graph.steps_per_token,
            window=self.options.window,
            bits=self.options.bits,
            neuron_program=self.options.neuron_program,
            membrane_scale=self.scales,
            hyperparameters=self.graph.hyperparameters,
            tokenizer=self.graph.tokenizer,
            rates=self.rates,
            exponents={name: exponent for name, exponent in self.exponents.items() if exponent},
        )

    def _floats(self) -> Iterator[NodeActivity]:
        """Walk the float network beside the integers, if anything is to be held against it."""
        readers = (node.name for node in self.graph.nodes if isinstance(node, Population | Readout))
        if not any(self.options.matches(name) for name in readers):
            return iter(())
        return walk_float(self.graph, self.token_ids)

    def _run(self, node: IntegerNode) -> None:
        """Let a node run on the text."""
        self.ranges[node.name] = output_range(node, self.ranges, self.options.window)
        sent = run_integers(node, self.sent, self.token_ids)
        self.rates[node.name] = float(np.abs(sent).mean(dtype=np.float64)) / (1 << self.exponents[node.name])
        self.sent[node.name] = sent

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

    def _node(self, node: Node, activity: NodeActivity | None) -> list[IntegerNode]:
        match node:
            case Injection():
                return []  # made together with the node that it drives: they share a scale
            case Population() if node.sources == (self.injection.name,):
                return self._input(node)
            case Population():
                return [self._population(node, activity)]
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
        norm = quantize_norm(node, source, exponent, readers, self._widest(node), gain)
        self.exponents[node.name] = norm.fraction_bits
        return norm

    def _widest(self, node: Norm) -> int:
        readers = (p.name for p in self.graph.of_kind(Population) if node.name in p.sources)
        return max(map(self.options.bits_of, readers), default=self.options.bits)

    def _population(self, node: Population, activity: NodeActivity | None) -> IntegerPopulation:
        bits = self.options.bits_of(node.name)
        synapses = tuple(self._synapses(projection) for projection in node.inputs)
        matrices = [s.weight for s in synapses if s.weight is not None and s.weight.ndim == 2]
        match = None
        if activity is not None and self.options.matches(node.name):
            trained = bool(matrices) and all(trained_in_integers(matrix, bits) for matrix in matrices)
            self.trained = self.trained and (trained or not matrices)
            match = None if self.trained else self._match(node, synapses, activity)
        candidates = synapse_candidates(
            node.neurons, synapses, self.options.neuron_program, bits, match, naive=self.options.rounding == "naive"
        )
        chosen, neurons = first_safe(node.name, node.neurons, candidates, self.graph.steps_per_token)
        self.scales[node.name] = chosen.scale
        return IntegerPopulation(name=node.name, inputs=chosen.projections, neurons=neurons)

    def _synapses(self, projection: Projection) -> InputSynapses:
        weight = None if projection.weight is None else numbers(projection.weight).astype(np.float64)
        is_matrix = weight is not None and weight.ndim == 2
        unit = float(1 << self.exponents[projection.source])
        sent = self.sent[projection.source]
        return InputSynapses(
            source=projection.source,
            weight=weight,
            outputs=self.ranges[projection.source],
            unit=unit,
            samples=sample(sent, self.options.seed) / unit if is_matrix else np.zeros((0, 1)),
        )

    def _match(self, node: Population, synapses: Sequence[InputSynapses], activity: NodeActivity) -> Match:
        assert activity.membranes is not None
        steps = self.graph.steps_per_token
        arriving: dict[str, npt.NDArray[np.float32]] = {}
        for synapse in synapses:
            sent = self.sent[synapse.source]
            arriving[synapse.source] = (sent / np.float32(synapse.unit)).reshape(steps, -1, sent.shape[-1])
            if synapse.weight is not None and synapse.weight.ndim == 2 and synapse.source not in self.feedback:
                vectors = sample(sent, self.options.seed, FEEDBACK_SAMPLES) / synapse.unit
                self.feedback[synapse.source] = Feedback(vectors.astype(np.float32))
        return Match(node.neurons, wanted(node.neurons, activity.output, activity.membranes), arriving, self.feedback)

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

    def _readout(self, node: Readout) -> IntegerReadout:
        bits = self.options.bits_of(node.name)
        sent = self.sent[node.source]
        inputs = HeadInputs(
            counts=sample(sent.sum(axis=0, dtype=np.float64)[None], self.options.seed),
            exponent=self.exponents[node.source],
            magnitude=self.ranges[node.source].magnitude,
            steps=self.graph.steps_per_token,
        )
        choice = HeadChoice(
            bits=bits,
            on_chip=self.options.head_on_chip,
            naive=self.options.rounding == "naive",
            feedback=self.options.matches(node.name) and not self.trained,
        )
        return quantize_head(node, inputs, choice)


def sample(outputs: npt.NDArray[Any], seed: int, most: int = MOST_SAMPLES) -> FloatArray:
    """Pick vectors (samples, size) from a node's outputs (T, B, L, size), the same for a seed."""
    vectors = outputs.reshape(-1, outputs.shape[-1])
    wanted = int(np.clip(SAMPLED_INPUTS // vectors.shape[1], FEWEST_SAMPLES, most))
    if len(vectors) > wanted:
        vectors = vectors[np.sort(np.random.default_rng(seed).choice(len(vectors), wanted, replace=False))]
    picked: FloatArray = vectors.astype(np.float64)
    return picked
