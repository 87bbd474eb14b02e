"""SANA-FE counts and prices replays of ours as we do."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.backends.reference import ReferenceSession
from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.compiler.stream.mapping import MappedStream, map_stream
from bispik.compiler.stream.program import StreamProgram
from bispik.compiler.stream.wiring import Dense, OneToOne, Wiring
from bispik.compiler.target import load_target
from bispik.energy.profiles import Profile, load_profile
from bispik.energy.sanafe import Replay, language_replay, stream_replay, write_sanafe
from tests.mappings import scattered, small_target
from tests.networks import random_program, random_tokens
from tests.stream.layers import CONVOLUTION, one_layer, row
from tests.stream.mappings import mapped_small
from tests.stream.random_programs import programs, random_input

sanafe = pytest.importorskip("sanafe")  # no wheel for this Python or processor

SANAFE = load_profile("loihi1-sanafe")


def simulated(replay: Replay, profile: Profile, folder: Path, timing: str = "simple") -> dict[str, Any]:
    """What SANA-FE finds in the files that are written for it."""
    write_sanafe(replay, profile, folder)
    architecture = sanafe.load_arch(folder / "architecture.yaml")
    chip = sanafe.SpikingChip(architecture)
    chip.load(sanafe.load_net(folder / "network.yaml", architecture))
    found: dict[str, Any] = chip.sim(replay.steps + 1, timing_model=timing, perf_trace=True)
    return found


def check(replay: Replay, profile: Profile, folder: Path) -> None:
    found, expected = simulated(replay, profile, folder), replay.expected
    assert found["spikes"] == expected.synops
    assert found["packets_sent"] == expected.messages
    assert sum(found["perf_trace"]["hops"]) == expected.hops
    assert found["neurons_fired"] == expected.fired
    assert found["neurons_updated"] == expected.updated
    energy = found["energy"]
    assert energy["synapse"] == pytest.approx(expected.synapse_joules, rel=1e-6)
    assert energy["soma"] == pytest.approx(expected.soma_joules, rel=1e-6)
    if expected.network_joules is not None:
        assert energy["network"] == pytest.approx(expected.network_joules, rel=1e-6)
        assert energy["total"] == pytest.approx(expected.joules, rel=1e-6)


def stream(mapped: MappedStream, seed: int = 0, steps: int = 5) -> Replay:
    values = random_input(mapped.program, np.random.default_rng(seed), steps)
    return stream_replay(mapped, ReferenceStreamSession(mapped.program).feed(values), SANAFE)


@pytest.mark.parametrize("wiring", [Dense(inputs=30, outputs=40), CONVOLUTION, OneToOne(size=9), row(20, 30, 4)])
@pytest.mark.parametrize("small", [False, True])
def test_one_layer(wiring: Wiring, small: bool, tmp_path: Path) -> None:
    program = one_layer(wiring)
    check(stream(mapped_small(program) if small else map_stream(program, load_target("loihi2"))), SANAFE, tmp_path)


@settings(max_examples=25, deadline=None)
@given(programs(), st.integers(0, 99))
def test_random_networks_on_many_neurocores(program: StreamProgram, seed: int) -> None:
    replay = stream(mapped_small(program), seed)
    with TemporaryDirectory() as folder:
        check(replay, SANAFE, Path(folder))


FORMS: tuple[dict[str, Any], ...] = (
    {},
    {"pre_spike": False},
    {"mixed_spike": True, "block_output": True},
    {"norm": True, "stream": True},
    {"readout_on_chip": False, "spikes": "ternary"},
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("neurocores", [6, 60])
def test_language_models(form: dict[str, Any], neurocores: int, tmp_path: Path) -> None:
    """Whole networks; on one chip joules are compared too."""
    program = random_program(1, heads=2, **form)
    mapped = scattered(
        program, 0, small_target(memory=4000 if neurocores == 60 else 1500, neurocores_per_chip=neurocores)
    )
    activity = ReferenceSession(program).feed(random_tokens(program, 0)[:3])
    replay = language_replay(mapped, activity, SANAFE)
    assert (replay.expected.joules is not None) == (mapped.chips == 1)
    check(replay, SANAFE, tmp_path)


def test_more_neurons_than_a_unit_has(tmp_path: Path) -> None:
    replay = stream(map_stream(one_layer(Dense(inputs=3, outputs=2500)), load_target("loihi2")), steps=2)
    assert any(receiver.size > 1024 for receiver in replay.receivers)
    check(replay, SANAFE, tmp_path)


def test_sanafe_models_the_waiting_for_links_in_it(tmp_path: Path) -> None:
    replay = stream(mapped_small(one_layer(CONVOLUTION)))
    found = simulated(replay, SANAFE, tmp_path, timing="detailed")
    assert found["packets_sent"] == replay.expected.messages
    assert found["sim_time"] > 0


def test_the_profile_has_the_constants_of_sanafes_own_loihi() -> None:
    sheet = (files("sanafe") / "examples" / "loihi.yaml").read_text(encoding="utf-8")

    def joules(name: str, place: int = 0) -> float:
        return float(re.findall(rf"{name}: ([\d.e-]+)", sheet)[place])

    ours = {
        "synop_dense": joules("energy_process_spike"),
        "synop_sparse": joules("energy_process_spike", 1),
        "synop_shared": joules("energy_process_spike", 2),
        "update_inactive": joules("energy_access_neuron"),
        "update_active": joules("energy_access_neuron") + joules("energy_update_neuron"),
        "spike": joules("energy_spike_out"),
        "message": joules("energy_message_out"),
        "hop_x": joules("energy_east_hop"),
        "hop_y": joules("energy_north_hop"),
        "message_local": 0.0,
    }
    assert {name: SANAFE[name].default for name in ours} == pytest.approx(ours)
