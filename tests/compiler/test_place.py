from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.compiler.mapping import MappedProgram, Neurocore
from bispik.compiler.mesh import IntArray, Places, distance, serpentine, stretched, usable_places
from bispik.compiler.partition import partition
from bispik.compiler.place import place
from bispik.compiler.plan import map_program, plan
from bispik.compiler.program import NeuronProgram
from bispik.compiler.refine import RESOLUTION, links_between, refined, total_way
from bispik.compiler.routes import Traffic, expected_traffic, find_multicasts, routes
from bispik.compiler.rules import check
from bispik.compiler.shapes import NetworkShape
from bispik.compiler.target import Target, load_target
from bispik.compiler.traffic import Flows, compare, ways
from bispik.models.errors import BispikError
from tests.compiler.shape_examples import EXAMPLE, OPT_125M, language_model
from tests.mappings import scattered, small_target
from tests.networks import random_program

LOIHI2 = load_target("loihi2")


@cache
def placed(network: NetworkShape, system: str) -> tuple[Neurocore, ...]:
    return place(partition(network, LOIHI2), LOIHI2, LOIHI2.system(system), {}, seed=0)


def mapped_shape(network: NetworkShape, system: str, neurocores: tuple[Neurocore, ...]) -> MappedProgram:
    """A mapping of shapes; the program in it is a stand-in that routes do not look at."""
    return MappedProgram(
        program=random_program(0),
        target=LOIHI2,
        system=LOIHI2.system(system),
        neurocores=neurocores,
        resources=(),
        skew={node.name: 0 for node in network.nodes},
    )


def at(neurocores: tuple[Neurocore, ...], places: Places, order: IntArray) -> tuple[Neurocore, ...]:
    return tuple(
        replace(core, chip=int(places.chip[p]), x=int(places.x[p]), y=int(places.y[p]))
        for core, p in zip(neurocores, order.tolist(), strict=False)
    )


