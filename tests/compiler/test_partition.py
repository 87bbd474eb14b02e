from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bispik.compiler import partition as partition_module
from bispik.compiler.demand import neuron_state_bytes, slice_use
from bispik.compiler.graph import Spikes
from bispik.compiler.mapping import Slice
from bispik.compiler.partition import TIGHT, pack, partition
from bispik.compiler.shapes import NetworkShape, NodeShape, graph_shape, network_shape, program_shape
from bispik.compiler.target import RESOURCES, Limit, Target, load_target
from bispik.models.errors import BispikError
from tests.compiler.graphs import random_graph
from tests.compiler.shape_examples import EXAMPLE, SIZES_1_3B, SIZES_125M, SIZES_350M, Sizes, language_model
from tests.networks import random_program

LOIHI2 = load_target("loihi2")

SMALL_NORM = 300
"""Channels of a norm that fits whole into a neurocore of every one of the targets below."""

models = st.builds(
    lambda head_dim, heads, norm, **shape: language_model(
        hidden=head_dim * heads,
        heads=heads,
        norm=norm and head_dim * heads <= SMALL_NORM,
        **shape,
    ),
    head_dim=st.integers(1, 96),
    heads=st.integers(1, 12),
    layers=st.integers(0, 3),
    inner=st.integers(1, 1500),
    vocabulary=st.integers(1, 3000),
    steps=st.integers(1, 8),
    window=st.integers(1, 2048),
    bits=st.integers(1, 8),
    program=st.sampled_from(["stock", "bispik"]),
    head_on_chip=st.booleans(),
    norm=st.booleans(),
)
targets = st.builds(
    lambda memory, share, word, neurons: with_limits(
        memory=memory, synapse_memory=memory * share // 100, neurons=neurons, synapse_word_bits=word
    ),
    memory=st.integers(30_000, 200_000),
    share=st.integers(60, 120),
    word=st.sampled_from([8, 32, 64]),
    neurons=st.integers(300, 8192),
)


def with_limits(**values: int) -> Target:
    """Loihi 2 with other numbers."""

    limits = {name: Limit(value=value, unit="", source="a test", grade="X") for name, value in values.items()}
    resources = {name: limit for name, limit in limits.items() if name in RESOURCES}
    storage = {name: limit for name, limit in limits.items() if name not in RESOURCES}
    return replace(LOIHI2, resources=replace(LOIHI2.resources, **resources), storage=replace(LOIHI2.storage, **storage))


