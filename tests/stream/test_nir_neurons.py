"""NIR's own equations, neuron by neuron, against Euler's rule written out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bispik.compiler.stream.float_run import run_stream_float
from tests.stream.nir_files import Array, entry, exit_, lif, nir, read, sent, write

DT, N, STEPS = 1e-3, 4, 80
RNG = np.random.default_rng(0)
CURRENT = RNG.normal(0.4, 1.5, (STEPS, N))


def each(low: float, high: float) -> Array:
    return RNG.uniform(low, high, N)


TAU, TAU_SYN, R, W_IN = each(2e-3, 2e-2), each(2e-3, 9e-3), each(0.5, 3.0), each(0.5, 2.0)
LEAK, THRESHOLD, RESET = each(-0.3, 0.3), each(0.5, 0.9), each(-0.4, 0.2)
MEMBRANE = {"r": R, "v_leak": LEAK}
SPIKE = {"v_threshold": THRESHOLD, "v_reset": RESET}
CUBA = {"tau_syn": TAU_SYN, "tau_mem": TAU, "w_in": W_IN}


def euler(kind: str, exponential: bool = False) -> Array:
    """Return spikes, or membranes of neurons without a threshold."""
    v = RESET.copy() if kind == "IF" else np.zeros(N) if kind == "I" else LEAK.copy()
    u, rows = np.zeros(N), []

    def share(tau: Array) -> Array:
        return 1 - np.exp(-DT / tau) if exponential else DT / tau

    for current in CURRENT:
        u = u + share(TAU_SYN) * (W_IN * current - u)
        drive = u if kind.startswith("Cuba") else current
        v = v + (DT * R * drive * 300 if kind in ("I", "IF") else share(TAU) * (LEAK - v + R * drive))
        spiked = v > THRESHOLD
        if kind.endswith("F"):
            v = np.where(spiked, RESET, v)
        rows.append(spiked if kind.endswith("F") else v)
    return np.array(rows, float)


NEURONS: dict[str, Any] = {
    "I": nir.I(r=300 * R),
    "IF": nir.IF(r=300 * R, **SPIKE),
    "LI": nir.LI(tau=TAU, **MEMBRANE),
    "LIF": nir.LIF(tau=TAU, **MEMBRANE, **SPIKE),
    "CubaLI": nir.CubaLI(**CUBA, **MEMBRANE),
    "CubaLIF": nir.CubaLIF(**CUBA, **MEMBRANE, **SPIKE),
}


@pytest.mark.parametrize("exponential", [False, True])
@pytest.mark.parametrize("kind", list(NEURONS))
def test_one_layer(tmp_path: Path, kind: str, exponential: bool) -> None:
    path = write(tmp_path, {"input": entry(N), "n": NEURONS[kind], "output": exit_(N)}, "input n output")
    network = read(path, dt=DT, discretisation="exponential" if exponential else "euler")
    expected, found = euler(kind, exponential), sent(network, CURRENT)
    if kind.endswith("F"):
        assert 0.02 < expected.mean() < 0.6
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_a_bias_enters_the_current_of_a_current_based_neuron(tmp_path: Path) -> None:
    bias = np.array([0.5, -0.2, 0.0, 1.0])
    nodes = {"input": entry(N), "b": nir.Affine(np.eye(N), bias), "n": NEURONS["CubaLI"], "output": exit_(N)}
    network = read(write(tmp_path, nodes, "input b n output"), dt=DT)
    v, u, rows = LEAK.copy(), np.zeros(N), []
    for current in CURRENT:
        u = u + DT / TAU_SYN * (W_IN * (current + bias) - u)
        v = v + DT / TAU * (LEAK - v + R * u)
        rows.append(v)
    np.testing.assert_allclose(sent(network, CURRENT), np.array(rows), rtol=1e-9, atol=1e-12)


def test_a_soft_reset_subtracts_at_once(tmp_path: Path) -> None:
    node = nir.LIF(tau=TAU, **MEMBRANE, v_threshold=THRESHOLD)
    network = read(
        write(tmp_path, {"input": entry(N), "n": node, "output": exit_(N)}, "input n output"), dt=DT, reset="soft"
    )
    v, rows = LEAK.copy(), []
    for current in CURRENT:
        v = v + DT / TAU * (LEAK - v + R * current)
        spiked = v > THRESHOLD
        v = v - spiked * THRESHOLD
        rows.append(spiked)
    assert np.mean(rows) > 0.02
    np.testing.assert_array_equal(sent(network, CURRENT), np.array(rows, float))


def test_a_membrane_at_the_threshold_does_not_spike(tmp_path: Path) -> None:
    nodes = {"input": entry(1), "n": nir.IF(r=np.array([1 / DT]), v_threshold=np.array([1.0])), "output": exit_(1)}
    path = write(tmp_path, nodes, "input n output")
    values = np.array([[0.5], [0.5], [0.5], [0.0]])
    assert sent(read(path, dt=DT), values).ravel().tolist() == [0, 0, 1, 0]


def by_sinabs(kind: str) -> Array:
    """sinabs 3.1.3, layers/functional/lif.py, with SingleSpike; ExpLeak takes its input whole."""
    alpha = np.ones(N) if kind == "IF" else np.exp(-1 / (TAU / DT))
    v, rows = np.zeros(N), []
    for current in 2 * CURRENT:
        v = alpha * v + (current * (1 - alpha) if kind == "LIF" else current)
        spikes = (v - THRESHOLD >= 0).astype(float)
        rows.append(v if kind == "LI" else spikes)
        v = v if kind == "LI" else v - spikes * THRESHOLD
    return np.array(rows)


@pytest.mark.parametrize("kind", ["LIF", "LI", "IF"])
def test_sinabs(tmp_path: Path, kind: str) -> None:
    steps = {"tau": TAU / DT, "r": np.ones(N), "v_leak": np.zeros(N)}
    made = {
        "LIF": nir.LIF(**steps, v_threshold=THRESHOLD),
        "LI": nir.LI(**steps),
        "IF": nir.IF(r=np.ones(N), v_threshold=THRESHOLD),
    }
    path = write(tmp_path, {"input": entry(N), "n": made[kind], "output": exit_(N)}, "input n output")
    network, expected = read(path, "sinabs"), by_sinabs(kind)
    assert (expected != 0).mean() > 0.02
    np.testing.assert_allclose(sent(network, 2 * CURRENT), expected, rtol=1e-9, atol=1e-12)
    assert (network.dt, network.discretisation) == (1.0, "exponential")
    assert "MultiSpike" in network.origin


def test_lava(tmp_path: Path) -> None:
    """lava-nc 0.10.0, proc/lif/models.py in floating point, as the NIR paper's script sets it up."""
    tau_syn, tau_mem = each(3e-4, 9e-4), each(3e-4, 9e-4)
    node = nir.CubaLIF(
        tau_syn=tau_syn,
        tau_mem=tau_mem,
        w_in=tau_syn / 1e-4,
        r=tau_mem / 1e-4,
        v_leak=np.zeros(N),
        v_threshold=THRESHOLD,
    )
    network = read(write(tmp_path, {"input": entry(N), "n": node, "output": exit_(N)}, "input n output"), "lava")
    u, v, rows = np.zeros(N), np.zeros(N), []
    for current in CURRENT:
        u = u * (1 - 1e-4 / tau_syn) + current
        v = v * (1 - 1e-4 / tau_mem) + u
        rows.append(v > THRESHOLD)
        v = np.where(rows[-1], 0.0, v)
    assert 0.02 < np.mean(rows) < 0.98
    np.testing.assert_array_equal(sent(network, CURRENT), np.array(rows, float))


