"""Shapes of OPT models, random weights where a program's lie, and the parts of a network whose spikes are given."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bispik.backends.sim import _kernels

Weights = npt.NDArray[np.int8]
Masks = npt.NDArray[np.uint8]

DECAY, THRESHOLD = 410, 3000
ATTENTION_EXPONENT, ATTENTION_THRESHOLD = 12, 3 << 12
RANDOM_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of an OPT model; the head is a matrix of its own."""

    name: str
    hidden: int
    ffn: int
    layers: int
    vocabulary: int
    heads: int

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """(inputs, neurons) of the linear layers of a block: query, key, value, output, fc1, fc2."""
        return [(self.hidden, self.hidden)] * 4 + [(self.hidden, self.ffn), (self.ffn, self.hidden)]

    @property
    def weights(self) -> int:
        """Weights of all linear layers and the head."""
        return self.layers * sum(inputs * size for inputs, size in self.matrices) + self.hidden * self.vocabulary


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """Random 8-bit weights, input-major."""

    shape: Shape
    blocks: tuple[tuple[Weights, ...], ...]
    head: Weights


@contextmanager
def random_model(shape: Shape, rng: np.random.Generator) -> Generator[Model]:
    """Weights in a mapped file, each matrix at a multiple of 64 bytes, as in ``program.bspk``; the file has no name."""
    sizes = [size for _ in range(shape.layers) for size in shape.matrices] + [(shape.hidden, shape.vocabulary)]
    places = np.cumsum([0] + [-(-inputs * size // 64) * 64 for inputs, size in sizes])
    piece = rng.integers(-127, 128, RANDOM_BYTES, np.int8).tobytes()
    with tempfile.TemporaryFile() as file:
        for place in range(0, int(places[-1]), len(piece)):
            file.write(piece[: int(places[-1]) - place])
        file.flush()
        mapped = mmap.mmap(file.fileno(), int(places[-1]), access=mmap.ACCESS_READ)
        np.frombuffer(mapped, np.int8).max()  # a page is entered when it is first used: not in what is timed
        matrices = [
            np.frombuffer(mapped, np.int8, inputs * size, int(place)).reshape(inputs, size)
            for (inputs, size), place in zip(sizes, places, strict=False)
        ]
        count = len(shape.matrices)
        blocks = tuple(tuple(matrices[i * count : (i + 1) * count]) for i in range(shape.layers))
        yield Model(shape, blocks, matrices[-1])


def random_spikes(rng: np.random.Generator, tokens: int, size: int, steps: int, rate: float) -> Masks:
    """Independent spikes in each step, (signs, tokens, size) with bit t of a mask for step t."""
    fired = rng.random((1, tokens, size, 8)) < np.where(np.arange(8) < steps, rate, 0.0)
    return np.packbits(fired, axis=3, bitorder="little")[..., 0]


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """A network in the engine whose layers are fed given spikes, so that their rate is exact."""

    network: _kernels.Network
    given: tuple[tuple[int, int, int], ...]
    """Given nodes: number, size, bytes of weights behind each of its neurons."""
    nodes: int
    vocabulary: int
    """Of the head; 0 without."""

    def spikes(self, rng: np.random.Generator, tokens: int, steps: int, rate: float) -> list[tuple[int, Masks]]:
        """Random spikes for every given node."""
        return [(node, random_spikes(rng, tokens, size, steps, rate)) for node, size, _ in self.given]

    def touched_bytes(self, spikes: Sequence[tuple[int, Masks]]) -> int:
        """Bytes of the weights of neurons that spike in any step, added up over tokens."""
        row = {node: row_bytes for node, _, row_bytes in self.given}
        return sum(int(np.count_nonzero(masks)) * row[node] for node, masks in spikes)


def stack(
    model: Model, steps: int, window: int, *, blocks: int = -1, head: bool = True, attention: bool = False
) -> Stack:
    """Build the linear layers of some blocks (all: -1), each with neurons, the head, and an attention per block."""
    network = _kernels.Network(steps=steps, window=window)
    given: list[tuple[int, int, int]] = []
    last = -1

    def give(size: int, *matrices: Weights) -> int:
        nonlocal last
        last = network.given(size, False)
        given.append((last, size, sum(matrix.shape[1] for matrix in matrices)))
        return last

    shape = model.shape
    for query, key, value, output, fc1, fc2 in model.blocks if blocks < 0 else model.blocks[:blocks]:
        for matrices in ((query, key, value), (output,), (fc1,), (fc2,)):
            source = give(matrices[0].shape[0], *matrices)
            for matrix in matrices:
                last = network.population([(source, matrix, 0)], neurons(matrix.shape[1]))
        if attention:
            last = add_attention(
                network, (give(shape.hidden), give(shape.hidden), give(shape.hidden)), shape.heads, window
            )
    if head:
        last = network.readout(give(shape.hidden, model.head), model.head)
    return Stack(network, tuple(given), last + 1, shape.vocabulary if head else 0)


def attention_stack(shape: Shape, steps: int, window: int) -> Stack:
    """Build one attention, fed given queries, keys and values."""
    network = _kernels.Network(steps=steps, window=window)
    query, key, value = (network.given(shape.hidden, False) for _ in range(3))
    last = add_attention(network, (query, key, value), shape.heads, window)
    return Stack(network, tuple((node, shape.hidden, 0) for node in (query, key, value)), last + 1, 0)


def add_attention(network: _kernels.Network, sources: tuple[int, int, int], heads: int, window: int) -> int:
    """Add an attention whose scores spike from a few common spikes of query and key on."""
    return network.attention(
        sources,
        heads=heads,
        exponent=ATTENTION_EXPONENT,
        neurons=neurons(heads, ATTENTION_THRESHOLD, small=True),
        magnitude=window,
        negative=False,
    )


def neurons(size: int, threshold: int = THRESHOLD, *, small: bool = False) -> _kernels.Neurons:
    """Neurons with soft reset and a membrane of any size."""
    return _kernels.Neurons(
        decay=DECAY,
        hard=False,
        ternary=False,
        small=small,
        wide=False,
        threshold=np.full(size, threshold, np.int32),
        subtract=np.full(size, threshold + 1, np.int32),
        bias=np.zeros(size, np.int32),
    )
