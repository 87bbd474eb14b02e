"""What must hold of every mapping of every stream program, held against walks over single synapses."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bispik.backends.stream.activity import StreamActivity
from bispik.backends.stream.counts import StreamEvent, count_stream
from bispik.backends.stream.reference import ReferenceStreamSession, StreamNeuronState
from bispik.backends.stream.run import counted_stream
from bispik.compiler.mapping import Slice
from bispik.compiler.mesh import distance
from bispik.compiler.routes import places_of
from bispik.compiler.stream.artifact import load_stream, save_stream
from bispik.compiler.stream.layout import layout_of
from bispik.compiler.stream.mapping import MappedStream
from bispik.compiler.stream.program import IntegerStreamNeurons, IntegerStreamProjection, StreamProgram
from bispik.compiler.stream.readers import home, message_links, readers
from bispik.compiler.stream.wiring import Convolution, OneToOne, Sparse
from tests.stream.mappings import mapped_small
from tests.stream.random_programs import programs, random_input

Matrix = npt.NDArray[np.int64]

WAYS: tuple[StreamEvent, ...] = ("message", "hop_x", "hop_y", "chip_crossing", "message_local", "message_interchip")


@settings(max_examples=60, deadline=None)
@given(programs(), st.integers(0, 99))
def test_a_mapped_program_gives_the_spikes_of_the_unmapped_one(program: StreamProgram, seed: int) -> None:
    mapped, values = mapped_small(program), random_input(program, np.random.default_rng(seed), 9)
    expected = ReferenceStreamSession(program).feed(values)
    found = run_mapped(mapped, values)
    for name, sent in expected.sent.items():
        np.testing.assert_array_equal(found[name], sent)


def run_mapped(mapped: MappedStream, values: npt.NDArray[np.int32]) -> dict[str, Matrix]:
    """Run neurocore by neurocore: a slice has the synapses of its rows from the sources that its inputs let in."""
    program, steps = mapped.fabric, len(values)
    sent = {program.input.name: values.astype(np.int64)}
    sent |= {population.name: np.zeros((steps, population.size), np.int64) for population in program.populations}
    states: dict[tuple[str, int], StreamNeuronState] = {}
    stored: dict[tuple[str, int, int], Matrix] = {}
    slices = {p.name: [s for c in mapped.neurocores for s in c.slices if s.node == p.name] for p in program.populations}
    for part in (part for parts in slices.values() for part in parts):
        rows = rows_of(program, part)
        states[part.node, part.start] = StreamNeuronState(some(program.population(part.node).neurons, rows))
        for place, entry in enumerate(part.inputs):
            projection = program.population(part.node).inputs[place]
            kept = weight_matrix(projection)[rows, entry.start : entry.stop]
            stored[part.node, part.start, place] = kept << projection.exponent
    for step in range(steps):
        for population in program.populations:
            for part in slices[population.name]:
                current = np.zeros(part.stop - part.start, np.int64)
                for place, entry in enumerate(part.inputs):
                    then = step - population.inputs[place].delay
                    if then >= 0:
                        arriving = sent[entry.source][then, entry.start : entry.stop]
                        current += stored[part.node, part.start, place] @ arriving
                state = states[part.node, part.start]
                state.step(current)
                sent[population.name][step, rows_of(program, part)] += state.sent
    return sent


@settings(max_examples=60, deadline=None)
@given(programs())
def test_every_synapse_is_stored_once(program: StreamProgram) -> None:
    mapped = mapped_small(program)
    held = {(p.name, i): synapse_matrix(e) * 0 for p in program.populations for i, e in enumerate(p.inputs)}
    for part in (part for core in mapped.neurocores for part in core.slices):
        assert [entry.index for entry in part.inputs] == list(range(len(program.population(part.node).inputs)))
        for entry in part.inputs:
            assert entry.source == program.population(part.node).inputs[entry.index].source
            held[part.node, entry.index][rows_of(program, part), entry.start : entry.stop] += 1
    for (name, index), count in held.items():
        exists = synapse_matrix(program.population(name).inputs[index]) > 0
        assert (count[exists] == 1).all()


@settings(max_examples=60, deadline=None)
@given(programs())
def test_no_neurocore_holds_more_than_the_sheet_allows(program: StreamProgram) -> None:
    """Neurons, axons and bytes are added up row by row and axon by axon, not taken from what the slices say."""
    mapped = mapped_small(program)
    limits = {name: limit.value for name, limit in mapped.target.resources.items()}
    for core in mapped.neurocores:
        used = dict.fromkeys(limits, 0)
        for part in core.slices:
            for name, amount in walked_use(part, mapped).items():
                used[name] += amount
        assert used == {name: core.used(name) for name in limits}
        assert all(used[name] <= limit for name, limit in limits.items())


def walked_use(part: Slice, mapped: MappedStream) -> dict[str, int]:
    """What a slice takes of each resource."""
    program, storage = mapped.fabric, mapped.target.storage
    population, rows = program.population(part.node), rows_of(program, part)
    word = storage.synapse_word_bits.value
    axons_in = synapse_bytes = waiting = 0
    for index, entry in enumerate(population.inputs):
        reaches = synapse_matrix(entry)[rows].sum(axis=0)
        axons, size = np.flatnonzero(reaches), len(rows)
        index_bits = max(1, (mapped.target.resources.neurons.value - 1).bit_length())
        as_matrix = sum(in_words(size * entry.bits, word) for _ in axons)
        match entry.wiring:
            case Convolution():
                channels = {int(row) // entry.wiring.sharing for row in rows}
                bits = sum(in_words(int(np.prod(entry.weight.shape[1:])) * entry.bits, word) for _ in channels)
            case Sparse():
                bits = sum(in_words(int(reaches[axon]) * (entry.bits + index_bits), word) for axon in axons)
                bits = min(bits, as_matrix)
            case OneToOne():
                bits = sum(in_words(entry.bits, word) for _ in axons)
            case _:
                bits = as_matrix
        numbers = max(program.input.high, -program.input.low).bit_length() + (program.input.low < 0)
        graded = entry.source == program.input.name and (program.input.low < 0 or program.input.high > 1)
        waiting += -(-len(axons) * mapped.timing.waits[part.node, index] * (numbers if graded else 1) // 8)
        axons_in += len(axons)
        synapse_bytes += -(-bits // 8)
    neurons, is_sum = population.neurons, part.kind == "partial"
    state = (mapped.target.state.join if is_sum else mapped.target.state.bispik).value
    state += 3 * bool((neurons.current_decay != 4096).any())
    state += 3 * any(len(np.unique(decay)) > 1 for decay in (neurons.decay, neurons.current_decay))
    read_by = sum(entry.source == part.node for other in program.populations for entry in other.inputs)
    read_by += program.output == part.node and neurons.output == "spikes"
    state_bytes, axons_out = len(rows) * state + waiting, len(rows) * read_by
    tables = axons_in * storage.axon_in_bytes.value + axons_out * storage.axon_out_bytes.value
    return {
        "neurons": len(rows),
        "memory": synapse_bytes + state_bytes + tables,
        "synapse_memory": synapse_bytes,
        "state_memory": state_bytes,
        "axons_in": axons_in,
        "axons_out": axons_out,
    }


@settings(max_examples=40, deadline=None)
@given(programs(), st.integers(0, 99))
def test_traffic_computed_from_the_mapping_is_what_the_simulator_counts(program: StreamProgram, seed: int) -> None:
    """Each neuron's spikes times the ways to the neurocores that read it, against the events of the engine."""
    mapped, values = mapped_small(program), random_input(program, np.random.default_rng(seed), 9)
    counts = counted_stream(mapped, values, "sim").counts
    activity = ReferenceStreamSession(program).feed(values)
    neurocores, places = [core.slices for core in mapped.neurocores], places_of(mapped)
    found: dict[StreamEvent, int] = dict.fromkeys(WAYS, 0)
    for population in program.populations:
        if population.neurons.output != "spikes":
            continue
        spikes, at = activity.sent[population.name].sum(axis=0), home(neurocores, population)
        for reader in readers(program, neurocores, population.name):
            way = distance(mapped.target, mapped.system, places[at], places[np.full_like(at, reader.neurocore)])
            sent = spikes * reader.reads
            each = (np.ones_like(at), way.x_hops, way.y_hops, way.crossings, way.local, way.inter_chip)
            for event, ways in zip(WAYS, each, strict=True):
                found[event] += int(sent @ ways)
    assert found == {event: counts.total(event) for event in found}