def test_the_spikes_of_nengo_have_an_area_of_one(tmp_path: Path) -> None:
    nodes = {"input": entry(N), "a": lif(N), "w": nir.Linear(np.eye(N)), "b": lif(N), "output": exit_(N)}
    network = read(write(tmp_path, nodes, "input a w b output"), "nengo")
    (into_b,) = network.populations[1].inputs
    rate = 1 - np.exp(-1e-3 / 4e-3)
    np.testing.assert_allclose(np.diag(into_b.weight), rate / 1e-3)
    assert "not exactly as Nengo" in network.origin


def test_scalars_hold_for_every_neuron_of_the_shape_that_arrives(tmp_path: Path) -> None:
    scalar = nir.LIF(**{key: np.array(1.0) for key in ("tau", "r", "v_leak", "v_threshold")})
    one = nir.LIF(**{key: np.array([1.0]) for key in ("tau", "r", "v_leak", "v_threshold")})
    nodes = {"input": entry(2, 3, 4), "a": scalar, "b": one, "output": exit_(2, 3, 4)}
    network = read(write(tmp_path, nodes, "input a b output"), dt=DT)
    assert [(p.shape, p.size) for p in network.populations] == [((2, 3, 4), 24)] * 2


def test_a_threshold_behind_a_silent_neuron_makes_it_spike(tmp_path: Path) -> None:
    nodes = {"input": entry(N), "li": NEURONS["LI"], "over": nir.Threshold(THRESHOLD), "output": exit_(N)}
    network = read(write(tmp_path, nodes, "input li over output"), dt=DT)
    assert [p.name for p in network.populations] == ["li"]
    np.testing.assert_array_equal(sent(network, CURRENT), euler("LI") > THRESHOLD)


