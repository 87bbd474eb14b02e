"""The C++ engine; `network.py` and `session.py` say what goes in and out. Made by CMakeLists.txt."""

from collections.abc import Sequence as Items

import numpy as np
import numpy.typing as npt

def built_paths() -> list[tuple[str, bool]]:
    """Names of the kernels that were built, the fastest last, and whether this processor can run them."""

def normalise(
    values: npt.NDArray[np.int32],
    out: npt.NDArray[np.int32],
    *,
    fraction_bits: int,
    root_bits: int,
    epsilon: int,
) -> None:
    """Write a norm's outputs for one vector, (n,); see `IntegerNorm`."""

class Neurons:
    """Constants of neurons, (n,) each; see `IntegerNeurons`."""

    def __init__(
        self,
        *,
        decay: int,
        hard: bool,
        ternary: bool,
        small: bool,
        wide: bool,
        threshold: npt.NDArray[np.int32],
        subtract: npt.NDArray[np.int32],
        bias: npt.NDArray[np.int32],
    ) -> None: ...

class Network:
    """A program, built node by node; every method returns the node's number. Arrays are kept, not copied."""

    def __init__(self, *, steps: int, window: int) -> None: ...
    def given(self, size: int, negative: bool) -> int:
        """Add a node whose spikes each run is given."""

    def injection(self, tokens: npt.NDArray[np.int16], positions: npt.NDArray[np.int16], gains: list[int]) -> int:
        """Add the host's current: tables (vocabulary, size) and (window or more, size)."""

    def population(self, inputs: Items[tuple[int, npt.NDArray[np.int8] | None, int]], neurons: Neurons) -> int:
        """Add neurons; an input is source, weights and exponent: (source size, neurons), (neurons,), or None for 1."""

    def join(self, inputs: Items[tuple[int, int]], *, magnitude: int, negative: bool) -> int:
        """Add a join of sources, each with its exponent."""

    def norm(self, source: int, *, fraction_bits: int, root_bits: int, epsilon: int, magnitude: int) -> int:
        """Add a norm."""

    def attention(
        self,
        sources: tuple[int, int, int],
        *,
        heads: int,
        exponent: int,
        neurons: Neurons,
        magnitude: int,
        negative: bool,
    ) -> int:
        """Add an attention of query, key and value, with one set of constants per head."""

    def readout(self, source: int, weights: npt.NDArray[np.int8]) -> int:
        """Add the head: weights (source size, vocabulary)."""

class Sequence:
    """Keys and values of one sequence on a network."""

    def __init__(self, network: Network) -> None: ...
    @property
    def position(self) -> int:
        """Tokens that have been run."""

class Counting:
    """What to count in a run, each in every time step.

    ``segments``: channels [start, stop) in which any of some nodes has an output, as (nodes, start, stop);
    ``scores``: spikes of a head's score neurons of stored tokens, as (attention, head, first, last); ``partials``:
    channels whose sum over stored tokens is not 0, as (attention, start, stop, first, last).
    """

    def __init__(
        self,
        segments: Items[tuple[Items[int], int, int]],
        scores: Items[tuple[int, int, int, int]],
        partials: Items[tuple[int, int, int, int, int]],
    ) -> None: ...

class Engine:
    """Threads and buffers that run sequences of a network."""

    def __init__(self, network: Network, *, path: str, threads: int) -> None: ...
    @property
    def path(self) -> str:
        """Name of the kernels that run."""

    def run(
        self,
        feed: Items[tuple[Sequence, npt.NDArray[np.int64]]],
        *,
        given: Items[tuple[int, npt.NDArray[np.uint8]]],
        outputs: Items[tuple[int, npt.NDArray[np.int16]]],
        scores: Items[tuple[int, npt.NDArray[np.int8]]],
        membranes: Items[tuple[int, npt.NDArray[np.int32]]],
        accumulators: npt.NDArray[np.int64] | None,
        readout_sums: npt.NDArray[np.int32] | None,
        clipped: npt.NDArray[np.int64],
        counting: Counting | None,
        counts: npt.NDArray[np.int32] | None,
    ) -> None:
        """Run the next tokens of some sequences and write what is asked for; n tokens in all.

        Args:
            feed: sequences, each with its tokens.
            given: spikes of given nodes, masks (signs, n, size).
            outputs: by node, (n, T, size).
            scores: by attention, (n, T, heads, stored tokens).
            membranes: by population, (n, T, size).
            accumulators: (n, vocabulary).
            readout_sums: (n, size of the readout's source): its outputs, summed over the steps.
            clipped: (nodes,), added to: membrane updates that were clipped.
            counting: what to count.
            counts: (n, segments, scores and partials, T).
        """

class StreamNeurons:
    """Constants of neurons, (n,) each; see `IntegerStreamNeurons`. ``wide``: currents may need 64 bits."""

    def __init__(
        self,
        *,
        reset: str,
        spiking: bool,
        wide: bool,
        current_decay: npt.NDArray[np.int32],
        decay: npt.NDArray[np.int32],
        threshold: npt.NDArray[np.int32],
        subtract: npt.NDArray[np.int32],
        bias: npt.NDArray[np.int32],
        initial: npt.NDArray[np.int32],
        initial_current: npt.NDArray[np.int32],
    ) -> None: ...

