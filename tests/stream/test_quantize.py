"""Stream networks in integers: close to the float network, and never out of 24 bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.compiler.fixed_point import MEMBRANE_MAX, decayed
from bispik.compiler.program import NeuronProgram
from bispik.compiler.stream.float_run import run_stream_float
from bispik.compiler.stream.network import StreamNetwork
from bispik.compiler.stream.quantize import StreamOptions, quantize_stream
from bispik.compiler.stream.wiring import Convolution, Dense, OneToOne
from bispik.models.errors import BispikError
from tests.stream.float_networks import network, neurons, population, projection


def _classifier(rng: np.random.Generator, keep: float = 0.9) -> StreamNetwork:
    """A convolution, a recurrent layer with a skip from the input, and membranes that are read."""
    convolution = Convolution(
        source=(2, 6, 6), target=(3, 4, 4), kernel=(3, 3), stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
    )
    hidden = neurons(20, keep=keep, current_keep=0.6, threshold=rng.uniform(0.7, 1.4) * np.ones(20), bias=0.01)
    return network(
        (2, 6, 6),
        population(
            "maps",
            neurons(48, keep=keep),
            projection("input", convolution, 0.4 * rng.normal(size=convolution.weight_shape)),
        ),
        population(
            "hidden",
            hidden,
            projection("maps", Dense(inputs=48, outputs=20), 0.3 * rng.normal(size=(20, 48))),
            projection("hidden", Dense(inputs=20, outputs=20), 0.05 * rng.normal(size=(20, 20)), delay=1),
            projection("input", Dense(inputs=72, outputs=20), 0.02 * rng.normal(size=(20, 72)), delay=2),
        ),
        population(
            "out",
            neurons(4, keep=0.95, output="membrane", reset="none"),
            projection("hidden", Dense(inputs=20, outputs=4), rng.normal(size=(4, 20))),
        ),
    )


@pytest.mark.parametrize("program", ["stock", "bispik"])
def test_integers_spike_like_the_float_network(program: NeuronProgram) -> None:
    rng = np.random.default_rng(3)
    made = _classifier(rng)
    integers = quantize_stream(made, StreamOptions(neuron_program=program))
    spikes = (rng.random((200, 72)) < 0.15).astype(np.int32)
    exact, found = run_stream_float(made, spikes.astype(np.float64)), ReferenceStreamSession(integers).feed(spikes)
    for name, agreement in (("maps", 0.99), ("hidden", 0.95)):  # a loop remembers where it went another way
        assert exact.sent[name].mean() > 0.05
        assert (exact.sent[name] == found.sent[name]).mean() > agreement
    read = found.sent["out"] / integers.membrane_scale["out"]
    assert np.corrcoef(read.ravel(), exact.sent["out"].ravel())[0, 1] > 0.99
    assert not any(found.saturations.values())


def test_fewer_bits_are_further_off() -> None:
    rng = np.random.default_rng(4)
    made = _classifier(rng)
    spikes = (rng.random((200, 72)) < 0.15).astype(np.int32)
    exact = run_stream_float(made, spikes.astype(np.float64)).sent["hidden"]
    agreed = []
    for bits in (8, 4, 2):
        program = quantize_stream(made, StreamOptions(bits=bits, neuron_program="bispik"))
        agreed.append((ReferenceStreamSession(program).feed(spikes).sent["hidden"] == exact).mean())
    assert agreed[0] > agreed[1] > agreed[2]


def test_whole_weights_and_thresholds_stay_in_the_units_of_lava() -> None:
    """The neuron of the NIR paper's single-neuron trace: w = 10, du = 4095, dv = 163, vth = 25 << 6."""
    made = network(
        (1,),
        population(
            "lif",
            neurons(1, keep=1 - 163 / 4096, threshold=25.0),
            projection("input", OneToOne(size=1), np.array([10.0])),
        ),
    )
    program = quantize_stream(made, StreamOptions())
    constants = program.populations[0].neurons
    assert (constants.current_decay[0], constants.decay[0], constants.threshold[0]) == (4096, 163, 25 << 6)
    spikes = (np.random.default_rng(0).random((500, 1)) < 0.4).astype(np.int32)
    found = ReferenceStreamSession(program, ["lif"]).feed(spikes)
    v = np.zeros(1, np.int64)
    for step, arriving in enumerate(spikes[:, 0]):
        v = decayed(v, 163) + (10 * int(arriving) << 6)
        spike = v > 25 << 6
        v[spike] = 0
        assert found.sent["lif"][step, 0] == spike[0]
        assert found.membranes["lif"][step, 0] == v[0]
    assert found.sent["lif"].sum() > 50


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(-4, 4),
    st.sampled_from([0.0, 0.5, 0.99]),
    st.sampled_from([0.0, 0.9, 0.9999]),
    st.integers(1, 8),
)
def test_no_input_lifts_a_membrane_out_of_24_bits(
    seed: int, magnitude: float, current_keep: float, keep: float, bits: int
) -> None:
    """Whatever the size of weights and thresholds, and with the input that drives each neuron furthest.

    Inhibition of many steps may press it to the lower end.
    """
    rng = np.random.default_rng(seed)
    weight = 10.0**magnitude * rng.normal(size=(6, 30))
    constants = neurons(
        6, keep=keep, current_keep=current_keep, threshold=10 ** rng.uniform(-3, 3, 6), bias=rng.normal(size=6)
    )
    made = network((30,), population("p", constants, projection("input", Dense(inputs=30, outputs=6), weight)))
    program = quantize_stream(made, StreamOptions(bits=bits, neuron_program="bispik"))
    found = ReferenceStreamSession(program, ["p"])
    for row in weight:
        for sign in (row > 0, row < 0):
            activity = found.feed(np.repeat(sign[None].astype(np.int32), 30, axis=0))
            assert activity.membranes["p"].max() < MEMBRANE_MAX
            assert activity.membranes["p"].min() > -MEMBRANE_MAX or keep > 0.7


