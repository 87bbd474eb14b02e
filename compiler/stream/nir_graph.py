"""A NIR file of any tool to one flat graph: nodes with their numbers, nested graphs put in their places.

Nothing of the file is believed before it is checked: sizes before memory is taken, edges against nodes, ports against
what may be wired to them. No code of the file's makers runs: numbers and strings are all that is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bispik.compiler.nir_file import NirFile
from bispik.compiler.nir_schema import METADATA_KEY
from bispik.compiler.stream.budget import Budget
from bispik.compiler.stream.network import FloatArray
from bispik.models.errors import BispikError

ADVICE = "export the network again"
"""What errors say about a file that cannot be."""

MAX_DEPTH = 16
"""Graphs within graphs."""

NODE_BYTES = 256
"""A node takes more than this in a file (HDF5 headers alone), which bounds how many there can be."""

DT_KEYS = ("dt", "time_step", "timestep", "delta_t", f"{METADATA_KEY}/dt")
"""Metadata of the outermost graph that tell the time step, in seconds."""

FIELDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "Input": (("shape",), ()),
        "Output": ((), ("shape",)),
        "Linear": (("weight",), ()),
        "Affine": (("weight", "bias"), ()),
        "Scale": (("scale",), ()),
        "Conv1d": (("weight", "stride", "padding", "dilation", "groups", "bias"), ("input_shape",)),
        "Conv2d": (("weight", "stride", "padding", "dilation", "groups", "bias"), ("input_shape",)),
        "SumPool2d": (("kernel_size", "stride", "padding"), ()),
        "AvgPool2d": (("kernel_size", "stride", "padding"), ()),
        "Flatten": (("start_dim", "end_dim"), ("input_type",)),
        "Delay": (("delay",), ()),
        "Threshold": (("threshold",), ()),
        "I": (("r",), ()),
        "IF": (("r", "v_threshold"), ("v_reset",)),
        "LI": (("tau", "r", "v_leak"), ()),
        "LIF": (("tau", "r", "v_leak", "v_threshold"), ("v_reset",)),
        "CubaLI": (("tau_syn", "tau_mem", "r", "v_leak"), ("w_in",)),
        "CubaLIF": (("tau_syn", "tau_mem", "r", "v_leak", "v_threshold"), ("w_in", "v_reset")),
    }
)
"""By type of node: the fields that it must have, and those that it may have."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NirNode:
    """A node of the flat graph."""

    path: str
    """Names of the graphs around it and its own: ``block/lif``."""
    kind: str
    """A key of `FIELDS`, or ``Port`` for where a nested graph began or ended."""
    fields: Mapping[str, FloatArray | str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NirGraph:
    """A flat graph; edges that meet at a node are summed."""

    file: str
    """What errors call the file."""
    nodes: Mapping[str, NirNode]
    """By path, in the file's order."""
    edges: tuple[tuple[str, str], ...]
    input: str
    output: str
    dt: float | None
    """Seconds per time step, if the file's metadata say so."""

    def error(self, path: str, fault: str) -> BispikError:
        """Return an error that names the file and the node."""
        return BispikError(f"{self.file}: {path}: {fault}" if path else f"{self.file}: {fault}")


def read_graph(file: NirFile, name: str, budget: Budget) -> NirGraph:
    """Read and flatten what is in an open file.

    Raises:
        BispikError: naming the node, for anything that is missing, damaged, unknown, or larger than it may be.
    """
    if not file.has(""):
        raise file.error("", f"it has no group called node: this is no NIR file; {ADVICE}")
    if (kind := file.text("", "type")) != "NIRGraph":
        raise file.error("", f"it holds a single {kind}, and no graph with an Input and an Output; {ADVICE}")
    reader = _Reader(file, budget)
    ports = reader.graph("", 0)
    return NirGraph(
        file=name,
        nodes=reader.nodes,
        edges=tuple(sorted(reader.edges)),  # tools write them in any order
        input=ports[0],
        output=ports[1],
        dt=_time_step(file),
    )


def _time_step(file: NirFile) -> float | None:
    if not file.has("", "metadata"):
        return None
    for key in DT_KEYS:
        if file.has("", f"metadata/{key}"):
            values = file.numbers("", f"metadata/{key}", 1)
            if values.size != 1 or values.flat[0] <= 0:
                raise file.error("", f"metadata say that {key} is {values.tolist()}, expected one number above 0")
            return float(values.flat[0])
    return None


class _Reader:
    """What has been read of a file so far."""

    def __init__(self, file: NirFile, budget: Budget) -> None:
        self.file = file
        self.budget = budget
        self.most_nodes = file.stored // NODE_BYTES
        self.nodes: dict[str, NirNode] = {}
        self.edges: list[tuple[str, str]] = []

    def graph(self, path: str, depth: int) -> tuple[str, str]:
        """Read a graph; return the paths of its input and its output."""
        file = self.file
        if depth > MAX_DEPTH:
            raise file.error(path, f"graphs are nested more than {MAX_DEPTH} deep; {ADVICE}")
        ends: dict[str, tuple[str, str]] = {}  # by name: where edges to it go, and where edges from it come from
        ports: dict[str, list[str]] = {"Input": [], "Output": []}
        for name in file.names(path, "nodes"):
            inner = f"{path}/{name}" if path else name
            kind = file.text(inner, "type")
            if kind == "NIRGraph":
                ends[name] = self.graph(inner, depth + 1)
                continue
            self.node(inner, kind, depth)
            ends[name] = (inner, inner)
            if kind in ports:
                ports[kind].append(inner)
        for kind, found in ports.items():
            if len(found) != 1:
                which = f": {', '.join(found[:9])}" if found else ""
                what = f"{len(found)} {kind} nodes{which}; a graph must have one, for edges name graphs and not ports"
                raise file.error(path, f"{what}; {'merge them' if found else 'add it'} and {ADVICE}")
        both = (ports["Input"][0], ports["Output"][0])
        self.wire(path, ends, both)
        return both

    def node(self, path: str, kind: str, depth: int) -> None:
        """Read one node."""
        if len(self.nodes) >= self.most_nodes:
            limit = f"more than {self.most_nodes:,} nodes, which a file of {self.file.stored:,} bytes cannot hold"
            raise self.file.error(path, f"{limit}; {ADVICE}")
        if kind not in FIELDS:
            known = ", ".join([*FIELDS, "NIRGraph"])
            raise self.file.error(path, f"a node of type {kind[:100]!r} is not supported; replace it by {known}")
        needed, optional = FIELDS[kind]
        port = kind in ("Input", "Output") and depth > 0
        missing = [key for key in needed if not self.file.has(path, key)]
        if missing:
            raise self.file.error(path, f"this {kind} has no {', '.join(missing)}; {ADVICE}")
        fields = {key: self.field(path, key) for key in (*needed, *optional) if self.file.has(path, key)}
        self.nodes[path] = NirNode(path=path, kind="Port" if port else kind, fields=fields)

    def field(self, path: str, key: str) -> FloatArray | str:
        """Read one field of a node."""
        if key == "padding" and self.file.is_text(path, key):
            return self.file.text(path, key)
        values = self.file.numbers(path, key, self.budget.left)
        if values.size == 0:
            raise self.file.error(path, f"{key} has no numbers; {ADVICE}")
        self.budget.take(values.size, f"{path}: {key}")
        return values

    def wire(self, path: str, ends: Mapping[str, tuple[str, str]], ports: tuple[str, str]) -> None:
        """Read a graph's edges; its ports are its input and its output."""
        limit = min(len(ends) ** 2, self.file.stored)
        found: set[tuple[str, str]] = set()
        for source, target in self.file.edges(path, limit):
            for end in (source, target):
                if end not in ends:
                    raise self.file.error(path, f"the edge {source} -> {target} has no node {end}; {ADVICE}")
            edge = (ends[source][1], ends[target][0])
            if edge in found:
                raise self.file.error(path, f"the edge {source} -> {target} is there twice; {ADVICE}")
            if edge[0] == ports[1]:
                raise self.file.error(path, f"the edge {source} -> {target} leaves an Output; {ADVICE}")
            if edge[1] == ports[0]:
                raise self.file.error(path, f"the edge {source} -> {target} enters an Input; {ADVICE}")
            found.add(edge)
            self.edges.append(edge)
