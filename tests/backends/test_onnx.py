"""Language-model programs as ONNX graphs: the reference's bits, and the host's part alone."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from bispik.backends.activity import reading_of
from bispik.backends.host import logits
from bispik.backends.onnx.arithmetic import normalised as normalised_in_onnx
from bispik.backends.onnx.arithmetic import root_rounded_up
from bispik.backends.onnx.arithmetic import saturated as saturated_in_onnx
from bispik.backends.onnx.export import EMBEDDING_FILE, READOUT_FILE, export_host_onnx, export_onnx
from bispik.backends.onnx.graph import BYTES_MAX, Graph
from bispik.backends.onnx.session import OnnxSession
from bispik.backends.reference import ReferenceSession
from bispik.backends.registry import RunOptions, open_session
from bispik.compiler.bounds import norm_fits_64_bits
from bispik.compiler.fixed_point import normalised, saturated
from bispik.compiler.program import IntegerAttention, IntegerNorm, IntegerPopulation, QuantizedProgram
from bispik.models.errors import BispikError
from tests.backends.test_sim import assert_same, forms, program_of, wild
from tests.networks import random_program, random_tokens


@settings(max_examples=40, deadline=None)
@given(form=forms, seed=st.integers(0, 2**32 - 1), split=st.integers(1, 8), extreme=st.booleans())
def test_onnx_equals_reference_for_any_program_and_any_split_of_the_tokens(
    form: dict[str, object], seed: int, split: int, extreme: bool
) -> None:
    program = program_of(form, seed)
    if extreme:
        program = wild(program, seed)
    probes = [population.name for population in program.of_kind(IntegerPopulation)]
    tokens = random_tokens(program, seed)
    reference, session, reader = ReferenceSession(program, probes), OnnxSession(program, probes), OnnxSession(program)
    for part in (tokens[:split], tokens[split:]):
        if len(part):
            expected = reference.feed(part)
            assert_same(expected, session.feed(part))
            reading = reader.read(part)
            np.testing.assert_array_equal(reading.accumulators, expected.accumulators)
            np.testing.assert_array_equal(reading.sums, reading_of(program, expected).sums)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**15 - 1), st.integers(0, 2**32 - 1), st.data())
def test_a_norm_is_exact_in_64_bits(size: int, magnitude: int, seed: int, data: st.DataObject) -> None:
    norm = IntegerNorm(
        name="norm",
        source="x",
        size=size,
        fraction_bits=data.draw(st.integers(0, 14)),
        root_bits=data.draw(st.integers(0, 14)),
        epsilon=data.draw(st.one_of(st.just(0), st.integers(0, 2**50))),
    )
    if not norm_fits_64_bits(norm, magnitude):
        return
    values = np.random.default_rng(seed).integers(-magnitude, magnitude + 1, (1, size))
    graph = Graph()
    rows = graph.input("x", np.int64, (1, size), "")
    graph.output("y", normalised_in_onnx(graph, rows, norm), np.int64, (1, size), "")
    found = run(graph.model("norm", "", {}), {"x": values})["y"]
    bits = {"fraction_bits": norm.fraction_bits, "root_bits": norm.root_bits, "epsilon": norm.epsilon}
    np.testing.assert_array_equal(found[0], normalised(values[0], **bits))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=40))
def test_roots_are_rounded_up_on_either_side_of_every_square(roots: list[int]) -> None:
    values = [root * root + offset for root in [*roots, 1, 2**31 - 1] for offset in (-1, 0, 1)]
    graph = Graph()
    found = root_rounded_up(graph, graph.input("x", np.int64, (len(values),), ""))
    graph.output("y", found, np.int64, (len(values),), "")
    expected = [math.isqrt(value - 1) + 1 if value else 0 for value in values]
    assert run(graph.model("root", "", {}), {"x": np.array(values)})["y"].tolist() == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=40), st.integers(0, 40))
def test_saturation_is_right_where_the_operators_made_for_it_are_not(values: list[int], shift: int) -> None:
    """Clip, Min and Max of onnxruntime 1.31 leave 2^31 as it is."""
    array = np.array([*values, 2**31, 2**31 - 1, -(2**31) - 1], np.int64) >> shift
    graph = Graph()
    graph.output("y", saturated_in_onnx(graph, graph.input("x", np.int64, array.shape, "")), np.int64, array.shape, "")
    np.testing.assert_array_equal(run(graph.model("clip", "", {}), {"x": array})["y"], saturated(array))


def test_what_others_left_behind_the_sequence_is_not_looked_at() -> None:
    program = random_program(5, spikes="ternary")
    tokens = random_tokens(program, 5)
    session = OnnxSession(program)
    session.runner.state = {name: np.ones_like(stored) for name, stored in session.runner.state.items()}
    assert_same(ReferenceSession(program).feed(tokens), session.feed(tokens))


def test_a_file_is_the_program(tmp_path: Path) -> None:
    """It runs without us: on onnxruntime, and on the plain evaluator of the standard's own package."""
    program = random_program(3, layers=1, norm=True, stream=True)
    path = tmp_path / "token.onnx"
    export_onnx(program, path)
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain for entry in model.opset_import} == {""}
    assert {node.domain for node in model.graph.node} == {""}
    assert not [node for node in model.graph.node if any(a.HasField("g") for a in node.attribute)]
    tokens = random_tokens(program, 3)
    expected = ReferenceSession(program).feed(tokens)
    runtime = onnxruntime.InferenceSession(str(path))
    plain = ReferenceEvaluator(model)
    names = [output.name for output in model.graph.output]
    for evaluator in (runtime, plain):
        stored = empty_caches(program)
        for position, token in enumerate(tokens):
            feeds = {"token": np.array([token]), "position": np.array([position]), **stored}
            found = dict(zip(names, evaluator.run(None, feeds), strict=True))
            stored = {name: found[f"{name}.next"] for name in stored}
            np.testing.assert_array_equal(found["head.accumulators"], expected.accumulators[position])
            for name, output in expected.outputs.items():
                np.testing.assert_array_equal(found[f"{name}.output"], output[position], err_msg=name)


