"""Running a whole input block by block, and writing down what happened."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from bispik.backends.stream import run as run_module
from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.backends.stream.run import run_stream
from bispik.backends.stream.trace import writing_stream_trace
from bispik.backends.stream.verify import verify_stream
from bispik.compiler.stream.network import StreamNetwork
from bispik.compiler.stream.quantize import StreamOptions, quantize_stream
from bispik.compiler.stream.wiring import Dense
from tests.stream.float_networks import network, neurons, population, projection


def _network() -> StreamNetwork:
    rng = np.random.default_rng(1)
    return network(
        (6,),
        population("part/hidden", neurons(9), projection("input", Dense(inputs=6, outputs=9), rng.normal(size=(9, 6)))),
        population(
            "out",
            neurons(3, output="membrane", reset="none"),
            projection("part/hidden", Dense(inputs=9, outputs=3), rng.normal(size=(3, 9))),
        ),
    )


SPIKES = (np.random.default_rng(2).random((50, 6)) < 0.3).astype(np.int32)


def test_blocks_and_traces_hold_what_one_feed_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = quantize_stream(_network(), StreamOptions())
    monkeypatch.setattr(run_module, "VALUES_AT_ONCE", 7 * 18)
    with writing_stream_trace(tmp_path / "run.h5", program, "reference") as append:
        ran = run_stream(program, SPIKES, "reference", probes=["part/hidden"], see_activity=append)
    whole = ReferenceStreamSession(program, ["part/hidden"]).feed(SPIKES)
    assert (ran.output == whole.sent["out"]).all()
    with h5py.File(tmp_path / "run.h5") as file:
        for name, rows in (
            ("input", SPIKES),
            ("sent/part.hidden", whole.sent["part/hidden"]),
            ("membranes/part.hidden", whole.membranes["part/hidden"]),
        ):
            dataset = file[name]
            assert isinstance(dataset, h5py.Dataset)
            assert (dataset[()] == rows).all()
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]


def test_verification_compares_spikes_and_membranes_with_the_float_network() -> None:
    made = _network()
    program = quantize_stream(made, StreamOptions())
    activity = ReferenceStreamSession(program, ["part/hidden", "out"]).feed(SPIKES)
    found = verify_stream(made, program, [SPIKES], "spikes of a test")
    hidden, out = found.populations
    assert found.spike_agreement == hidden.spike_agreement
    assert hidden.spike_agreement is not None
    assert 0.97 < hidden.spike_agreement <= 1
    assert hidden.firing_rate_integer == pytest.approx(activity.sent["part/hidden"].mean())
    assert out.spike_agreement is None
    assert hidden.spikes_in_common is not None
    assert 0.9 < hidden.spikes_in_common <= hidden.spike_agreement
    assert out.membrane_error < 0.1