class StreamPlace:
    """Where synapses are: from a source to a population, by their numbers."""

    def __init__(self, *, target: int, source: int, exponent: int, delay: int) -> None: ...

class StreamNetwork:
    """A stream program, built population by population, then synapse by synapse.

    Sources have numbers: the host's input is 0. Weights of dense and one-to-one synapses are kept, not copied.
    """

    def __init__(self, *, input_size: int, graded: bool) -> None: ...
    def population(self, neurons: StreamNeurons) -> int:
        """Add neurons; returns their number."""

    def dense(self, place: StreamPlace, weights: npt.NDArray[np.int8]) -> None:
        """Add weights (source size, neurons)."""

    def one_to_one(self, place: StreamPlace, weights: npt.NDArray[np.int8]) -> None:
        """Add weights (neurons,)."""

    def sparse(
        self,
        place: StreamPlace,
        starts: npt.NDArray[np.int64],
        sources: npt.NDArray[np.int32],
        weights: npt.NDArray[np.int8],
    ) -> None:
        """Add synapses, row by row; see `Sparse`."""

    def convolution(
        self,
        place: StreamPlace,
        weights: npt.NDArray[np.int8],
        *,
        source: tuple[int, int, int],
        target: tuple[int, int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
    ) -> None:
        """Add a kernel; see `Convolution`."""

class StreamCounting:
    """What a stream network's events are on a mapping.

    First come all sources, the input before the populations, then the populations, each followed by its projections.
    """

    def source(self, *, classes: npt.NDArray[np.int32], costs: npt.NDArray[np.int64]) -> None:
        """Add what everything that a source sends costs.

        Args:
            classes: (size,): row of ``costs`` of each neuron; empty if nothing is counted.
            costs: (classes, 8).
        """

    def population(
        self,
        *,
        neurons: npt.NDArray[np.int64],
        unit_count: int,
        run_starts: npt.NDArray[np.int64],
        runs: npt.NDArray[np.int32],
    ) -> None:
        """Add a population on m slices.

        Args:
            neurons: (m,).
            unit_count: units of neurons that are always reached together.
            run_starts: (m + 1,): where the runs of each slice begin.
            runs: (n, 3): units [first, stop) have so many neurons each in the slice.
        """

    def projection(
        self,
        *,
        source: int,
        delay: int,
        everywhere: bool,
        classes: npt.NDArray[np.int32],
        fan_out_starts: npt.NDArray[np.int64],
        fan_outs: npt.NDArray[np.int32],
        pools: npt.NDArray[np.int32],
        unit_starts: npt.NDArray[np.int64],
        units: npt.NDArray[np.int32],
        filled: npt.NDArray[np.uint8],
    ) -> None:
        """Add a projection to the population that was added last.

        Args:
            source: its number in the network.
            delay: steps.
            everywhere: whatever arrives reaches every neuron; there are no units then.
            classes: (source size,): of source neurons with the same fan-outs.
            fan_out_starts: (classes + 1,): where those of each class begin.
            fan_outs: (n, 2): a slice, and how many synapses of each source neuron it holds.
            pools: (source size,): of source neurons that reach the same units; empty if each is its own.
            unit_starts: (pools + 1,): where the units of each pool begin.
            units: what pools reach.
            filled: (m,): whether all neurons of a slice are reached if any is.
        """

class StreamTally:
    """Arrays that an engine counts into, which hold 0 before; S steps, m slices of a population, p projections."""

    def __init__(
        self,
        *,
        synops: Items[npt.NDArray[np.int64]],
        updated: Items[npt.NDArray[np.int64]],
        costs: Items[npt.NDArray[np.int64]],
        sent: Items[npt.NDArray[np.int64]],
    ) -> None:
        """Take the arrays.

        Args:
            synops: by population, (p, m, S): synapses that were reached.
            updated: by population, (m, S): neurons that were reached.
            costs: of the input and by population, (8, S): of all that it sent.
            sent: of the input and by population, (classes,): how often something other than 0.
        """

class StreamEngine:
    """One sequence on a network: state, threads and buffers."""

    def __init__(
        self, network: StreamNetwork, *, path: str, threads: int, counting: StreamCounting | None = None
    ) -> None: ...
    @property
    def path(self) -> str:
        """Name of the kernels that run."""

    @property
    def position(self) -> int:
        """Steps that have been run."""

    def run(
        self,
        values: npt.NDArray[np.int32],
        *,
        sent: Items[npt.NDArray[np.int32] | None],
        membranes: Items[npt.NDArray[np.int32] | None],
        clipped: npt.NDArray[np.int64],
        tally: StreamTally | None = None,
    ) -> None:
        """Run the next steps and write what every population does; S steps.

        Args:
            values: the host's input, (S, input size).
            sent: by population, (S, size); None only for an engine that counts.
            membranes: by population, (S, size).
            clipped: (populations,), added to: membrane updates that were clipped.
            tally: what is counted; for an engine that counts.
        """