def empty_caches(program: QuantizedProgram) -> dict[str, npt.NDArray[np.int8]]:
    return {
        f"{node.name}.{what}": np.zeros((program.window, program.steps_per_token, node.heads, node.head_dim), np.int8)
        for node in program.of_kind(IntegerAttention)
        for what in ("keys", "values")
    }


@pytest.mark.parametrize("on_chip", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_the_host_part_computes_what_the_host_does(tmp_path: Path, on_chip: bool, stream: bool) -> None:
    program = random_program(8, stream=stream, readout_on_chip=on_chip)
    bias = np.random.default_rng(0).normal(size=program.readout.size).astype(np.float32)
    program = replace(program, nodes=(*program.nodes[:-1], replace(program.readout, bias=bias)))
    export_host_onnx(program, tmp_path / "host")
    tokens = random_tokens(program, 8)
    positions = np.arange(len(tokens))
    embedding = onnx.load(str(tmp_path / "host" / EMBEDDING_FILE))
    currents = run(embedding, {"tokens": tokens, "positions": positions})["currents"]
    entry = program.injection
    once = entry.token_table[tokens].astype(np.int64) + entry.position_table[positions]
    np.testing.assert_array_equal(currents, once[:, None] * np.array(entry.step_gain)[:, None])

    reading = ReferenceSession(program).read(tokens)
    readout = onnx.load(str(tmp_path / "host" / READOUT_FILE))
    given = {"sums": reading.sums, "accumulators": reading.accumulators}
    feeds = {value.name: given[value.name] for value in readout.graph.input}
    assert ("accumulators" in feeds) == on_chip
    found = run(readout, feeds)["logits"]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, logits(program, reading), rtol=1e-12, atol=1e-12)


def run(model: Any, feeds: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    session: Any = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def test_the_registry_opens_it_with_threads() -> None:
    program = random_program(2, layers=1)
    tokens = random_tokens(program, 2)
    session = open_session("onnx", program, options=RunOptions(threads=2))
    assert session.execution_mode.startswith("onnx: integer graph of opset 18, onnxruntime ")
    np.testing.assert_array_equal(
        session.read(tokens).accumulators, ReferenceSession(program).read(tokens).accumulators
    )


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(BispikError, match=rf"^{missing} cannot be imported .*pip install 'bispik\[onnx\]'"):
        open_session("onnx", random_program(0, layers=0))


def test_a_program_beyond_two_gigabytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BYTES_MAX == 2**31 - 1
    monkeypatch.setattr("bispik.backends.onnx.graph.BYTES_MAX", 1 << 20)
    with pytest.raises(BispikError, match=r"token: [\d,]+ bytes of weights and tables; an ONNX model holds 1,048,576"):
        OnnxSession(random_program(0, layers=0))


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(BispikError, match="taken: cannot be written"):
        export_onnx(random_program(0, layers=0), tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