def test_a_threshold_alone_compares_what_arrives(tmp_path: Path) -> None:
    nodes = {"input": entry(N), "over": nir.Threshold(THRESHOLD), "output": exit_(N)}
    network = read(write(tmp_path, nodes, "input over output"), dt=DT)
    np.testing.assert_array_equal(sent(network, CURRENT), CURRENT > THRESHOLD)


def test_a_soft_reset_in_plain_nir_is_a_loop_with_one_step_of_delay(tmp_path: Path) -> None:
    keep, theta = 0.75, 1.0
    li = nir.LI(tau=np.full(N, DT / (1 - keep)), r=np.full(N, 1 / (1 - keep)), v_leak=np.zeros(N))
    nodes = {
        "input": entry(N),
        "li": li,
        "over": nir.Threshold(np.full(N, theta)),
        "back": nir.Scale(np.full(N, -theta)),
        "output": exit_(N),
    }
    network = read(write(tmp_path, nodes, "input li over output", "over back li"), dt=DT)
    (neurons,) = network.populations
    assert sorted((p.source, p.delay) for p in neurons.inputs) == [("input", 0), ("li", 1)]
    v, s, rows = np.zeros(N), np.zeros(N), []
    for current in CURRENT:
        v = keep * v + current - theta * s
        s = (v > theta).astype(float)
        rows.append(s)
    np.testing.assert_array_equal(sent(network, CURRENT), np.array(rows))


def test_delays_are_steps(tmp_path: Path) -> None:
    delays = np.array([0.0, 2 * DT, 2 * DT, 5 * DT])
    nodes = {"input": entry(N), "wait": nir.Delay(delays), "over": nir.Threshold(np.zeros(N)), "output": exit_(N)}
    network = read(write(tmp_path, nodes, "input wait over output"), dt=DT)
    assert sorted(p.delay for p in network.populations[0].inputs) == [0, 2, 5]
    expected = np.zeros((STEPS, N))
    for channel, steps in enumerate((0, 2, 2, 5)):
        expected[steps:, channel] = CURRENT[: STEPS - steps, channel] > 0
    np.testing.assert_array_equal(sent(network, CURRENT), expected)


def test_a_gain_that_differs_within_a_channel_gives_each_neuron_its_own_synapses(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(2, 1, 3, 3)), rng.normal(size=2)
    tau = rng.uniform(2e-3, 9e-3, (2, 4, 4))
    ones = np.ones((2, 4, 4))
    nodes = {
        "input": entry(1, 4, 4),
        "conv": nir.Conv2d((4, 4), weight, 1, "same", 1, 1, bias),
        "n": nir.LI(tau=tau, r=ones, v_leak=0 * ones),
        "output": exit_(2, 4, 4),
    }
    network = read(write(tmp_path, nodes, "input conv n output"), dt=DT)
    values = rng.normal(size=(9, 1, 4, 4))
    uniform = read(
        write(tmp_path, nodes | {"n": nir.LI(tau=DT * ones, r=ones, v_leak=0 * ones)}, "input conv n output"), dt=DT
    )
    currents, v, rows = sent(uniform, values), np.zeros(32), []  # a time constant of one step: the current itself
    for current in currents:
        v = v + DT / tau.ravel() * (current - v)
        rows.append(v)
    np.testing.assert_allclose(sent(network, values), np.array(rows), rtol=1e-9, atol=1e-12)


def test_nested_graphs_are_inlined_and_keep_their_names(tmp_path: Path) -> None:
    inner = nir.NIRGraph(
        {"input": entry(3), "lif": lif(3), "w": nir.Linear(np.ones((3, 3))), "output": exit_(3)},
        [("input", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "output")],
        type_check=False,
    )
    nodes = {"input": entry(3), "w_in": nir.Linear(9 * np.eye(3)), "rec": inner, "output": exit_(3)}
    network = read(write(tmp_path, nodes, "input w_in rec output"), dt=DT)
    assert network.output == "rec/lif"
    assert sorted((p.source, p.delay) for p in network.populations[0].inputs) == [("input", 0), ("rec/lif", 1)]
    run = run_stream_float(network, np.ones((20, 3)))
    assert run.sent["rec/lif"].any()


def test_the_time_step_of_the_file_counts(tmp_path: Path) -> None:
    nodes = {"input": entry(N), "n": lif(N), "output": exit_(N)}
    network = read(write(tmp_path, nodes, "input n output", metadata={"dt": 2e-3}))
    assert network.dt == 2e-3
    np.testing.assert_allclose(network.populations[0].neurons.keep, 0.5)
