"""A replay as SANA-FE's two YAML files, beside what we expect of it.

SANA-FE lays the neurons of one soma, dendrite or synapse unit out in arrays of 1,024, and gives every input unit one
neuron: each neurocore therefore has as many units as its neurons take. Its tiles are our routers, numbered down each
column of one mesh that all chips of the system form.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO, TypeAlias, get_args

import numpy as np

from bispik.energy.profiles import Profile
from bispik.energy.sanafe.replay import PORT, Receiver, Replay, Sender

ARCHITECTURE, NETWORK, EXPECTED = FILES = ("architecture.yaml", "network.yaml", "expected.json")

UNIT_NEURONS = 1024
"""Neurons of one unit at most."""

SYNAPSES = (
    "synop_dense",
    "synop_one_to_one",
    "synop_sparse",
    "synop_shared",
    "synop_readout",
    "synop_graded",
)
"""Constants that have a synapse unit of their name."""

NEVER = 1.0e9
"""Threshold of receivers."""

NOTHING = (0.0, 0.0)
"""Joules and seconds."""


Role: TypeAlias = Literal["sender", "host", "receiver", "port"]

ROLES: tuple[Role, ...] = get_args(Role)
"""Also the names of their soma units: ``host`` are senders, and ``port`` receivers, that cost nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Core:
    """One neurocore."""

    tile: int
    offset: int
    """Among the neurocores of its tile."""
    neurons: Mapping[Role, int]

    def first_dendrite(self, role: Role) -> int:
        """Return the first of a role's dendrite units: those of all roles stand one behind the other."""
        return sum(_units(self.neurons[other]) for other in ROLES[: ROLES.index(role)])


EMPTY = _Core(tile=0, offset=0, neurons=dict.fromkeys(ROLES, 0))