def lower_bound(neurocores: Sequence[Sequence[Slice]], target: Target) -> int:
    parts = [part for slices in neurocores for part in slices]
    return max(-(-sum(part.use[name] for part in parts) // limit.value) for name, limit in target.resources.items())


def require_everything_stored_once(network: NetworkShape, neurocores: Sequence[Sequence[Slice]]) -> None:
    """Count for every neuron, score neuron and synapse how many slices hold it, one by one."""
    parts: dict[str, list[Slice]] = defaultdict(list)
    for part in (part for slices in neurocores for part in slices):
        parts[part.node].append(part)
    assert list(parts.keys() - {node.name for node in network.nodes}) == []
    for node in network.nodes:
        tokens = network.window if node.kind == "attention" else 1
        held = np.zeros((node.size, tokens), int)
        for part in parts[node.name]:
            last = part.last_token if node.kind == "attention" else 1
            held[part.start : part.stop, part.first_token : last] += 1
        assert (held == 1).all()
        for index, entry in enumerate(node.inputs):
            stored = np.zeros((node.size, node.size if entry.one_to_one else entry.fan_in), np.int8)
            for part in (part for part in parts[node.name] if part.first_token == 0):
                read = part.inputs[index]
                assert (read.index, read.source) == (index if entry.index is None else entry.index, entry.source)
                stored[part.start : part.stop, read.start - entry.first : read.stop - entry.first] += 1
            if not entry.one_to_one:
                assert (stored == 1).all()
            else:
                assert (stored.diagonal() == 1).all()


@given(models, targets)
@settings(max_examples=40)
def test_everything_is_on_one_neurocore_within_its_limits(network: NetworkShape, target: Target) -> None:
    neurocores = partition(network, target)
    require_everything_stored_once(network, neurocores)
    for slices in neurocores:
        assert slices
        for name, limit in target.resources.items():
            assert sum(part.use[name] for part in slices) <= limit.value
    assert len(neurocores) >= lower_bound(neurocores, target)
    assert partition(network, target) == neurocores


@given(models, targets)
@settings(max_examples=40)
def test_heads_are_cut_only_by_stored_tokens_and_only_where_needed(network: NetworkShape, target: Target) -> None:
    found = pack(network, target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition_module, "MOST_PARTS", 1)
        fewest_parts = pack(network, target)
    if len(fewest_parts.neurocores) <= TIGHT * fewest_parts.at_least:
        assert found.neurocores == fewest_parts.neurocores
    assert len(found.neurocores) <= len(fewest_parts.neurocores)
    for node in (node for node in network.nodes if node.kind == "attention"):
        use = slice_use(node, node.head_dim, network.window, network, target)
        fits = all(use[name] <= limit.value for name, limit in target.resources.items())
        assert fits == (len(ranges_of_tokens(node, fewest_parts.slices())) == 1)
        lengths = [last - first for first, last in ranges_of_tokens(node, found.slices())]
        assert max(lengths) - min(lengths) <= 1


def ranges_of_tokens(node: NodeShape, neurocores: Sequence[Sequence[Slice]]) -> set[tuple[int, int]]:
    """The stored tokens that the parts of each head hold; all heads are cut alike, and no head by channels."""
    parts = [part for slices in neurocores for part in slices if part.node == node.name]
    assert all((part.stop - part.start) % node.head_dim == 0 for part in parts)
    ranges: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for part in parts:
        for head in range(part.start, part.stop, node.head_dim):
            ranges[head].add((part.first_token, part.last_token))
    assert all(found == ranges[0] for found in ranges.values())
    return ranges[0]


@pytest.mark.parametrize(("window", "parts"), [(128, 1), (256, 1), (1024, 2), (2048, 2)])
def test_heads_are_cut_where_the_packing_is_not_tight_without(
    window: int, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = language_model(**SIZES_1_3B, window=window)
    neurocores = partition(network, LOIHI2)
    attention = next(node for node in network.nodes if node.name == "block_05/attn/attention")
    assert len(ranges_of_tokens(attention, neurocores)) == parts
    if window == 1024:
        monkeypatch.setattr(partition_module, "MOST_PARTS", 1)
        assert len(neurocores) < len(partition(network, LOIHI2))


def test_attentions_that_read_the_same_node_or_lie_side_by_side_are_laid_out() -> None:
    first = language_model(layers=1, window=2048)
    nodes = list(first.nodes)
    index = next(place for place, node in enumerate(nodes) if node.kind == "attention")
    nodes.insert(index + 1, replace(nodes[index], name="again"))
    network = network_shape(nodes, steps_per_token=4, window=2048)
    require_everything_stored_once(network, partition(network, LOIHI2))


@given(models, targets)
@settings(max_examples=20)
def test_a_norm_lies_on_one_neurocore(network: NetworkShape, target: Target) -> None:
    parts = [part for slices in partition(network, target) for part in slices if part.kind == "norm"]
    sizes = [node.size for node in network.nodes if node.kind == "norm"]
    assert [(part.start, part.stop) for part in parts] == [(0, size) for size in sizes]


def test_a_norm_that_no_neurocore_holds_is_refused_with_its_size() -> None:
    with pytest.raises(
        BispikError,
        match=r"block_00/attn/norm: a norm of 4,096 channels needs neurons 4,096 of 4,095 neurons of a neurocore, and "
        r"it is not cut, for it takes the sum over all channels; use a narrower network",
    ):
        partition(language_model(layers=1, hidden=4096, heads=64, norm=True), LOIHI2)


@pytest.mark.parametrize("bits", [8, 6, 4, 2, 1])
@pytest.mark.parametrize("window", [128, 1024])
def test_the_example_takes_few_neurocores_more_than_any_mapping_must(bits: int, window: int) -> None:
    neurocores = partition(language_model(bits=bits, window=window), LOIHI2)
    assert len(neurocores) <= 1.08 * lower_bound(neurocores, LOIHI2)


@pytest.mark.parametrize("shape", [SIZES_125M, SIZES_350M, SIZES_1_3B], ids=["125m", "350m", "1.3b"])
@pytest.mark.parametrize("window", [256, 1024, 2048])
def test_a_published_size_takes_few_neurocores_more_than_any_mapping_must(shape: Sizes, window: int) -> None:
    for bits in (8, 6, 4, 2, 1):
        packed = pack(language_model(**shape, bits=bits, window=window), LOIHI2)
        assert len(packed.neurocores) <= 1.08 * packed.at_least


@given(models, targets)
@settings(max_examples=20)
def test_what_is_counted_without_slices_is_what_the_slices_say(network: NetworkShape, target: Target) -> None:
    packed = pack(network, target)
    neurocores = packed.slices()
    assert len(packed.neurocores) == len(neurocores)
    for place, name in enumerate(RESOURCES):
        used = [sum(part.use[name] for part in slices) for slices in neurocores]
        assert packed.busiest[place] == max(used)
        assert sum(use[place] for use in packed.use_by_node.values()) == sum(used)


def test_the_example_has_no_slivers_and_slices_of_a_population_lie_side_by_side() -> None:
    neurocores = partition(EXAMPLE, LOIHI2)
    places: dict[str, list[int]] = defaultdict(list)
    for index, slices in enumerate(neurocores):
        for part in slices:
            places[part.node].append(index)
            assert part.stop - part.start >= 16
    for node in EXAMPLE.nodes:
        if any(not entry.one_to_one for entry in node.inputs):
            first, last = min(places[node.name]), max(places[node.name])
            assert last - first + 1 == len(places[node.name])


def test_a_readout_on_the_host_takes_no_neurocore() -> None:
    with_head = partition(program_shape(random_program(0)), LOIHI2)
    without = partition(program_shape(random_program(0, readout_on_chip=False)), LOIHI2)
    assert any(part.node == "head" for slices in with_head for part in slices)
    assert not any(part.node == "head" for slices in without for part in slices)
    assert not any(part.node == "input" for slices in with_head for part in slices)


def test_a_row_that_no_neurocore_holds_is_refused_with_its_name_and_size() -> None:
    with pytest.raises(
        BispikError,
        match=r"block_00/ffn/fc2: one row needs axons in 17,000 of 16,000 axons of a neurocore.*use a narrower layer",
    ):
        partition(language_model(layers=1, inner=17_000), LOIHI2)


def test_a_head_that_cannot_hold_one_token_is_refused() -> None:
    with pytest.raises(BispikError, match=r"block_00/attn/attention: one head with one stored token needs memory"):
        partition(language_model(layers=1, heads=1), with_limits(memory=6_000, synapse_memory=6_000))


def test_the_demand_of_attention_is_that_of_its_keys_values_and_scores() -> None:
    attention = next(node for node in EXAMPLE.nodes if node.kind == "attention")
    use = slice_use(attention, 128, 100, EXAMPLE, LOIHI2)  # two heads of 64 channels
    assert use["neurons"] == 128 + 2 * 100
    assert use["state_memory"] == 3 * 128 + 3 * 200 + 2 * 4 * 100 * 128 // 8
    assert use["synapse_memory"] == 0
    assert (use["axons_in"], use["axons_out"]) == (3 * 128, 128)
    assert use["memory"] == use["state_memory"] + 6 * (3 * 128 + 128)
    assert neuron_state_bytes(attention, EXAMPLE, LOIHI2) == 3 + 2 * 4 * 64 // 8


@pytest.mark.parametrize(("spikes", "bits"), [("binary", 1), ("ternary", 2)])
def test_a_stored_spike_with_a_sign_takes_two_bits(spikes: Spikes, bits: int) -> None:
    heads, head_dim, window, steps = 2, 4, 8, 3
    program = random_program(1, spikes=spikes, heads=heads, head_dim=head_dim, window=window, steps=steps)
    network = program_shape(program)
    (attention, _) = [node for node in network.nodes if node.kind == "attention"]
    outputs = heads * head_dim * LOIHI2.state.attention_output.value
    scores = heads * window
    stored = -(-scores * 2 * steps * head_dim * bits // 8)
    use = slice_use(attention, heads * head_dim, window, network, LOIHI2)
    assert use["state_memory"] == outputs + scores * LOIHI2.state.score.value + stored


def test_the_demand_of_a_population_is_that_of_its_rows() -> None:
    fc1 = next(node for node in language_model(bits=4).nodes if node.name.endswith("fc1"))
    use = slice_use(fc1, 10, 0, EXAMPLE, LOIHI2)
    assert use == {
        "neurons": 10,
        "synapse_memory": 10 * 256 // 2,
        "state_memory": 10 * 12,
        "axons_in": 256,
        "axons_out": 10,
        "memory": 10 * 128 + 10 * 12 + 6 * 266,
    }
    words = with_limits(synapse_word_bits=64)
    assert slice_use(fc1, 17, 0, EXAMPLE, words)["synapse_memory"] == 256 * 2 * 8  # 17 * 4 bits fill two words an axon


def test_the_host_writes_the_embedding_past_synapses_and_axons() -> None:
    embed = EXAMPLE.nodes[0]
    use = slice_use(embed, 256, 0, EXAMPLE, LOIHI2)
    assert (use["synapse_memory"], use["axons_in"]) == (0, 0)
    assert use["axons_out"] == 256 * 2  # the first block's input and its residual join


def test_a_graph_has_the_shape_that_its_program_will_have() -> None:
    graph = random_graph()
    size = graph.nodes[0].size
    shape = graph_shape(graph, bits=8, window=4, head_on_chip=False)
    assert [node.name for node in shape.nodes] == [
        node.name for node in graph.nodes if node.name not in ("input", "head")
    ]
    query = next(node for node in shape.nodes if node.name == "block_00/attn/query")
    assert [(entry.source, entry.fan_in, entry.one_to_one, entry.bits) for entry in query.inputs] == [
        ("block_00/attn/input", size, False, 8)
    ]
    assert shape.nodes[0].inputs[0].host
    program = program_shape(random_program(0))
    assert [node.kind for node in program.nodes[:-1]] == [node.kind for node in shape.nodes]
