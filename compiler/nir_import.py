"""A NIR file to the spiking graph that it was written from: the inverse of `nir_export`, exact in every bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar, cast

from bispik.compiler.deferred import FloatArray, Matrix
from bispik.compiler.graph import (
    Attention,
    Injection,
    Join,
    Neurons,
    Node,
    Norm,
    Population,
    Projection,
    Readout,
    SpikingGraph,
)
from bispik.compiler.nir_file import NirFile, open_nir
from bispik.compiler.nir_lower import lower
from bispik.compiler.nir_schema import (
    CHANGED,
    METADATA_KEY,
    PROFILE,
    SCHEMA,
    SCHEMA_VERSION,
    TIED_TO_HEAD,
    Slot,
    Wire,
    slots,
)
from bispik.compiler.nir_verify import check_same
from bispik.models.errors import BispikError

ChoiceT = TypeVar("ChoiceT", bound=str)


def read_nir(path: Path) -> SpikingGraph:
    """Read a graph that `nir_export.write_nir` wrote.

    Its matrices are read-only views of the file, mapped while they are looked at; they outlive its removal or
    replacement, but a program that overwrites the file in place changes them. Compressed files, such as ``nir.write``
    makes, are read into memory.

    Raises:
        BispikError: if the file is damaged, not of this schema, or if its parts contradict each other.
    """
    with open_nir(path) as file:
        _check_schema(file)
        graph = _graph(file)
        try:
            tree = lower(graph)
        except BispikError as error:
            raise file.error("", f"{error}; {CHANGED}") from error
        check_same(file, tree)
    return graph


def _key(name: str) -> str:
    return f"metadata/{METADATA_KEY}/{name}"


def _check_schema(file: NirFile) -> None:
    if not file.has("", _key("schema")):
        types = ", ".join(f"{count} {kind}" for kind, count in sorted(file.node_types().items())) or "none"
        raise file.error(
            "",
            f"not written by bispik-compile (it has no {METADATA_KEY} metadata; nodes: {types}). "
            "It is no language model of ours; bispik-compile takes networks of other tools with --convention or --dt",
        )
    schema, version = file.text("", _key("schema")), file.text("", _key("schema_version"))
    if schema != SCHEMA or version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise file.error(
            "",
            f"schema {schema} {version}; this version reads {SCHEMA} {SCHEMA_VERSION}: "
            "update bispik, or export the checkpoint again with this version",
        )
    _choice(file, "", "profile", (PROFILE,))


def _graph(file: NirFile) -> SpikingGraph:
    nodes: list[Node] = []
    sizes: dict[str, int] = {}
    for slot in slots(lambda _, path: file.has(path)):
        nodes.append(_node(file, slot, sizes))
        sizes[slot.name] = nodes[-1].size
    return SpikingGraph(
        nodes=tuple(nodes),
        steps_per_token=file.integer("", _key("steps_per_token")),
        max_positions=file.integer("", _key("max_positions")),
        dt=file.real("", _key("dt")),
        hyperparameters=_hyperparameters(file),
        tokenizer=file.text("", _key("tokenizer")),
    )


def _node(file: NirFile, slot: Slot, sizes: dict[str, int]) -> Node:
    sources = tuple(wire.source for wire in slot.wires)
    if slot.kind is Injection:
        return _injection(file, slot.name)
    if slot.kind is Population:
        return _population(file, slot)
    if slot.kind is Join:
        return Join(name=slot.name, inputs=sources, size=sizes[sources[0]])
    if slot.kind is Norm:
        epsilon = file.real(slot.path, _key("epsilon"))
        return Norm(name=slot.name, source=sources[0], size=sizes[sources[0]], epsilon=epsilon)
    if slot.kind is Attention:
        return _attention(file, slot)
    return _readout(file, slot)


def _injection(file: NirFile, name: str) -> Injection:
    if file.is_text("", _key("tok_embed")):
        _choice(file, "", "tok_embed", (TIED_TO_HEAD,))
        token_table = file.array(TIED_TO_HEAD.removeprefix("tied:"), "weight", 2)
    else:
        token_table = file.array("", _key("tok_embed"), 2)
    return Injection(
        name=name,
        token_table=token_table,
        position_table=file.array("", _key("pos_embed"), 2),
        step_gain=tuple(file.vector("", _key("step_gain")).tolist()),
    )


def _population(file: NirFile, slot: Slot) -> Population:
    inputs = tuple(Projection(source=wire.source, weight=_weight(file, wire)) for wire in slot.wires)
    affines = [wire.affine for wire in slot.wires if wire.affine]
    bias = file.vector(affines[0], "bias") if affines else file.vector(slot.path, _key("bias"))
    return Population(name=slot.name, inputs=inputs, neurons=_neurons(file, slot.path, bias))


def _weight(file: NirFile, wire: Wire) -> Matrix | None:
    if wire.affine:
        return file.array(wire.affine, "weight", 2)
    return file.vector(wire.scale, "scale") if wire.scale else None


def _neurons(file: NirFile, path: str, bias: FloatArray) -> Neurons:
    return Neurons(
        decay=file.real(path, _key("beta")),
        threshold=file.vector(path, _key("theta")),
        bias=bias,
        reset=_choice(file, path, "reset", ("soft", "hard")),
        fire=_choice(file, path, "spike_if", ("ge", "gt")),
        spikes=_choice(file, path, "spikes", ("binary", "ternary")),
    )


def _attention(file: NirFile, slot: Slot) -> Attention:
    query, key, value = (wire.source for wire in slot.wires)
    score = f"{slot.path}/tap_0000_score_lif"
    return Attention(
        name=slot.name,
        query=query,
        key=key,
        value=value,
        heads=file.integer(slot.path, _key("heads")),
        head_dim=file.integer(slot.path, _key("head_dim")),
        neurons=_neurons(file, score, file.vector(score, _key("bias"))),
    )


def _readout(file: NirFile, slot: Slot) -> Readout:
    norm, head = f"{slot.path}/final_ln", f"{slot.path}/lm_head"
    return Readout(
        name=slot.name,
        source=slot.wires[0].source,
        weight=file.array(head, "weight", 2),
        gamma=file.vector(norm, "scale"),
        beta=file.vector(norm, _key("beta")),
        epsilon=file.real(norm, _key("epsilon")),
        scale=file.real(head, _key("scale")),
    )


def _choice(file: NirFile, path: str, name: str, choices: tuple[ChoiceT, ...]) -> ChoiceT:
    found = file.text(path, _key(name))
    for choice in choices:
        if found == choice:
            return choice
    raise file.error(path, f"{name} is {found!r}; this version reads {', '.join(choices)}")


def _hyperparameters(file: NirFile) -> dict[str, int | float | str | bool]:
    try:
        values: Any = json.loads(file.text("", _key("config_json")))
    except (ValueError, RecursionError) as error:
        raise file.error("", f"config_json is not JSON: {error}; {CHANGED}") from error
    if not isinstance(values, dict) or not all(isinstance(v, int | float | str) for v in values.values()):
        raise file.error("", f"config_json is not an object of numbers, strings and booleans; {CHANGED}")
    return cast("dict[str, int | float | str | bool]", values)