def write_sanafe(replay: Replay, profile: Profile, folder: Path) -> None:
    """Write ``architecture.yaml``, ``network.yaml`` and ``expected.json`` into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    cores = _cores(replay)
    with (folder / ARCHITECTURE).open("w", encoding="utf-8") as file:
        _write_architecture(file, replay, cores, profile)
    with (folder / NETWORK).open("w", encoding="utf-8") as file:
        _write_network(file, replay, cores)
    values = {"steps": replay.steps + 1, "connections": replay.connections, **replay.expected.to_dict()}
    (folder / EXPECTED).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def mesh_size(replay: Replay) -> tuple[int, int]:
    """Return columns and rows of routers: those of the chips up to the last one in use."""
    mesh, system = replay.mapped.target.mesh, replay.mapped.system
    last, across = max(core.chip for core in replay.mapped.neurocores), system.chip_columns.value
    return mesh.columns.value * min(last + 1, across), mesh.rows.value * (last // across + 1)


def _cores(replay: Replay) -> list[_Core]:
    mesh, across = replay.mapped.target.mesh, replay.mapped.system.chip_columns.value
    rows = mesh_size(replay)[1]
    neurons: list[dict[Role, int]] = [dict.fromkeys(ROLES, 0) for _ in replay.mapped.neurocores]
    for group in replay.groups:
        neurons[group.neurocore][_role(group)] += group.size
    on_tile: dict[int, int] = defaultdict(int)
    cores: list[_Core] = []
    for index, core in enumerate(replay.mapped.neurocores):
        column = core.chip % across * mesh.columns.value + core.x
        tile = column * rows + core.chip // across * mesh.rows.value + core.y
        cores.append(_Core(tile=tile, offset=on_tile[tile], neurons=neurons[index]))
        on_tile[tile] += 1
    return cores


def _role(group: Sender | Receiver) -> Role:
    if isinstance(group, Sender):
        return "sender" if group.priced else "host"
    return "receiver" if group.soma else "port"


def _write_architecture(file: TextIO, replay: Replay, cores: list[_Core], profile: Profile) -> None:
    columns, rows = mesh_size(replay)
    step = profile["time_step"].default
    file.write(
        f"# Profile {profile.name} of bispik: {profile.banner}.\n"
        "architecture:\n"
        f"  name: {replay.mapped.target.name}\n"
        f"  attributes: {{topology: mesh, width: {columns}, height: {rows}, link_buffer_size: 16, "
        f"sync_model: fixed, latency_sync: {step!r}}}\n"
        "  tile:\n"
    )
    of_tile: dict[int, list[_Core]] = defaultdict(list)
    for core in cores:
        of_tile[core.tile].append(core)
    hops = {
        "north": "hop_y",
        "south": "hop_y",
        "east": "hop_x",
        "west": "hop_x",
    }
    way = ", ".join(
        f"energy_{side}_hop: {profile[name].default!r}, latency_{side}_hop: 0.0" for side, name in hops.items()
    )
    for tile in range(columns * rows):
        file.write(f"    - name: tile_{tile}\n      attributes: {{{way}}}\n      core:\n")
        for core in of_tile.get(tile, [EMPTY]):
            file.writelines(_core_lines(core, tile, profile))


def _core_lines(core: _Core, tile: int, profile: Profile) -> Iterator[str]:
    neurons = max(1, sum(core.neurons.values()))
    yield (
        f"        - name: core_{tile}_{core.offset}\n"
        "          attributes: {buffer_position: soma, buffer_inside_unit: false, "
        f"max_neurons_supported: {neurons}}}\n"
        "          axon_in: [{name: in, attributes: {energy_message_in: 0.0, latency_message_in: 0.0}}]\n"
        "          synapse:\n"
    )
    for name in SYNAPSES:
        yield _unit(name, "current_based", process_spike=(profile[name].default, profile["time_synop"].default))
    yield _unit(PORT, "current_based", process_spike=NOTHING)
    yield "          dendrite:\n"
    dendrites = sum(_units(number) for number in core.neurons.values())
    yield _unit(_many("dendrite", dendrites), "accumulator", update=NOTHING)
    yield "          soma:\n"
    inactive, active = profile["update_inactive"].default, profile["update_active"].default
    access = (inactive, profile["time_update"].default)
    spike = (profile["spike"].default, 0.0)
    receiving: tuple[Role, ...] = ("receiver", "port")
    for role in receiving:
        paid = role == "receiver"
        yield _unit(
            _many(role, _units(core.neurons[role])),
            "leaky_integrate_fire",
            access_neuron=access if paid else NOTHING,
            update_neuron=(active - inactive, 0.0) if paid else NOTHING,
            spike_out=NOTHING,
        )
    sending: tuple[Role, ...] = ("sender", "host")
    for role in sending:
        yield _unit(
            _many(role, core.neurons[role]),
            "input",
            access_neuron=NOTHING,
            update_neuron=NOTHING,
            spike_out=spike if role == "sender" else NOTHING,
        )
    costs = f"energy_message_out: {profile['message'].default!r}, latency_message_out: 0.0"
    yield f"          axon_out: [{{name: out, attributes: {{{costs}}}}}]\n"


def _unit(name: str, model: str, **costs: tuple[float, float]) -> str:
    """A unit with energies, joules, and latencies, seconds, of what it does."""
    each = "".join(f", energy_{what}: {energy!r}, latency_{what}: {time!r}" for what, (energy, time) in costs.items())
    return f'            - {{name: "{name}", attributes: {{model: {model}{each}}}}}\n'


def _many(name: str, number: int) -> str:
    return f"{name}[0..{max(1, number) - 1}]"


def _units(neurons: int) -> int:
    return -(-neurons // UNIT_NEURONS)


def _write_network(file: TextIO, replay: Replay, cores: list[_Core]) -> None:
    file.write(f"# A replay of {replay.steps} time steps: run it for {replay.steps + 1}.\n")
    file.write("network:\n  name: replay\n  groups:\n")
    for sender in replay.senders:
        file.write(f"    - name: {sender.name}\n      neurons:\n")
        for neuron, spikes in enumerate(sender.spikes.T.astype(np.int8)):
            file.write(f"        - {neuron}: {{spikes: [{','.join(map(str, spikes.tolist()))}]}}\n")
    for receiver in replay.receivers:
        forced = ", force_update: true" if receiver.always_active else ""
        file.write(
            f"    - name: {receiver.name}\n      attributes: {{threshold: {NEVER!r}, leak_decay: 0{forced}}}\n"
            f"      neurons:\n        - 0..{receiver.size - 1}: {{}}\n"
        )
    file.write("  edges:\n" if replay.bundles else "  edges: []\n")
    _write_edges(file, replay)
    file.write("mappings:\n")
    file.writelines(_mappings(replay, cores))


def _write_edges(file: TextIO, replay: Replay) -> None:
    size = replay.sizes
    for bundle in replay.bundles:
        if bundle.pairs is None:
            zeros = ",".join("0" * (size[bundle.sender] * size[bundle.receiver]))
            file.write(f"    - {bundle.sender} -> {bundle.receiver}: {{type: dense, weight: [{zeros}]}}\n")
            continue
        for source, row in zip(bundle.pairs[0].tolist(), bundle.pairs[1].tolist(), strict=True):
            file.write(f"    - {bundle.sender}.{source} -> {bundle.receiver}.{row}: {{weight: 0}}\n")


def _mappings(replay: Replay, cores: list[_Core]) -> Iterator[str]:
    """Yield where each neuron lies; units are filled one behind the other."""
    taken: dict[tuple[int, Role], int] = defaultdict(int)
    for group in replay.groups:
        role, core = _role(group), cores[group.neurocore]
        first, of_soma = taken[group.neurocore, role], 1 if isinstance(group, Sender) else UNIT_NEURONS
        synapse = f", synapse: {group.synapse}" if isinstance(group, Receiver) else ""
        for start, stop in _cut(first, group.size, of_soma):
            soma, dendrite = (first + start) // of_soma, (first + start) // UNIT_NEURONS + core.first_dendrite(role)
            yield (
                f"  - {group.name}.{start}..{stop - 1}: {{core: {core.tile}.{core.offset}, "
                f'soma: "{role}[{soma}]", dendrite: "dendrite[{dendrite}]"{synapse}}}\n'
            )
        taken[group.neurocore, role] += group.size


def _cut(first: int, size: int, unit: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of ``size`` neurons, the first of which is number ``first``, that lie in one unit each."""
    start = 0
    while start < size:
        stop = min(size, start + unit - (first + start) % unit)
        yield start, stop
        start = stop
