"""Chains of linear layers as one set of synapses, against PyTorch running them one by one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bispik.compiler.stream.budget import Budget
from bispik.compiler.stream.linear_map import LinearMap, as_sparse, behind, one_to_one
from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne, Sparse
from bispik.models.errors import BispikError
from tests.stream.nir_files import Array, entry, exit_, lif, nir, read, sent, write
from tests.stream.random_programs import convolutions, wirings

MAPS = [(1, 1, 6), (2, 5, 4), (4, 6, 7)]


def budget() -> Budget:
    return Budget("net.nir", 0)


def weighted(wiring: Any, rng: np.random.Generator) -> LinearMap:
    return LinearMap(wiring=wiring, weight=rng.integers(-4, 5, wiring.weight_shape).astype(float))


def assert_composes(second: LinearMap, first: LinearMap, rng: np.random.Generator) -> LinearMap:
    both = behind(second, first, budget(), "here")
    values = rng.integers(-3, 4, (3, first.wiring.inputs)).astype(float)
    expected = second.wiring.apply(second.weight, first.wiring.apply(first.weight, values))
    np.testing.assert_array_equal(both.wiring.apply(both.weight, values), expected)
    assert both.weight.shape == both.wiring.weight_shape
    return both


@settings(max_examples=150)
@given(st.data())
def test_any_two_maps_compose(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    first = data.draw(wirings(data.draw(st.sampled_from(MAPS)), rng))
    between = first.target if isinstance(first, Convolution) else (first.outputs,)
    second = data.draw(wirings(between, rng))
    both = assert_composes(weighted(second, rng), weighted(first, rng), rng)
    kinds = {type(first), type(second)}
    if Dense in kinds:
        assert isinstance(both.wiring, Dense)
    elif Sparse in kinds:
        assert isinstance(both.wiring, Sparse)


@settings(max_examples=100)
@given(st.data())
def test_convolutions_without_inner_borders_stay_convolutions(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    first = data.draw(st.sampled_from(MAPS).flatmap(convolutions))
    channels, height, width = first.target
    kernel = (data.draw(st.integers(1, height)), data.draw(st.integers(1, width)))
    stride = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)))
    groups = data.draw(st.sampled_from([1, channels]))
    target = (channels, (height - kernel[0]) // stride[0] + 1, (width - kernel[1]) // stride[1] + 1)
    second = Convolution(
        source=first.target, target=target, kernel=kernel, stride=stride, padding=(0, 0), dilation=(1, 1), groups=groups
    )
    both = assert_composes(weighted(second, rng), weighted(first, rng), rng)
    assert isinstance(both.wiring, Convolution)
    assert both.wiring.groups == math.gcd(first.groups, groups)


def test_pooling_behind_pooling_keeps_a_group_per_channel() -> None:
    def pool(size: int) -> LinearMap:
        wiring = Convolution(
            source=(3, size, size),
            target=(3, size // 2, size // 2),
            kernel=(2, 2),
            stride=(2, 2),
            padding=(0, 0),
            dilation=(1, 1),
            groups=3,
        )
        return LinearMap(wiring=wiring, weight=np.ones(wiring.weight_shape))

    both = behind(pool(4), pool(8), budget(), "here")
    assert isinstance(both.wiring, Convolution)
    assert (both.wiring.groups, both.wiring.kernel, both.wiring.stride) == (3, (4, 4), (4, 4))
    assert both.weight.size == 3 * 16


def test_a_border_between_two_convolutions_is_exact_as_single_synapses() -> None:
    rng = np.random.default_rng(0)
    shape: dict[str, Any] = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    wiring = Convolution(source=(1, 4, 4), target=(1, 4, 4), **shape)
    assert isinstance(assert_composes(weighted(wiring, rng), weighted(wiring, rng), rng).wiring, Sparse)


def test_scales_that_differ_within_a_channel_are_exact_as_single_synapses() -> None:
    rng = np.random.default_rng(0)
    wiring = Convolution(
        source=(2, 4, 4),
        target=(3, 4, 4),
        kernel=(3, 3),
        stride=(1, 1),
        padding=(1, 1),
        dilation=(1, 1),
        groups=1,
    )
    convolution = weighted(wiring, rng)
    by_input, by_output = np.repeat(np.array([1.0, 2.0]), 16), np.repeat(np.array([1.0, 2.0, 3.0]), 16)
    assert isinstance(assert_composes(convolution, one_to_one(by_input), rng).wiring, Convolution)
    assert isinstance(assert_composes(one_to_one(by_output), convolution, rng).wiring, Convolution)
    each_input, each_output = rng.integers(1, 4, 32).astype(float), rng.integers(1, 4, 48).astype(float)
    assert isinstance(assert_composes(convolution, one_to_one(each_input), rng).wiring, Sparse)
    assert isinstance(assert_composes(one_to_one(each_output), convolution, rng).wiring, Sparse)


@given(st.data())
def test_single_synapses_are_the_same_map(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    given_map = weighted(data.draw(wirings(data.draw(st.sampled_from(MAPS)), rng)), rng)
    sparse = as_sparse(given_map, budget(), "here")
    assert isinstance(sparse.wiring, Sparse)
    values = rng.integers(-3, 4, (3, given_map.wiring.inputs)).astype(float)
    expected = given_map.wiring.apply(given_map.weight, values)
    np.testing.assert_array_equal(sparse.wiring.apply(sparse.weight, values), expected)


def test_what_would_take_too_much_memory_is_refused_before_it_is_taken() -> None:
    small = LinearMap(wiring=Dense(inputs=20_000, outputs=1), weight=np.ones((1, 20_000)))
    with pytest.raises(BispikError, match=r"here needs 400,000,000 numbers, and 33,554,432 are left"):
        behind(LinearMap(wiring=Dense(inputs=1, outputs=20_000), weight=np.ones((20_000, 1))), small, budget(), "here")


# --- whole files ------------------------------------------------------------------------------------------------------


@st.composite
def chains(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[Any, torch.nn.Module]]]:
    """Draw up to four layers behind each other, each as a NIR node and as a module."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    flat = draw(st.booleans())
    start: tuple[int, ...] = (
        (2, draw(st.integers(4, 9))) if flat else (2, draw(st.integers(4, 9)), draw(st.integers(4, 9)))
    )
    shape, layers = start, list[tuple[Any, torch.nn.Module]]()
    for _ in range(draw(st.integers(1, 4))):
        kinds = ["scale", "flatten"]
        kinds += ["affine", "linear"] if len(shape) == 1 else ["convolution"] * 2
        kinds += ["sum", "average"] if len(shape) == 3 else []
        layers.append(made(draw, draw(st.sampled_from(kinds)), shape, rng))
        shape = tuple(layers[-1][1](torch.zeros(1, *shape, dtype=torch.double)).shape[1:])
    return start, layers