@pytest.mark.parametrize("program", ["stock", "bispik"])
@pytest.mark.parametrize("keep", [0.5, 0.99, 0.999])
def test_a_membrane_that_is_read_holds_all_that_its_leak_lets_gather(program: NeuronProgram, keep: float) -> None:
    readout = neurons(2, keep=keep, output="membrane", reset="none")
    made = network((3,), population("out", readout, projection("input", Dense(inputs=3, outputs=2), np.eye(2, 3) + 1)))
    integers = quantize_stream(made, StreamOptions(neuron_program=program))
    ones = np.ones((8000, 3), np.int32)
    found = ReferenceStreamSession(integers).feed(ones)
    exact = run_stream_float(made, ones.astype(np.float64)).sent["out"]
    assert found.saturations == {"out": 0}
    np.testing.assert_allclose(found.sent["out"][-1] / integers.membrane_scale["out"], exact[-1], rtol=0.05)


def test_few_bits_are_spent_on_most_weights_rather_than_on_the_largest() -> None:
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(20, 200))
    made = network((200,), population("p", neurons(20), projection("input", Dense(inputs=200, outputs=20), weight)))
    for program in ("stock", "bispik"):
        integers = quantize_stream(made, StreamOptions(bits=2, neuron_program=program)).populations[0].inputs[0]
        assert (integers.weight != 0).mean() > 0.4
        assert integers.bits == 2


def test_what_lava_cannot_do_is_refused_for_stock_neurons() -> None:
    def of(**constants: object) -> StreamNetwork:
        made = neurons(3, **constants)  # type: ignore[arg-type]
        return network((3,), population("p", made, projection("input", OneToOne(size=3), np.ones(3))))

    for wrong, message in (
        (of(reset="soft"), "p: these neurons subtract their threshold"),
        (of(reset="none"), "p: these neurons have no reset"),
        (of(keep=0.0), "p: a membrane without memory"),
        (of(threshold=-1.0), "p: a threshold of -1 above the reset"),
    ):
        with pytest.raises(BispikError, match=message):
            quantize_stream(wrong, StreamOptions())
        quantize_stream(wrong, StreamOptions(neuron_program="bispik"))


def test_an_input_that_does_not_enclose_0_is_refused() -> None:
    made = network((3,), population("p", neurons(3), projection("input", OneToOne(size=3), np.ones(3))))
    with pytest.raises(BispikError, match="must enclose 0"):
        quantize_stream(made, StreamOptions(low=0.5, high=1.0, unit=100.0))
