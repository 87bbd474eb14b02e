"""Stream programs as ONNX graphs give the same bits as the reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from bispik.backends.onnx.export import export_onnx
from bispik.backends.onnx.graph import Graph
from bispik.backends.onnx.stream import build_stream_model
from bispik.backends.onnx.stream_session import OnnxStreamSession
from bispik.backends.onnx.synapses import current
from bispik.backends.stream.activity import StreamActivity
from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.compiler.stream.program import StreamProgram
from bispik.compiler.stream.wiring import Convolution
from bispik.models.errors import BispikError
from tests.stream.random_programs import STEPS_MAX, convolutions, programs, projection, random_input

either = st.one_of(programs(), programs(neuron_program="stock"))


def assert_same(one: StreamActivity, other: StreamActivity) -> None:
    assert one.first_step == other.first_step
    np.testing.assert_array_equal(one.input, other.input)
    assert dict(one.saturations) == dict(other.saturations)
    for field in ("sent", "membranes"):
        ours, theirs = getattr(one, field), getattr(other, field)
        assert set(ours) == set(theirs), field
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype, f"{field} of {name}"
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=f"{field} of {name}")


@settings(max_examples=100, deadline=None)
@given(program=either, seed=st.integers(0, 2**32 - 1), steps=st.integers(1, STEPS_MAX), data=st.data())
def test_any_program_on_any_split_of_the_input_equals_the_reference(
    program: StreamProgram, seed: int, steps: int, data: st.DataObject
) -> None:
    values = random_input(program, np.random.default_rng(seed), steps)
    probes = [population.name for population in program.populations]
    reference, session = ReferenceStreamSession(program, probes), OnnxStreamSession(program, probes)
    split = data.draw(st.integers(0, steps))
    for part in (values[:split], values[split:]):
        if len(part):
            assert_same(reference.feed(part), session.feed(part))


@settings(max_examples=100, deadline=None)
@given(
    wiring=st.sampled_from([(1, 1, 6), (2, 5, 4), (4, 3, 7)]).flatmap(convolutions),
    seed=st.integers(0, 2**32 - 1),
    more=st.tuples(st.integers(-2, 4), st.integers(-2, 4)),
)
def test_a_convolution_takes_any_geometry_and_number(wiring: Convolution, seed: int, more: tuple[int, int]) -> None:
    """Targets that are smaller and larger than the padding alone would make them, and inputs of 24 bits."""
    channels, height, width = wiring.target
    wiring = replace(wiring, target=(channels, max(1, height + more[0]), max(1, width + more[1])))
    rng = np.random.default_rng(seed)
    synapses = projection("x", wiring, 0, 8, rng)
    values = rng.integers(-(1 << 23), 1 << 23, wiring.inputs)
    graph = Graph()
    found = current(graph, "y", synapses, graph.input("x", np.int64, (wiring.inputs,), ""))
    graph.output("y", found, np.int64, (wiring.outputs,), "")
    session = onnxruntime.InferenceSession(graph.model("synapses", "", {}).SerializeToString())
    expected = wiring.apply(synapses.weight.astype(np.int64), values[None])[0] << synapses.exponent
    np.testing.assert_array_equal(session.run(None, {"x": values})[0], expected)


@settings(max_examples=30, deadline=None)
@given(program=either)
def test_the_graph_is_standard(program: StreamProgram) -> None:
    model = build_stream_model(program)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert {node.domain for node in model.graph.node} == {""}
    known = {value.name for value in model.graph.value_info} | {value.name for value in model.graph.output}
    assert known >= {name for node in model.graph.node for name in node.output}  # shapes of all are inferred
    inputs, outputs = ({v.name for v in values} for values in (model.graph.input, model.graph.output))
    assert {f"{name}.next" for name in inputs if name != "input.sent"} == {n for n in outputs if n.endswith(".next")}


@settings(max_examples=15, deadline=None)
@given(program=either, seed=st.integers(0, 2**32 - 1))
def test_a_file_runs_without_us(tmp_path_factory: pytest.TempPathFactory, program: StreamProgram, seed: int) -> None:
    """On onnxruntime and on the plain evaluator of the standard's own package; the first step needs no state."""
    path: Path = tmp_path_factory.mktemp("onnx") / "step.onnx"
    export_onnx(program, path)
    assert [entry.name for entry in path.parent.iterdir()] == ["step.onnx"]
    model = onnx.load(str(path))
    values = random_input(program, np.random.default_rng(seed), 6)
    expected = ReferenceStreamSession(program).feed(values)
    names = [output.name for output in model.graph.output]
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3  # it warns of inputs that have a value of their own
    for evaluator in (onnxruntime.InferenceSession(str(path), quiet), ReferenceEvaluator(model)):
        state: dict[str, Any] = {}
        for step, row in enumerate(values):
            feeds = {"input.sent": row.astype(np.int64), **state}
            found = dict(zip(names, evaluator.run(None, feeds), strict=True))
            state = {name.removesuffix(".next"): found[name] for name in names if name.endswith(".next")}
            for name, sent in expected.sent.items():
                np.testing.assert_array_equal(found[f"{name}.sent"], sent[step], err_msg=name)


@settings(max_examples=3, deadline=None)
@given(program=programs())
def test_input_and_probes_are_checked(program: StreamProgram) -> None:
    size = program.input.size
    session = OnnxStreamSession(program)
    with pytest.raises(BispikError, match=rf"input: input of shape \(3, {size + 1}\), expected \(time steps, {size}\)"):
        session.feed(np.zeros((3, size + 1), np.int32))
    with pytest.raises(BispikError, match="no population to probe is called nobody"):
        OnnxStreamSession(program, ["nobody"])
