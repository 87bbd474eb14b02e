"""Stream programs on disk: the same bytes for the same program, and nothing that does not fit together gets in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from bispik.backends.stream.reference import ReferenceStreamSession
from bispik.compiler.artifact import file_format, load, load_program, save
from bispik.compiler.container import read_header
from bispik.compiler.stream.artifact import STREAM, check_mapped_stream, load_stream, save_stream
from bispik.compiler.stream.mapping import MappedStream, map_stream
from bispik.compiler.stream.program import StreamPopulationReport, StreamProgram, StreamVerification
from bispik.compiler.stream.wiring import Convolution, Dense, Sparse
from bispik.compiler.target import load_target
from bispik.models.errors import BispikError
from tests.stream.layers import CONVOLUTION, one_layer, row
from tests.stream.mappings import mapped_small
from tests.stream.random_programs import programs, random_input

Change = Callable[[MappedStream], MappedStream]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(programs())
def test_a_loaded_program_runs_and_saves_to_the_same_bytes(tmp_path: Path, program: StreamProgram) -> None:
    report = StreamPopulationReport(
        name="p0",
        spike_agreement=None,
        spikes_in_common=None,
        membrane_error=0.1,
        saturations=0,
        firing_rate_float=0.2,
        firing_rate_integer=0.25,
    )
    verification = StreamVerification(
        steps=9, input="a test", spike_agreement=0.9, spikes_in_common=0.8, populations=(report,)
    )
    mapped = mapped_small(replace(program, verification=verification))
    first, second = tmp_path / "a.bspk", tmp_path / "b.bspk"
    save_stream(mapped, first)
    loaded = load_stream(first)
    save_stream(loaded, second)
    assert first.read_bytes() == second.read_bytes()
    assert loaded.neurocores == mapped.neurocores
    assert loaded.program.verification == verification
    values = random_input(program, np.random.default_rng(0), 5)
    ours, theirs = (ReferenceStreamSession(each).feed(values) for each in (program, loaded.program))
    for name in ours.sent:
        np.testing.assert_array_equal(ours.sent[name], theirs.sent[name])


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.bspk"
    save_stream(mapped(), path)
    assert file_format(path) == "bispik-stream"
    with pytest.raises(BispikError, match=r"not a compiled program: it does not say that it is a 'bispik-program'"):
        load_program(path)


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bspk"
    save(mapped(), replace(STREAM, version="0"), path)
    with pytest.raises(BispikError, match=r"version 0 of a compiled stream program; this bispik reads version 2"):
        load_stream(path)


def test_a_manifest_of_another_form_is_refused(tmp_path: Path) -> None:
    """A tuple of another length, and a wiring of a kind that there is not."""
    path = tmp_path / "a.bspk"
    save_stream(mapped(), path)
    with path.open("rb") as file:
        text = read_header(file).texts["manifest"]
    assert json.loads(text)["program"]["populations"][0]["inputs"][0]["wiring"]["kernel"] == [3, 3]

    def wiring(found: MappedStream, **changes: Any) -> MappedStream:
        return projection(wiring=replace(CONVOLUTION, **changes))(found)

    save(wiring(mapped(), kernel=(3, 3, 3)), STREAM, path)
    with pytest.raises(BispikError, match=r"inputs/0/wiring/kernel: .* where a list of 2 is expected"):
        load(MappedStream, STREAM, path)
    save(projection(wiring=mapped().program.input)(mapped()), STREAM, path)
    with pytest.raises(BispikError, match=r"inputs/0/wiring: 'IntegerStreamInput' where a known type is expected"):
        load(MappedStream, STREAM, path)


def mapped(program: StreamProgram | None = None) -> MappedStream:
    return map_stream(program or one_layer(CONVOLUTION), load_target("loihi2"))


def program_with(**values: Any) -> Change:
    return lambda found: replace(found, program=replace(found.program, **values))


def entry(**values: Any) -> Change:
    return lambda found: program_with(input=replace(found.program.input, **values))(found)


def population(**values: Any) -> Change:
    return lambda found: program_with(populations=(replace(found.program.populations[0], **values),))(found)


def neurons(**values: Any) -> Change:
    return lambda found: population(neurons=replace(found.program.populations[0].neurons, **values))(found)


def projection(**values: Any) -> Change:
    return lambda found: population(inputs=(replace(found.program.populations[0].inputs[0], **values),))(found)


def wiring(**values: Any) -> Change:
    return projection(wiring=replace(CONVOLUTION, **values))


def sparse(**values: Any) -> Change:
    pattern = replace(row(256, 128, 2), **values)
    return projection(wiring=pattern, weight=np.ones(pattern.weight_shape, np.int8))


def slices(**values: Any) -> Change:
    def change(found: MappedStream) -> MappedStream:
        core = found.neurocores[0]
        return replace(found, neurocores=(replace(core, slices=(replace(core.slices[0], **values),)),))

    return change


def core(**values: Any) -> Change:
    return lambda found: replace(found, neurocores=(replace(found.neurocores[0], **values),))


def target(table: str, name: str) -> Change:
    def change(found: MappedStream) -> MappedStream:
        entries = getattr(found.target, table)
        changed = replace(entries, **{name: replace(getattr(entries, name), value=0)})
        return replace(found, target=replace(found.target, **{table: changed}))

    return change


FULL = np.zeros(256, np.int32)
HOSTILE: dict[str, tuple[Change, str]] = {
    "semantics": (program_with(semantics_version=9), r"made for stream semantics 9, this bispik runs 1"),
    "no populations": (program_with(populations=(), membrane_scale={}), r"no population"),
    "output": (program_with(output="q"), r"the host reads q, which is not there"),
    "dt": (program_with(dt=float("nan")), r"time steps of nan s"),
    "bits": (program_with(bits=0), r"0 bits"),
    "scale of others": (program_with(membrane_scale={}), r"membrane scales of other populations"),
    "scale": (program_with(membrane_scale={"p": np.zeros(256)}), r"p: membrane scales that are no positive numbers"),
    "input above 0": (entry(low=1), r"input: input from 1 to 1"),
    "input of 17 bits": (entry(high=1 << 16), r"input: input from 0 to 65536"),
    "unit": (entry(unit=0.0), r"input: a unit of 0.0"),
    "input shape": (entry(shape=(3, 5)), r"input: shape \(3, 5\) for 128 channels"),
    "input size": (entry(size=1 << 40, shape=(1 << 40,)), r"input: shape \(1099511627776,\)"),
    "name": (population(name="input"), r"(two nodes have this name|reads p)"),
    "population shape": (population(shape=(255,)), r"p: shape \(255,\) for 256 channels"),
    "no input": (population(inputs=()), r"p: no input"),
    "no neurons": (neurons(threshold=np.array(3, np.int32)), r"p: no neurons"),
    "current decay": (neurons(current_decay=FULL), r"p: current_decay from 0 to 0, not 1 to 4,096"),
    "decay": (neurons(decay=FULL + 4097), r"p: decay from 4,097 to 4,097, not 0 to 4,096"),
    "threshold": (neurons(threshold=FULL - (1 << 24)), r"p: threshold from -16,777,216"),
    "bias": (neurons(bias=FULL[:5]), r"p: bias is not one number a neuron"),
    "subtract": (neurons(subtract=FULL + 3), r"p: something to subtract without a soft reset"),
    "reset of membranes": (neurons(output="membrane"), r"p: a reset of neurons that do not spike"),
    "source": (projection(source="q"), r"p from q: this source is not there"),
    "loop without delay": (projection(source="p"), r"p from p: no delay, and this source does not come before it"),
    "delay": (projection(delay=4097), r"p from input: a delay of 4097, not 0 to 4096"),
    "negative delay": (projection(delay=-1), r"p from input: a delay of -1"),
    "exponent": (projection(exponent=31), r"p from input: exponent 31, not 0 to 30"),
    "weight bits": (projection(bits=99), r"p from input: 99 bits a weight"),
    "weight shape": (projection(weight=np.ones((3, 3), np.int8)), r"p from input: weights of shape \(3, 3\), expected"),
    "weight": (projection(weight=np.full((4, 2, 3, 3), -128, np.int8)), r"p from input: a weight of -128"),
    "current": (projection(exponent=20), r"p: a current could reach [\d,]+ of 8,388,607"),
    "wiring ends": (projection(wiring=Dense(inputs=128, outputs=6)), r"synapses of 128 to 6 neurons between 128 and 2"),
    "negative wiring": (projection(wiring=Dense(inputs=-1, outputs=256)), r"synapses of -1 to 256 neurons"),
    "stride": (wiring(stride=(0, 1)), r"a kernel, stride, dilation or padding outside of"),
    "padding": (wiring(padding=(-1, 1)), r"a kernel, stride, dilation or padding outside of"),
    "dilation": (wiring(dilation=(1, 1 << 30)), r"a kernel, stride, dilation or padding outside of"),
    "kernel": (wiring(kernel=(0, 3)), r"a kernel, stride, dilation or padding outside of"),
    "groups": (wiring(groups=3), r"3 groups of 2 and 4 channels"),
    "no groups": (wiring(groups=0), r"0 groups of 2 and 4 channels"),
    "target": (wiring(target=(4, 0, 64)), r"an empty map"),
    "beyond": (wiring(stride=(9, 9)), r"rows whose kernel lies wholly beyond the source"),
    "sparse starts": (sparse(starts=np.zeros(3, np.int64)), r"rows that are not listed"),
    "sparse rows": (sparse(starts=np.arange(257)[::-1].copy()), r"rows that do not follow each other"),
    "sparse sources": (sparse(sources=np.full(512, 128, np.int32)), r"synapses from neurons that are not there"),
    "sparse twice": (sparse(sources=np.zeros(512, np.int32)), r"a row whose sources do not ascend"),
    "sparse empty": (sparse(outputs=0), r"synapses of no neurons"),
    "sparse scalar": (sparse(sources=np.array(1, np.int32)), r"rows that are not listed"),
    "skew": (lambda found: replace(found, skew={}), r"its skews are not those of its populations"),
    "place": (core(x=9), r"neurocore 0 lies nowhere on oheo-gulch"),
    "chip": (core(chip=1), r"neurocore 0 lies nowhere on oheo-gulch"),
    "index": (core(index=3), r"neurocore 0 lies nowhere on oheo-gulch"),
    "rows": (slices(stop=255), r"p: not on neurocores exactly once"),
    "rows beyond": (slices(stop=257), r"p: rows 0 to 257"),
    "node": (slices(node="q"), r"q: a neurocore holds what is not there"),
    "kind": (slices(kind="attention"), r"p: a neurocore holds what is not there"),
    "mesh": (target("mesh", "columns"), r"a mesh or system of an impossible size"),
    "word": (target("storage", "synapse_word_bits"), r"a neurocore of an impossible size"),
    "limits": (target("resources", "neurons"), r"a neurocore of an impossible size"),
    "resources": (lambda found: replace(found, resources=()), r"the use of other resources than a neurocore has"),
    "tokens": (slices(last_token=4), r"p: stored tokens in a stream"),
}


def test_a_good_program_is_taken() -> None:
    check_mapped_stream(mapped(), "file")


@pytest.mark.parametrize("case", HOSTILE)
def test_what_does_not_fit_together_is_refused_by_name(case: str) -> None:
    change, message = HOSTILE[case]
    with pytest.raises(BispikError, match=message):
        check_mapped_stream(change(mapped()), "file")


def test_a_history_beyond_memory_is_refused() -> None:
    large = 1 << 17
    pattern = Sparse(inputs=large, outputs=1, starts=np.array([0, 1], np.int64), sources=np.array([0], np.int32))
    with pytest.raises(BispikError, match=r"with a delay of 4,096 steps: a run had to remember 537,.* use shorter"):
        mapped(one_layer(pattern, delay=4096))


def test_a_convolution_may_read_its_padding() -> None:
    far = Convolution(
        source=(1, 1, 1), target=(1, 1, 1), kernel=(3, 3), stride=(1, 1), padding=(0, 0), dilation=(2, 2), groups=1
    )
    check_mapped_stream(mapped(one_layer(far)), "file")
