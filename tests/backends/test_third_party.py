"""A checkpoint of the third-party code, all the way: float spikes as its text says, then the same bits everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bispik.backends.registry import open_session
from bispik.compiler.float_network import run_float
from bispik.compiler.graph import Population
from bispik.compiler.lift import lift
from bispik.compiler.nir_export import write_nir
from bispik.compiler.nir_import import read_nir
from bispik.compiler.program import IntegerNorm, IntegerPopulation
from bispik.compiler.quantize import quantize
from bispik.compiler.quantize_options import QuantizeOptions
from bispik.models.bispikclm.checkpoint import load_checkpoint
from tests.third_party import L, T, V, third_party_checkpoint, third_party_run

PARTS = {
    "attn/query": "q",
    "attn/key": "k",
    "attn/value": "v",
    "attn/mixed": "av",
    "attn/output": "att",
    "ffn/fc1": "fc1",
    "sum": "out",
}


@pytest.mark.parametrize("seed", range(3))
def test_the_layout_keeps_its_spikes_and_its_bits(tmp_path: Path, seed: int) -> None:
    saved = third_party_checkpoint(seed)
    torch.save(saved, tmp_path / "student.pt")
    write_nir(lift(load_checkpoint(tmp_path / "student.pt")), tmp_path / "model.nir")
    graph = read_nir(tmp_path / "model.nir")
    ids = np.random.default_rng(seed).integers(0, V, (2, L))

    _, spikes = third_party_run(saved["student"], torch.from_numpy(ids))
    activity = run_float(graph, ids)
    for node in graph.of_kind(Population):
        block, part = node.name.split("/", maxsplit=1)
        expected = spikes[f"{int(block.removeprefix('block_'))}.{PARTS[part]}"].reshape(T, 2, L, -1)
        np.testing.assert_array_equal(activity.outputs[node.name], expected.numpy(), err_msg=node.name)

    program = quantize(graph, ids, QuantizeOptions(window=L))
    assert len(program.of_kind(IntegerNorm)) == 4
    probes = [population.name for population in program.of_kind(IntegerPopulation)]
    runs = {}
    for backend in ("reference", "sim", "lava"):
        session = open_session(backend, program, probes)
        try:
            runs[backend] = session.feed(ids[0])
        finally:
            session.close()
    for backend in ("sim", "lava"):
        for field in ("outputs", "score_spikes", "membranes"):
            ours, theirs = getattr(runs["reference"], field), getattr(runs[backend], field)
            assert list(ours) == list(theirs)
            for name in ours:
                np.testing.assert_array_equal(ours[name], theirs[name], err_msg=f"{backend}: {field} of {name}")
        np.testing.assert_array_equal(runs["reference"].accumulators, runs[backend].accumulators)
    assert runs["sim"].outputs["block_01/sum"].any()