@pytest.mark.parametrize(("network", "system"), [(EXAMPLE, "oheo-gulch"), (OPT_125M, "alia-point")])
def test_messages_have_shorter_ways_than_in_a_random_and_in_a_sequential_placement(
    network: NetworkShape, system: str
) -> None:
    chosen = LOIHI2.system(system)
    neurocores = placed(network, system)
    places = usable_places(LOIHI2, chosen, -(-len(neurocores) // 120))
    by_row = np.lexsort((places.x, places.y, places.chip))
    at_random = np.random.default_rng(0).permutation(len(places.x))

    def cost(cores: tuple[Neurocore, ...]) -> tuple[float, Traffic]:
        traffic = expected_traffic(routes(mapped_shape(network, system, cores)), {})
        return traffic.hops + LOIHI2.mesh.crossing_hops.value * traffic.crossings, traffic

    ours, ours_traffic = cost(neurocores)
    sequential, sequential_traffic = cost(at(neurocores, places, by_row))
    random, random_traffic = cost(at(neurocores, places, at_random))
    assert ours <= 0.25 * random
    assert ours <= 0.8 * sequential
    links = [t.hops + t.crossings for t in (ours_traffic, random_traffic, sequential_traffic)]
    assert links[0] <= 0.25 * links[1]
    assert links[0] <= 0.8 * links[2]
    assert ours_traffic.crossings <= min(sequential_traffic.crossings, random_traffic.crossings)
    assert ours_traffic.messages == random_traffic.messages == sequential_traffic.messages


def test_a_comparison_is_with_the_mean_of_random_placements() -> None:
    system = LOIHI2.system("alia-point")
    neurocores = placed(OPT_125M, "alia-point")
    mapped, places = mapped_shape(OPT_125M, "alia-point", neurocores), usable_places(LOIHI2, system, 12)
    random = np.random.default_rng(0)
    sender, destination = random.integers(0, len(neurocores), (2, 500))
    flows = Flows(sender=sender, destination=destination, messages=random.random(500))
    found = [ways(mapped, places[random.permutation(len(places.x))], flows) for _ in range(100)]
    expected = compare(mapped, flows).random
    for name in ("messages", "inter_chip", "hops", "crossings"):
        assert getattr(expected, name) == pytest.approx(np.mean([getattr(w, name) for w in found]), rel=0.02)


def test_placement_uses_the_fewest_chips_and_no_place_twice() -> None:
    neurocores = placed(OPT_125M, "alia-point")
    assert [core.index for core in neurocores] == list(range(len(neurocores)))
    assert len({core.chip for core in neurocores}) == -(-len(neurocores) // 120)
    assert max(Counter(core.chip for core in neurocores).values()) <= 120
    assert max(Counter((core.chip, core.x, core.y) for core in neurocores).values()) <= 4


def test_placement_is_the_same_for_the_same_seed() -> None:
    cut, system = partition(EXAMPLE, LOIHI2), LOIHI2.system("oheo-gulch")
    first = place(cut, LOIHI2, system, {}, seed=3)
    assert place(cut, LOIHI2, system, {}, seed=3) == first
    assert place(cut, LOIHI2, system, {}, seed=4) != first


def test_placement_follows_the_traffic_that_it_is_told() -> None:
    cut, system = partition(EXAMPLE, LOIHI2), LOIHI2.system("oheo-gulch")
    loud = {node.name: 0.0 for node in EXAMPLE.nodes} | {"block_02/ffn/fc1": 1.0}

    def hops(rates: dict[str, float]) -> float:
        mapped = mapped_shape(EXAMPLE, "oheo-gulch", place(cut, LOIHI2, system, rates, seed=0))
        return expected_traffic(routes(mapped), loud).hops

    assert hops(loud) < hops({})


# --- mesh ---


@pytest.mark.parametrize(("columns", "rows"), [(8, 4), (1, 1), (4, 2), (36, 32), (5, 9), (1, 6)])
def test_the_curve_visits_every_cell_once_and_strips_step_by_step(columns: int, rows: int) -> None:
    cells = list(serpentine(columns, rows))
    assert sorted(cells) == [(x, y) for x in range(columns) for y in range(rows)]
    for (x, y), (next_x, next_y) in pairwise(cells):
        same_strip = y // 4 == next_y // 4
        assert abs(x - next_x) + abs(y - next_y) == 1 or not same_strip


def walk(
    target: Target, columns: int, source: tuple[int, int, int], goal: tuple[int, int, int]
) -> tuple[int, int, int]:
    """Go link by link, first along x and then along y, and count (x hops, y hops, crossings)."""
    width, height = target.mesh.columns.value, target.mesh.rows.value

    def on_mesh(place: tuple[int, int, int]) -> list[int]:
        chip, x, y = place
        return [chip % columns * width + x, chip // columns * height + y]

    here, there, counts = on_mesh(source), on_mesh(goal), [0, 0, 0]
    for axis, size in ((0, width), (1, height)):
        while here[axis] != there[axis]:
            step = 1 if there[axis] > here[axis] else -1
            crosses = here[axis] // size != (here[axis] + step) // size
            here[axis] += step
            counts[2 if crosses else axis] += 1
    return counts[0], counts[1], counts[2]


@given(st.lists(st.integers(0, 32 * 120 - 1), min_size=2, max_size=2))
def test_distances_are_those_of_a_walk_over_the_mesh(indices: list[int]) -> None:
    system = LOIHI2.system("alia-point")
    places = usable_places(LOIHI2, system, system.chips.value)
    ends = places[np.array(indices)]
    way = distance(LOIHI2, system, ends[np.array([0])], ends[np.array([1])])
    first, last = zip(ends.chip.tolist(), ends.x.tolist(), ends.y.tolist(), strict=True)
    x_hops, y_hops, crossings = walk(LOIHI2, system.chip_columns.value, first, last)
    assert (way.x_hops[0], way.y_hops[0], way.crossings[0]) == (x_hops, y_hops, crossings)
    assert way.local[0] == (first == last)
    assert way.inter_chip[0] == (first[0] != last[0])
    x, y = stretched(LOIHI2, system, ends)
    assert abs(x[0] - x[1]) + abs(y[0] - y[1]) == x_hops + y_hops + LOIHI2.mesh.crossing_hops.value * crossings


# --- routes ---


@given(st.integers(0, 1000), st.sampled_from([200, 400, 120_000]), st.booleans(), st.booleans())
@settings(max_examples=20)
def test_every_output_reaches_every_neurocore_that_reads_it_once(
    seed: int, memory: int, pre_spike: bool, block_output: bool
) -> None:
    program = random_program(seed, pre_spike=pre_spike, block_output=block_output)
    mapped = scattered(program, seed, small_target(memory))
    found = find_multicasts([core.slices for core in mapped.neurocores])
    sent: Counter[tuple[int, str, int, int, int]] = Counter()
    for index in range(len(found.nodes)):
        for destination in found.destination[found.offsets[index] : found.offsets[index + 1]].tolist():
            for row in range(int(found.start[index]), int(found.stop[index])):
                sent[int(found.source[index]), found.nodes[index], int(found.first_token[index]), row, destination] += 1
    wanted = {
        (core.index, part.node, part.first_token, row, reader.index)
        for core in mapped.neurocores
        for part in core.slices
        for row in range(part.start, part.stop)
        for reader in mapped.neurocores
        for reading in reader.slices
        for entry in reading.inputs
        if entry.source == part.node and entry.start <= row < entry.stop
    }
    assert set(sent) == wanted
    assert set(sent.values()) <= {1}


def test_expected_traffic_is_linear_in_firing_rates() -> None:
    cut = partition(EXAMPLE, LOIHI2)
    cores = place(cut, LOIHI2, LOIHI2.system("oheo-gulch"), {}, seed=0)
    found = routes(mapped_shape(EXAMPLE, "oheo-gulch", cores))
    silent = {node.name: 0.0 for node in EXAMPLE.nodes}
    assert expected_traffic(found, silent) == Traffic(messages=0, hops=0, crossings=0)
    low, high = (expected_traffic(found, silent | {"block_00/ffn/fc1": rate}) for rate in (0.1, 0.2))
    assert high.messages == pytest.approx(2 * low.messages)
    assert high.hops == pytest.approx(2 * low.hops)
    fc2 = sum(any(part.node == "block_00/ffn/fc2" for part in slices) for slices in cut)
    assert low.messages == pytest.approx(0.1 * 1024 * fc2)


# --- local search ---


def test_the_search_finds_the_best_order_of_a_chain() -> None:
    count = 9
    shuffled = np.random.default_rng(0).permutation(count)
    links = links_between(count, shuffled[:-1], shuffled[1:], np.ones(count - 1))
    x, y = np.arange(count), np.zeros(count, np.int64)
    chosen = min((refined(links, x, y, seed=seed) for seed in range(20)), key=lambda p: total_way(links, x[p], y[p]))
    assert total_way(links, x[chosen], y[chosen]) <= count + 3
    assert sorted(chosen.tolist()) == list(range(count))


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(0, 10))
@settings(max_examples=30)
def test_the_search_never_lengthens_ways_and_uses_no_place_twice(seed: int, count: int, spare: int) -> None:
    random = np.random.default_rng(seed)
    source, destination = random.integers(0, count, (2, 3 * count))
    messages = random.integers(0, 5000, 3 * count) / RESOLUTION
    links = links_between(count, source, destination, messages)
    x, y = random.integers(0, 5, (2, count + spare))
    chosen = refined(links, x, y, seed=seed)
    assert len(set(chosen.tolist())) == count
    assert total_way(links, x[chosen], y[chosen]) <= total_way(links, x[:count], y[:count]) + 1e-9
    start, end = chosen[source], chosen[destination]
    ways = np.abs(x[start] - x[end]) + np.abs(y[start] - y[end])
    assert total_way(links, x[chosen], y[chosen]) == pytest.approx(messages @ ways)


# --- plans ---


def test_the_smallest_system_with_room_is_chosen() -> None:
    assert plan(EXAMPLE, LOIHI2).system == LOIHI2.system("oheo-gulch")
    made = plan(OPT_125M, LOIHI2)
    assert made.system == LOIHI2.system("alia-point")
    assert made.chips == -(-made.neurocores // 120)
    assert plan(EXAMPLE, LOIHI2, "hala-point").system == LOIHI2.system("hala-point")


def test_a_plan_says_what_limits_it() -> None:
    made = plan(EXAMPLE, LOIHI2)
    assert made.limited_by.resource == "synapse_memory"
    assert made.neurocores_lower_bound == made.limited_by.neurocores_at_least
    by_node = made.use_by_node()
    assert list(by_node) == [node.name for node in EXAMPLE.nodes]
    assert by_node["head"]["synapse_memory"] == 2048 * 256
    for use in made.resources:
        assert use.total == sum(row[use.resource] for row in by_node.values())
        assert use.busiest <= use.limit


def test_a_network_too_large_for_the_named_system_is_refused_with_numbers() -> None:
    with pytest.raises(
        BispikError,
        match=r"oheo-gulch: too small: needs 1,\d\d\d neurocores of 120 \(1 chip of 120\), most of them for "
        r"synapse memory: 123,\d\d\d,\d\d\d bytes, 96,000 a neurocore; use --bits 4 or --system alia-point",
    ):
        plan(OPT_125M, LOIHI2, "oheo-gulch")


def test_a_network_too_large_for_every_system_has_a_plan_and_no_mapping() -> None:
    program = random_program(0, layers=1)
    tiny = replace(small_target(memory=200), systems={"oheo-gulch": LOIHI2.system("oheo-gulch")})
    one = replace(tiny, mesh=replace(tiny.mesh, usable_neurocores=replace(tiny.mesh.usable_neurocores, value=1)))
    assert plan(language_model(layers=0, hidden=8, heads=1), one).system is None
    with pytest.raises(BispikError, match=r"oheo-gulch: too small: .* of 1 \(1 chip of 1\)"):
        map_program(program, one)


@pytest.mark.parametrize("neuron_program", ["bispik", "stock"])
def test_a_mapped_program_obeys_every_rule(neuron_program: NeuronProgram) -> None:
    program = random_program(1, neuron_program=neuron_program, reset="hard")
    mapped = map_program(program, small_target(), rates={"embed": 0.3}, seed=5)
    check(mapped)
    assert mapped.chips > 1
    assert mapped.neurocores_lower_bound <= len(mapped.neurocores)
    assert mapped.skew["embed"] == 0