@settings(max_examples=20, deadline=None)
@given(programs())
def test_traffic_that_placement_expects_is_counted_where_every_neuron_spikes(program: StreamProgram) -> None:
    mapped, steps = mapped_small(program), 3
    full = StreamActivity(
        first_step=0,
        input=np.ones((steps, program.input.size), np.int32),
        sent={p.name: np.ones((steps, p.size), np.int32) for p in program.populations},
        membranes={},
        saturations={p.name: 0 for p in program.populations},
    )
    rates = {population.name: 1.0 for population in program.populations}
    neurocores = [core.slices for core in mapped.neurocores]
    links = message_links(program, neurocores, rates)
    own = 0
    for population in program.populations:
        at = home(neurocores, population)
        for reader in readers(program, neurocores, population.name):
            own += int(((at == reader.neurocore) & reader.reads).sum())
    counts = count_stream(mapped, full)
    assert counts.total("message") == steps * (links.weight.sum() / 2 + own)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(programs())
def test_the_same_program_gives_a_byte_identical_file(tmp_path: Path, program: StreamProgram) -> None:
    first, second = tmp_path / "first.bspk", tmp_path / "second.bspk"
    for path in (first, second):
        save_stream(mapped_small(program), path)
    assert first.read_bytes() == second.read_bytes()
    save_stream(load_stream(first), second)
    assert first.read_bytes() == second.read_bytes()


def in_words(bits: int, word: int) -> int:
    return -(-bits // word) * word


def rows_of(program: StreamProgram, part: Slice) -> Matrix:
    """The neurons of a slice."""
    return layout_of(program.population(part.node)).neuron[part.start : part.stop]


def weight_matrix(entry: IntegerStreamProjection) -> Matrix:
    """(outputs, inputs)"""
    every = np.eye(entry.wiring.inputs, dtype=np.int64)
    matrix: Matrix = entry.wiring.apply(entry.weight.astype(np.int64), every).T
    return matrix


def synapse_matrix(entry: IntegerStreamProjection) -> Matrix:
    """(outputs, inputs): 1 where there is a synapse, of whatever weight."""
    return weight_matrix(replace(entry, weight=np.ones_like(entry.weight)))


def some(neurons: IntegerStreamNeurons, rows: Matrix) -> IntegerStreamNeurons:
    """Some of the neurons."""
    values: dict[str, Any] = {f.name: getattr(neurons, f.name) for f in fields(neurons)}
    arrays: dict[str, Any] = {name: a[rows] for name, a in values.items() if isinstance(a, np.ndarray)}
    return replace(neurons, **arrays)