def made(draw: st.DrawFn, kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Any, torch.nn.Module]:
    def values(*size: int) -> Array:
        return rng.integers(-3, 4, size).astype(float)

    def up_to(most: int, least: int = 1) -> int:
        return draw(st.integers(least, most))

    if kind == "scale":
        scale = values(*shape)
        return nir.Scale(scale), Scaled(torch.from_numpy(scale))
    if kind == "flatten":
        return nir.Flatten(np.array(shape), 0, -1), torch.nn.Flatten()
    if kind in ("affine", "linear"):
        dense = torch.nn.Linear(shape[0], up_to(4), bias=kind == "affine").double()
        dense.weight.data = torch.from_numpy(values(*dense.weight.shape))
        weight = dense.weight.detach().numpy()
        return (nir.Affine(weight, dense.bias.detach().numpy()) if kind == "affine" else nir.Linear(weight)), dense
    if kind == "convolution":
        groups = draw(st.sampled_from([g for g in (1, shape[0]) if shape[0] % g == 0]))
        kernel = [up_to(min(3, size)) for size in shape[1:]]
        same = draw(st.booleans())
        slide: dict[str, Any] = {"stride": 1 if same else up_to(2), "dilation": 1, "groups": groups}
        slide["padding"] = "same" if same else up_to(2, 0)
        makes: Any = torch.nn.Conv1d if len(shape) == 2 else torch.nn.Conv2d
        node = nir.Conv1d if len(shape) == 2 else nir.Conv2d
        module = makes(shape[0], groups * up_to(2), kernel, **slide).double()
        module.weight.data = torch.from_numpy(values(*module.weight.shape))
        weight, bias = module.weight.detach().numpy(), values(module.weight.shape[0])
        module.bias.data = torch.from_numpy(bias)
        return node(input_shape=shape[1] if len(shape) == 2 else shape[1:], weight=weight, bias=bias, **slide), module
    size, stride, padding = np.array([up_to(min(3, n)) for n in shape[1:]]), up_to(3), 0
    if kind == "average":
        padding = up_to(int(size.min()) // 2, 0)
        average = torch.nn.AvgPool2d(tuple(size.tolist()), stride, padding)
        return nir.AvgPool2d(size, np.array([stride, stride]), np.array([padding, padding])), average
    added = torch.nn.AvgPool2d(tuple(size.tolist()), stride, divisor_override=1)
    return nir.SumPool2d(size, np.array([stride, stride]), np.array([0, 0])), added


class Scaled(torch.nn.Module):
    def __init__(self, scale: torch.Tensor) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * self.scale


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@given(chains(), st.integers(0, 99))
def test_a_chain_is_one_projection_that_does_what_its_layers_do(
    tmp_path: Path, chain: tuple[tuple[int, ...], list[tuple[Any, torch.nn.Module]]], seed: int
) -> None:
    start, layers = chain
    nodes = {f"n{index}": node for index, (node, _) in enumerate(layers)}
    values = np.random.default_rng(seed).integers(-3, 4, (3, *start)).astype(float)
    with torch.no_grad():
        expected = torch.nn.Sequential(*(module for _, module in layers))(torch.from_numpy(values))
    ends = {"input": entry(*start), "output": exit_(*expected.shape[1:])}
    network = read(write(tmp_path, nodes | ends, " ".join(["input", *nodes, "output"])), dt=1e-3)
    assert [(p.name, len(p.inputs)) for p in network.populations] == [("output", 1)]
    assert network.populations[0].shape == tuple(expected.shape[1:])
    np.testing.assert_allclose(sent(network, values), expected.reshape(3, -1).numpy(), rtol=1e-12, atol=1e-9)


def test_paths_that_meet_are_summed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    nodes = {"input": entry(4), "one": nir.Linear(one), "two": nir.Affine(two, np.ones(3)), "output": exit_(3)}
    network = read(write(tmp_path, nodes, "input one output", "input two output"), dt=1e-3)
    values = rng.normal(size=(5, 4))
    np.testing.assert_allclose(sent(network, values), values @ (one + two).T + 1)
    assert [p.wiring for p in network.populations[0].inputs] == [Dense(inputs=4, outputs=3)]


def test_a_skip_of_nothing_but_an_edge_is_one_to_one(tmp_path: Path) -> None:
    nodes = {"input": entry(3), "lin": nir.Linear(np.eye(3) * 5), "a": lif(3), "b": lif(3), "output": exit_(3)}
    network = read(write(tmp_path, nodes, "input lin a b output", "input b"), dt=1e-3)
    assert [(p.source, p.wiring) for p in network.populations[1].inputs] == [
        ("a", OneToOne(size=3)),
        ("input", OneToOne(size=3)),
    ]
