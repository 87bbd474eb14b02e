"""Weights flow through the compiler one matrix at a time."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bispik.backends import verify as verification
from bispik.compiler import feedback
from bispik.compiler.deferred import Deferred
from bispik.compiler.graph import Population
from bispik.compiler.lift import lift
from bispik.compiler.nir_export import write_nir
from bispik.compiler.nir_import import read_nir
from bispik.compiler.quantize import quantize, sample
from bispik.compiler.quantize_options import QuantizeOptions
from bispik.compiler.store import ArrayStore
from bispik.models.bispikclm.checkpoint import load_checkpoint, save_checkpoint
from tests.checkpoints import random_checkpoint


@pytest.mark.parametrize("bits", [8, 4])
def test_a_compile_never_holds_the_weights_of_the_network(
    tmp_path: Path, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "COLUMNS_TOGETHER", 64)  # as much smaller than a real one as this network is
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_layers": 12, "vocab_size": 64}
    save_checkpoint(random_checkpoint(0, norm_batches=1, current_norm="batch", **sizes), tmp_path / "model.pt")
    load_checkpoint(tmp_path / "model.pt")  # imports what it needs
    tracemalloc.start()
    graph = lift(load_checkpoint(tmp_path / "model.pt"))
    write_nir(graph, tmp_path / "model.nir")
    graph = read_nir(tmp_path / "model.nir")
    matrices = [p.weight for n in graph.of_kind(Population) for p in n.inputs if p.weight is not None]
    weights = sum(matrix.nbytes for matrix in matrices)
    largest = max(matrix.nbytes for matrix in matrices)
    text = np.zeros((1, 12), np.int64)
    with ArrayStore(tmp_path) as store:
        program = quantize(graph, text, QuantizeOptions(window=12, bits=bits), keep=store.keep)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert weights >= 36 * largest
    assert peak < weights / 2
    assert all(isinstance(matrix, Deferred) for matrix in matrices)
    in_memory = quantize(graph, text, QuantizeOptions(window=12, bits=bits))
    assert np.array_equal(program.readout.weight, in_memory.readout.weight)


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_a_store_returns_what_it_was_given_and_leaves_no_file(tmp_path: Path, dtype: type) -> None:
    arrays: list[npt.NDArray[Any]] = [np.arange(size * 7).reshape(size, 7).astype(dtype) for size in (3, 0, 5)]
    with ArrayStore(tmp_path) as store:
        kept = [store.keep(array) for array in arrays]
    for one, other in zip(kept, arrays, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    assert not kept[2].flags.writeable
    assert kept[2].T.flags.c_contiguous == (dtype is np.int8)  # weights lie as `program.bspk` has them
    assert not list(tmp_path.iterdir())


def test_samples_are_vectors_of_what_was_sent() -> None:
    outputs = np.arange(3 * 500 * 4).reshape(3, 5, 100, 4)
    few = sample(outputs, 5, 300)
    assert few.shape == (300, 4)
    vectors = {tuple(vector) for vector in outputs.reshape(-1, 4).tolist()}
    assert all(tuple(vector) in vectors for vector in few.tolist())
    assert np.array_equal(few, sample(outputs, 5, 300))
    assert np.array_equal(sample(outputs[:1, :1], 5), outputs[0, 0])


def test_a_comparison_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = lift(random_checkpoint(0, current_norm="batch"))
    ids = np.random.default_rng(0).integers(0, 23, 30)
    program = quantize(graph, ids[None, :12], QuantizeOptions(window=12))
    whole = verification.verify(graph, program, ids, 100)
    monkeypatch.setattr(verification, "RECORDED_AT_ONCE", 1)
    monkeypatch.setattr(verification, "BLOCK_TOKENS", 5)
    monkeypatch.setattr(verification, "LOGITS_AT_ONCE", 1)
    pieces = verification.verify(graph, program, ids, 100)
    assert pieces.populations == whole.populations
    assert pieces.bpb_integer == pytest.approx(whole.bpb_integer, rel=1e-12)
    assert pieces.bpb_float == whole.bpb_float
