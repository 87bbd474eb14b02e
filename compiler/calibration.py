"""What the quantiser has to know of the network's activity on ordinary text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bispik.compiler.float_network import Progress, walk_float
from bispik.compiler.graph import Population, Readout, SpikingGraph

FloatArray = npt.NDArray[np.float64]

SAMPLED_INPUTS = 1 << 20
"""Numbers that the samples of one source hold, about, if that leaves a number of vectors within the next two."""

FEWEST_SAMPLES, MOST_SAMPLES = 256, 1024
"""Input vectors used per projection; more than the latter changed no choice on the example model."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Input vectors of matrices, and mean outputs."""

    samples: Mapping[str, npt.NDArray[Any]]
    """By node that a matrix reads: some of its outputs, (samples, size), in a type that holds them exactly."""
    counts: npt.NDArray[Any]
    """Of the node that the readout reads: sums of its outputs over the steps of some tokens, (samples, size)."""
    mean_outputs: Mapping[str, float]
    """By node: mean magnitude of an output per channel and time step; for a population its firing rate."""

    def inputs(self, source: str) -> FloatArray:
        """Return what matrices that read a node receive, (samples, size)."""
        result: FloatArray = self.samples[source].astype(np.float64)
        return result

    def readout_inputs(self) -> FloatArray:
        """Return what the readout's matrix receives, (samples, size)."""
        result: FloatArray = self.counts.astype(np.float64)
        return result


def calibrate(
    graph: SpikingGraph, token_ids: npt.NDArray[np.int64], seed: int = 0, progress: Progress = lambda _done, _of: None
) -> Calibration:
    """Run the network on text, node after node, and keep samples.

    Args:
        graph: the network.
        token_ids: (sequences, tokens).
        seed: picks the sampled vectors.
        progress: called with (nodes done, nodes in all).
    """
    read = {
        projection.source
        for population in graph.of_kind(Population)
        for projection in population.inputs
        if projection.weight is not None and projection.weight.ndim == 2
    }
    summed = graph.of_kind(Readout)[0].source
    counts: npt.NDArray[Any] = np.zeros((0, 0))
    samples: dict[str, npt.NDArray[Any]] = {}
    means: dict[str, float] = {}
    for activity in walk_float(graph, token_ids):
        progress(len(means), len(graph.nodes))
        name, output = activity.node.name, activity.output
        if isinstance(activity.node, Readout):
            continue
        means[name] = float(np.abs(output).mean())
        if name in read:
            samples[name] = _compact(sample(output, seed))
        if name == summed:
            counts = _compact(sample(output.sum(axis=0)[None], seed))
        del activity, output  # before the next node runs
    return Calibration(samples=samples, counts=counts, mean_outputs=means)


def sample(outputs: FloatArray, seed: int) -> FloatArray:
    """Pick vectors (samples, size) from a node's outputs (T, B, L, size), the same for a seed."""
    vectors = outputs.reshape(-1, outputs.shape[-1])
    wanted = int(np.clip(SAMPLED_INPUTS // vectors.shape[1], FEWEST_SAMPLES, MOST_SAMPLES))
    if len(vectors) <= wanted:
        return vectors
    chosen = np.random.default_rng(seed).choice(len(vectors), wanted, replace=False)
    return vectors[np.sort(chosen)]


def _compact(values: FloatArray) -> npt.NDArray[Any]:
    """Return numbers in the smallest type that holds them exactly: spikes and counts take a byte each."""
    for dtype in (np.int8, np.int16, np.float32):
        with np.errstate(invalid="ignore", over="ignore"):
            narrow = values.astype(dtype)
        if np.array_equal(narrow, values):
            return narrow
    return values.copy()
