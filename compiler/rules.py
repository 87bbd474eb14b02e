"""Design rules: what a mapped program must satisfy. Each function is one rule and bears the sentence that it checks.

A rule yields a message for each violation: where, what, by how much, and what to do. Rules on the integers of a program
are in `rules_integers`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from bispik.compiler.bounds import output_ranges, weight_range
from bispik.compiler.demand import neuron_state_bytes
from bispik.compiler.fan_in import with_parts
from bispik.compiler.mapping import Mapped, MappedProgram, Neurocore, Slice
from bispik.compiler.program import IntegerPopulation, IntegerReadout
from bispik.compiler.rules_integers import PROGRAM_RULES
from bispik.compiler.shapes import NetworkShape, program_shape
from bispik.compiler.target import Target
from bispik.models.errors import BispikError


def check(mapped: MappedProgram) -> None:
    """Check every rule.

    Raises:
        BispikError: with the first violation, the name of its rule, and how many more there are.
    """
    network = with_parts(program_shape(mapped.program), mapped.parts)
    sums = ((partial_sums_fit_their_payload.__name__, text) for text in partial_sums_fit_their_payload(mapped))
    raise_first([*placement_violations(mapped, network), *_program_violations(mapped), *sums])


def raise_first(violations: Sequence[tuple[str, str]]) -> None:
    """Raise a BispikError of the first (rule, message), if there is one."""
    if violations:
        more = f" (and {len(violations) - 1:,} more)" if len(violations) > 1 else ""
        rule, text = violations[0]
        raise BispikError(f"{text} [{rule}]{more}")


# --- One neurocore ---


def neurons_fit(neurocore: Neurocore, target: Target) -> Iterator[str]:
    """Neurons are no more than a neurocore has."""
    return _fits(neurocore, target, "neurons", "use a smaller --window")


def memory_fits(neurocore: Neurocore, target: Target) -> Iterator[str]:
    """Synapses, state and axon tables fit into the pool."""
    return _fits(neurocore, target, "memory", "use --bits 4 or a smaller --window")


def synapse_memory_fits(neurocore: Neurocore, target: Target) -> Iterator[str]:
    """Weights fit into the share of the pool that may hold them."""
    return _fits(neurocore, target, "synapse_memory", "use --bits 4")


def state_memory_fits(neurocore: Neurocore, target: Target) -> Iterator[str]:
    """Neuron state, keys and values fit into the share of the pool that may hold them."""
    return _fits(neurocore, target, "state_memory", "use a smaller --window")


def axons_in_fit(neurocore: Neurocore, target: Target) -> Iterator[str]:
    """Axons in are no more than a neurocore has."""
    return _fits(neurocore, target, "axons_in", "use a smaller layer")


def axons_out_fit(neurocore: Neurocore, target: Target) -> Iterator[str]:
    """Axons out are no more than a neurocore has."""
    return _fits(neurocore, target, "axons_out", "use a smaller layer")


def neurocore_lies_on_the_mesh(neurocore: Neurocore, target: Target) -> Iterator[str]:
    """The router exists."""
    columns, rows = target.mesh.columns.value, target.mesh.rows.value
    if not (0 <= neurocore.x < columns and 0 <= neurocore.y < rows):
        place = f"({neurocore.x}, {neurocore.y})"
        yield f"neurocore {neurocore.index}: lies at {place}, but a chip has {columns} x {rows} routers; place it anew"


NeurocoreRule = Callable[[Neurocore, Target], Iterator[str]]
NEUROCORE_RULES: tuple[NeurocoreRule, ...] = (
    neurons_fit,
    memory_fits,
    synapse_memory_fits,
    state_memory_fits,
    axons_in_fit,
    axons_out_fit,
    neurocore_lies_on_the_mesh,
)


# --- The mapping ---


def neurocores_fit_on_their_chips(mapped: Mapped, _: NetworkShape) -> Iterator[str]:
    """Every chip belongs to the system and holds no more neurocores than it can use."""
    chips, usable = mapped.system.chips.value, mapped.target.mesh.usable_neurocores.value
    for chip, count in sorted(Counter(core.chip for core in mapped.neurocores).items()):
        if not 0 <= chip < chips:
            yield f"chip {chip}: {mapped.system.name} has chips 0 to {chips - 1}; use a larger --system"
        if count > usable:
            yield f"chip {chip}: {count} of {usable} usable neurocores; use a larger --system"


def neurocores_fit_on_their_routers(mapped: Mapped, _: NetworkShape) -> Iterator[str]:
    """No router holds more neurocores than it has, and can use."""
    mesh = mapped.target.mesh
    counts = Counter((core.chip, core.x, core.y) for core in mapped.neurocores)
    for (chip, x, y), count in sorted(counts.items()):
        limit = len(mesh.usable_on_router(x, y))
        if count > limit:
            yield f"chip {chip}, router ({x}, {y}): {count} of {limit} usable neurocores; place them anew"


def every_neuron_is_on_one_neurocore(mapped: Mapped, network: NetworkShape) -> Iterator[str]:
    """Every row of a node, and every stored token of a head, is in exactly one slice."""
    parts = _parts_by_node(mapped)
    for node in network.nodes:
        window = network.window if node.kind == "attention" else 0
        row = token = 0
        for part in sorted(parts.get(node.name, ()), key=lambda part: (part.start, part.first_token)):
            if (part.start, part.first_token) != (row, token) or part.stop <= part.start:
                yield f"{node.name}: row {min(row, part.start)} is in no slice or in two; partition it anew"
                break
            token = 0 if part.last_token == window else part.last_token
            row = row if token else part.stop
        else:
            if (row, token) != (node.size, 0):
                yield f"{node.name}: row {row} of {node.size} is in no slice; partition it anew"


def norms_are_whole(mapped: Mapped, network: NetworkShape) -> Iterator[str]:
    """All channels of a norm lie on one neurocore: it needs their sum."""
    sizes = {node.name: node.size for node in network.nodes if node.kind == "norm"}
    for part in (part for core in mapped.neurocores for part in core.slices if part.node in sizes):
        if part.stop - part.start != sizes[part.node]:
            yield f"{part.node}: rows {part.start} to {part.stop} of {sizes[part.node]} lie apart; partition it anew"


def every_synapse_is_stored_once(mapped: Mapped, network: NetworkShape) -> Iterator[str]:
    """Every slice holds, for each input of its node, the synapses of its rows, and no others."""
    shapes = {node.name: node for node in network.nodes}
    for part in (part for core in mapped.neurocores for part in core.slices):
        if part.node not in shapes or part.inputs != shapes[part.node].input_ranges(part.start, part.stop):
            yield f"{part.node}[{part.start}:{part.stop}]: its inputs are not those of the node; partition it anew"


def neuron_state_fits(mapped: Mapped, network: NetworkShape) -> Iterator[str]:
    """No neuron keeps more state than one may; a score neuron keeps the key and value of its token."""
    limit = mapped.target.storage.neuron_state_bytes_max.value
    for node in network.nodes:
        needed = neuron_state_bytes(node, network, mapped.target)
        if needed > limit:
            yield f"{node.name}: a neuron keeps {needed:,} of {limit:,} bytes of state; use smaller heads"


MappingRule = Callable[[Mapped, NetworkShape], Iterator[str]]
MAPPING_RULES: tuple[MappingRule, ...] = (
    neurocores_fit_on_their_chips,
    neurocores_fit_on_their_routers,
    every_neuron_is_on_one_neurocore,
    norms_are_whole,
    every_synapse_is_stored_once,
    neuron_state_fits,
)


def partial_sums_fit_their_payload(mapped: MappedProgram) -> Iterator[str]:
    """A graded spike carries whatever a part of what rows read can add up to."""
    bits = mapped.target.storage.spike_payload_bits.value
    ranges = output_ranges(mapped.program.nodes, mapped.program.window) if mapped.parts else {}
    for part in mapped.parts:
        node = mapped.program.node(part.node)
        weight = node.weight if isinstance(node, IntegerReadout) else None
        if isinstance(node, IntegerPopulation):
            weight = node.inputs[part.index].weight
        columns = None if weight is None else weight[:, part.start : part.stop]
        low, high = weight_range(columns, ranges[part.source], node.size)
        reached = int(max(-low.min(), high.max()))
        needed = reached.bit_length() + 1
        if needed > bits:
            yield f"{part.name}: sums of up to {reached:,} take {needed} bits; a graded spike carries {bits}"


def placement_violations(mapped: Mapped, network: NetworkShape) -> Iterator[tuple[str, str]]:
    """Yield each violation of a rule on where a network lies: the rule's name, and its message."""
    for core in mapped.neurocores:
        for rule in NEUROCORE_RULES:
            yield from ((rule.__name__, text) for text in rule(core, mapped.target))
    for mapping_rule in MAPPING_RULES:
        yield from ((mapping_rule.__name__, text) for text in mapping_rule(mapped, network))


def _program_violations(mapped: MappedProgram) -> Iterator[tuple[str, str]]:
    for program_rule in PROGRAM_RULES:
        yield from ((program_rule.__name__, text) for text in program_rule(mapped.program, mapped.target))


def _fits(neurocore: Neurocore, target: Target, resource: str, remedy: str) -> Iterator[str]:
    limit, used = dict(target.resources.items())[resource], neurocore.used(resource)
    if used > limit.value:
        unit = "" if limit.unit in resource else f" {limit.unit}"  # not: neurons 5,000 of 4,095 neurons
        held = ", ".join(f"{part.node}[{part.start}:{part.stop}]" for part in neurocore.slices)
        what = resource.replace("_", " ")
        yield f"neurocore {neurocore.index}: {what} {used:,} of {limit.value:,}{unit} ({held}); {remedy}"


def _parts_by_node(mapped: Mapped) -> Mapping[str, list[Slice]]:
    parts: dict[str, list[Slice]] = {}
    for part in (part for core in mapped.neurocores for part in core.slices):
        parts.setdefault(part.node, []).append(part)
    return parts
