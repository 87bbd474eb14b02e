"""What users have, as the whole numbers that a stream program takes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from bispik.backends.stream.encode import Encoding, encoded
from bispik.backends.stream.read_input import read_input
from bispik.compiler.stream.program import IntegerStreamInput
from bispik.models.errors import BispikError


def _entry(shape: tuple[int, ...] = (3,), low: int = 0, high: int = 1, unit: float = 1.0) -> IntegerStreamInput:
    return IntegerStreamInput(name="input", shape=shape, size=int(np.prod(shape)), low=low, high=high, unit=unit)


def test_whole_numbers_are_sent_as_they_stand() -> None:
    spikes = np.array([[0, 1, 1], [1, 0, 0]], bool)
    assert encoded(_entry(), spikes, Encoding(), "x").tolist() == spikes.astype(int).tolist()
    frames = np.arange(12.0).reshape(2, 1, 2, 3) % 2
    assert encoded(_entry((1, 2, 3)), frames, Encoding(), "x").shape == (2, 6)


def test_currents_are_rounded_to_the_programs_unit_and_held_where_they_have_no_time() -> None:
    entry = _entry(low=-127, high=127, unit=127.0)
    sent = encoded(entry, np.array([0.5, -1.0, 0.004]), Encoding(encoder="current", steps=2), "x")
    assert sent.tolist() == [[64, -127, 1]] * 2


def test_rates_are_drawn_from_a_seed() -> None:
    rates = np.array([0.0, 0.3, 1.0])
    sent = encoded(_entry(), rates, Encoding(encoder="rate", steps=2000, seed=5), "x")
    assert sent.mean(axis=0) == pytest.approx([0.0, 0.3, 1.0], abs=0.05)
    assert (sent == encoded(_entry(), rates, Encoding(encoder="rate", steps=2000, seed=5), "x")).all()


def test_spikes_of_rates_and_deltas_are_one_in_the_programs_unit() -> None:
    entry = _entry(low=-15, high=15, unit=15.0)
    rates = encoded(entry, np.array([0.0, 0.5, 1.0]), Encoding(encoder="rate", steps=50), "x")
    assert sorted(set(rates.ravel().tolist())) == [0, 15]
    ramp = encoded(entry, np.array([[0.0, 0, 0], [2.0, 0, -3.0]]), Encoding(encoder="delta", threshold=1.0), "x")
    assert ramp.tolist() == [[0, 0, 0], [15, 0, -15]]


def test_samples_draw_from_streams_of_their_own() -> None:
    rates = np.array([0.5, 0.5, 0.5])
    first, second = (
        encoded(_entry(), rates, Encoding(encoder="rate", steps=40, seed=1, sample=n), "x") for n in (0, 1)
    )
    assert (first != second).any()


@pytest.mark.parametrize("dt", [1e-3, 1e-4, 3e-4])
def test_events_on_the_boundary_of_a_step_fall_into_it(tmp_path: Path, dt: float) -> None:
    steps = np.arange(2000)
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["events/t"] = np.rint(steps * dt * 1e6)
        file["events/x"], file["events/y"], file["events/p"] = steps * 0, steps * 0, steps * 0
    assert (read_input(tmp_path / "e.h5", _entry((1, 1, 1)), dt) == 1).all()


def test_deltas_follow_a_signal_by_one_threshold_a_step() -> None:
    ramp = np.array([[0.0], [0.4], [1.1], [2.6], [2.6], [1.5], [0.0]])
    sent = encoded(_entry((1,), low=-1), ramp, Encoding(encoder="delta", threshold=1.0), "x")
    assert sent[:, 0].tolist() == [0, 0, 1, 1, 0, 0, -1]


@pytest.mark.parametrize(
    ("values", "encoding", "message"),
    [
        (np.array([[0.5, 0, 0]]), Encoding(), "is no whole number"),
        (np.array([[2, 0, 0]]), Encoding(), "compiled for 0 to 1"),
        (np.array([[1, 0]]), Encoding(), r"shape \(1, 2\), expected \(time steps, 3\)"),
        (np.array([0.1, 0.2, 0.3]), Encoding(encoder="rate"), "--steps"),
        (np.array([[1.5, 0, 0]]), Encoding(encoder="rate"), "probabilities"),
        (np.array([[1.5, 0, 0]]), Encoding(encoder="delta"), "--delta-threshold"),
        (np.array([[np.nan, 0, 0]]), Encoding(), "not finite"),
        (np.array([["a", "b", "c"]]), Encoding(), "not numbers"),
        (np.array([[1, 0, 0]]), Encoding(steps=4), "leave out --steps 4"),
        (np.array([[0.5, 0, 0]]), Encoding(encoder="current"), "compile with --input-bits"),
    ],
)
def test_what_does_not_fit_is_refused(values: np.ndarray, encoding: Encoding, message: str) -> None:
    with pytest.raises(BispikError, match=message):
        encoded(_entry(), values, encoding, "x.npy")


def test_arrays_tables_and_events_say_the_same(tmp_path: Path) -> None:
    spikes = (np.random.default_rng(0).random((5, 8)) < 0.4).astype(int)
    spikes[4, 7] = 1
    entry, dt = _entry((2, 2, 2)), 1e-3
    np.save(tmp_path / "a.npy", spikes)
    np.savetxt(tmp_path / "b.csv", spikes, fmt="%d", delimiter=",")
    steps, channels = np.nonzero(spikes)
    lines = [f"{step},{channel}" for step, channel in zip(steps, channels, strict=True)]
    (tmp_path / "c.csv").write_text("\n".join(["step,channel", *lines]) + "\n")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["events/t"] = steps * 1000 + 500
        file["events/x"], file["events/y"], file["events/p"] = channels % 2, channels // 2 % 2, channels // 4
    with h5py.File(tmp_path / "e.hdf5", "w") as file:
        file["spikes/times"], file["spikes/units"] = steps * dt + dt / 2, channels
    for name in ("a.npy", "b.csv", "c.csv", "d.h5", "e.hdf5"):
        assert encoded(entry, read_input(tmp_path / name, entry, dt), Encoding(), name).tolist() == spikes.tolist()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"\x93NUMPY garbage", "not a NumPy array"),
        ("a.csv", b"1,2,3\n1,2\n", "rows differ in length"),
        ("a.csv", b"step,channel\n0,99\n", "channels 0 to 2"),
        ("a.csv", b"step,channel\n900000000,1\n", "run it in parts"),
        ("a.csv", b"", "holds no rows"),
        ("a.csv", b"step,channel\n3\n", "rows of 1 numbers under the heading"),
        ("a.csv", b"\xff\xfe", "not a table"),
        ("a.h5", b"no hdf5", "no events that can be read"),
        ("a.wav", b"", "input is read from"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BispikError, match=message):
        read_input(tmp_path / name, _entry(), 1e-3)


def test_arrays_that_would_run_code_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(BispikError, match="not a NumPy array"):
        read_input(tmp_path / "a.npy", _entry(), 1e-3)
