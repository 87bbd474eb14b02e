"""Cut a network into slices and pack the slices into neurocores.

Three ideas, in this order:

1. Populations with dense synapses, and the readout, need nearly all the memory. They are laid along a tape in the order
   of the network, and the tape is cut where a neurocore is full: neurocores are full and neighbours stay neighbours.
   A cut is moved rather than leave a sliver.
2. Attention keeps the channels of a head together, a norm all of its channels. Heads that do not fit beside a full load
   of synapses get their share of neurocores of the tape before the synapses do, in the way that takes the fewest
   (`seeding`). A head that fits into none is cut by stored tokens, and its partial sums add up.
3. The rest (one-to-one populations, joins, norms, small heads) goes into the gaps nearest to its place on the tape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil

from bispik.compiler.capacity import SYNAPSE_MEMORY, Amounts, Capacity, less, share
from bispik.compiler.fan_in import can_relay
from bispik.compiler.mapping import Slice
from bispik.compiler.packing import Cut, Packing
from bispik.compiler.seeding import Seeding, choose_seeding
from bispik.compiler.shapes import NetworkShape, NodeShape
from bispik.compiler.stream.wiring import Convolution
from bispik.compiler.target import RESOURCES, Target
from bispik.models.errors import BispikError

SLIVER = 1 / 16
"""No slice is a smaller share than this of what an empty neurocore would take, or of its node, if that is less."""

REACH = 32
"""Neurocores along the tape, each way, among which a gap is looked for: a quarter of a Loihi 2 chip."""

TIGHT = 1.08
"""Neurocores, over what the resource that limits the network asks for, that are few enough."""

MOST_PARTS = 8
"""Heads are cut into fewer parts than so many above those that they must be cut into."""


def pack(network: NetworkShape, target: Target) -> Packing:
    """Cut a network and pack it; every row of every node is in one cut, every stored token of a head too.

    Neighbouring neurocores hold neighbouring parts of the network. Heads are cut into as few parts as they must be, and
    into more only while that saves neurocores and the packing is not `TIGHT`: every part receives all of its head's
    queries, keys and values and sends partial sums of its own, so that parts cost messages.

    Raises:
        BispikError: if one row of a node needs more than a neurocore has.
    """
    capacity = Capacity(network, target)
    packed = _Packer(capacity).packed()
    for more_parts in range(1, MOST_PARTS):
        if len(packed.neurocores) <= TIGHT * packed.at_least:
            break
        tighter = _Packer(capacity, more_parts).packed()
        if len(tighter.neurocores) >= len(packed.neurocores):
            break
        packed = tighter
    return packed


def partition(network: NetworkShape, target: Target) -> tuple[tuple[Slice, ...], ...]:
    """Return the slices of each neurocore; see `pack`."""
    return pack(network, target).slices()


@dataclass(slots=True, eq=False)
class _Bin:
    """A neurocore being filled."""

    position: float
    """Along the tape."""
    free: Amounts
    cuts: list[Cut] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A node that goes into gaps, and the bin of the tape that was being filled when its turn came."""

    index: int
    anchor: int


@dataclass(frozen=True, slots=True)
class _Section:
    """Nodes [start, stop) around one attention: from the first matrix that it reads to the next section.

    The nodes in front of all of them are a section without attention.
    """

    start: int
    stop: int
    attention: int | None


class _Packer:
    def __init__(self, capacity: Capacity, more_parts: int = 0) -> None:
        self.capacity, self.nodes, self.more_parts = capacity, capacity.network.nodes, more_parts
        self.tape: list[_Bin] = []
        self.beside: list[_Bin] = []
        self.waiting: list[_Waiting] = []
        self.current = 0
        self.chosen: dict[tuple[int, ...], Seeding | None] = {}

    def packed(self) -> Packing:
        for node in self.nodes:
            self._require_row_fits(node)
        for section in self._sections():
            self.lay_out(section, self._seeding(section))
        used = self.settled()
        limits = self.capacity.limits
        least = tuple(map(min, zip(*(b.free for b in used), strict=True))) if used else limits
        return Packing(
            capacity=self.capacity,
            neurocores=tuple(tuple(sorted(b.cuts)) if len(b.cuts) > 1 else tuple(b.cuts) for b in used),
            busiest=less(limits, least),
        )

    def _sections(self) -> Iterator[_Section]:
        places = {node.name: index for index, node in enumerate(self.nodes)}
        attention_of: dict[int, int | None] = {0: None}
        previous = -1
        for index, node in enumerate(self.nodes):
            if node.kind == "attention":
                sources = [places[entry.source] for entry in node.inputs if entry.source in places]
                first = min((place for place in sources if _has_matrix(self.nodes[place])), default=index)
                attention_of[first if first > previous else index] = index
                previous = index
        for start, stop in pairwise([*sorted(attention_of), len(self.nodes)]):
            yield _Section(start, stop, attention_of[start])

    def lay_out(self, section: _Section, seeding: Seeding | None) -> None:
        """Put what needs most of the memory on the tape, heads first; the rest waits."""
        attention = section.attention if seeding else None
        for index in range(section.start, section.stop):
            if seeding and attention is not None and index == (attention if seeding.behind else section.start):
                self._seed(attention, seeding)
            if _has_matrix(self.nodes[index]):
                self._lay(index)
            elif index != attention:
                self.waiting.append(_Waiting(index, self.current))

    def settled(self) -> list[_Bin]:
        """Find room for what waits, and return the bins that hold something, in order."""
        for item in self.waiting:
            self._settle(item.index, item.anchor)
        return sorted((b for b in self.tape + self.beside if b.cuts), key=lambda b: b.position)

    # --- 1. the tape ---

    def _lay(self, index: int) -> None:
        node, capacity = self.nodes[index], self.capacity
        whole = capacity.whole(node)
        smallest = min(node.size, ceil(whole * SLIVER))
        start = 0
        while start < node.size:
            left = node.size - start
            if node.uniform and self.current == len(self.tape) and (full := (left - smallest) // whole) > 0:
                self._append_full(index, start, whole, full)
                start += full * whole
                continue
            into = self._bin(self.current)
            rows = capacity.room(node, into.free, min(whole, left) if node.uniform else left, start)
            if node.uniform and 0 < left - rows < smallest:
                rows = capacity.whole_words(node, left - smallest)
            if rows < min(smallest, left) and into.cuts:
                self.current += 1
                continue
            if rows == 0:
                self._require_row_fits(node, start)
            self._put(index, into, start, start + rows)
            start += rows

    def _append_full(self, index: int, start: int, rows: int, count: int) -> None:
        """Put so many neurocores at the end of the tape, with as many rows of a node each as one holds."""
        free = less(self.capacity.limits, self.capacity.use(self.nodes[index], rows, 0))
        stops = range(start + rows, start + (count + 1) * rows, rows)
        for position, stop in enumerate(stops, start=len(self.tape)):
            self.tape.append(_Bin(position, free, [Cut(index, stop - rows, stop, 0, 0)]))
        self.current = len(self.tape) - 1

    def _bin(self, index: int) -> _Bin:
        while index >= len(self.tape):
            self.tape.append(_Bin(len(self.tape), self.capacity.limits))
        return self.tape[index]

    # --- 2. heads that need neurocores of the tape ---

    def _seeding(self, section: _Section) -> Seeding | None:
        """Choose by laying out the section alone; sections that differ in nothing but names have the same choice."""
        if section.attention is None:
            return None
        nodes, capacity = self.nodes[section.start : section.stop], self.capacity
        key = tuple(capacity.alike(node) for node in nodes)
        if key not in self.chosen:
            matrices = [node for node in nodes if _has_matrix(node)]
            synapses = sum(capacity.use(node, node.size)[SYNAPSE_MEMORY] for node in matrices)
            self.chosen[key] = choose_seeding(
                capacity,
                self.nodes[section.attention],
                self.more_parts,
                matrices[0] if matrices else None,
                synapses / capacity.limits[SYNAPSE_MEMORY],
                lambda seeding: _neurocores(capacity, section, seeding),
            )
        return self.chosen[key]

    def _seed(self, index: int, seeding: Seeding) -> None:
        """Put heads on the neurocores that the tape comes to next; it fills up what they leave."""
        node, window = self.nodes[index], self.capacity.network.window
        bounds = [round(window * part / seeding.parts) for part in range(seeding.parts + 1)]
        pieces = [
            (start, first, last) for start in range(0, node.size, node.head_dim) for first, last in pairwise(bounds)
        ]
        for group in range(0, len(pieces), seeding.each):
            seeded = self._bin(len(self.tape))
            for start, first, last in pieces[group : group + seeding.each]:
                self._put(index, seeded, start, start + node.head_dim, (first, last))

    # --- 3. the gaps ---

    def _settle(self, index: int, anchor: int) -> None:
        """Fill the nearest gap that takes all; else the largest gaps in reach; else a neurocore of its own."""
        node = self.nodes[index]
        smallest = node.together if node.together > 1 else ceil(node.size * SLIVER)
        near = self.tape[max(0, anchor - REACH) : anchor + REACH + 1]
        near += [b for b in self.beside if abs(b.position - anchor) <= REACH]
        near.sort(key=lambda b: abs(b.position - anchor))
        start = 0
        while start < node.size:
            left = node.size - start
            gap = self._gap(node, left, near)
            if gap is None or self.capacity.room(node, gap.free, left) < min(smallest, left):
                gap = _Bin(anchor + 0.5, self.capacity.limits)
                self.beside.append(gap)
                near.append(gap)
            rows = self.capacity.room(node, gap.free, left)
            self._put(index, gap, start, start + rows)
            start += rows

    def _gap(self, node: NodeShape, rows: int, near: list[_Bin]) -> _Bin | None:
        largest, most = None, -1
        seen: set[Amounts] = set()
        for gap in near:
            if gap.free in seen:  # most neurocores are alike, and a nearer one has been looked at
                continue
            seen.add(gap.free)
            room = self.capacity.room(node, gap.free, rows)
            if room == rows:
                return gap
            if room > most:
                largest, most = gap, room
        return largest

    # --- what all three need ---

    def _put(self, index: int, into: _Bin, start: int, stop: int, tokens: tuple[int, int] | None = None) -> None:
        """Put rows [start, stop) into a neurocore; of attention only some stored tokens, if they are given."""
        node = self.nodes[index]
        first, last = tokens or (0, self.capacity.network.window if node.kind == "attention" else 0)
        into.free = less(into.free, self.capacity.use(node, stop - start, last - first, start))
        into.cuts.append(Cut(node=index, start=start, stop=stop, first_token=first, last_token=last))

    def _require_row_fits(self, node: NodeShape, start: int = 0) -> None:
        target = self.capacity.target
        use = dict(zip(RESOURCES, self.capacity.use(node, node.together, 1, start), strict=True))
        for name, limit in target.resources.items():
            if use[name] > limit.value:
                needed = f"needs {name.replace('_', ' ')} {use[name]:,} of {limit.value:,} {limit.unit} of a neurocore"
                if node.kind == "norm":
                    raise BispikError(
                        f"{node.name}: a norm of {node.size:,} channels {needed}, and it is not cut, for it takes the "
                        "sum over all channels; use a narrower network"
                    )
                what = "one head with one stored token" if node.kind == "attention" else "one row"
                # A row alone fills whole words behind its axons: fewer bits make nothing smaller.
                remedy = (
                    "put neurons between its linear layers, or use a narrower one"
                    if not node.uniform
                    else ("use a narrower layer")
                )
                raise BispikError(f"{node.name}: {what} {needed}{_why_it_is_not_cut(node, target)}; {remedy}")


def _why_it_is_not_cut(node: NodeShape, target: Target) -> str:
    """What `bispik.compiler.fan_in` cannot do about a row that is too large."""
    if not can_relay(target):
        return f", and rows are not cut by fan-in: {target.name} has no graded spikes to relay partial sums with"
    if any(entry.laid is not None and isinstance(entry.laid.wiring, Convolution) for entry in node.inputs):
        return ", and rows of a convolution are not cut by fan-in"
    return "" if node.kind in ("attention", "join") else ", and cutting what it reads into parts does not help"


def _has_matrix(node: NodeShape) -> bool:
    """Say whether a node has synapses from all outputs of a source to all of its rows."""
    return any(not entry.one_to_one for entry in node.inputs)


def _neurocores(capacity: Capacity, section: _Section, seeding: Seeding | None) -> float:
    """Return how many neurocores a section takes alone; of those that the next one goes on with, the share in use."""
    alone = _Packer(capacity)
    alone.lay_out(section, seeding)
    used = alone.settled()
    shared = alone.tape[alone.current : alone.current + 1] + alone.beside[-1:]
    return len(used) - sum(min(share(b.free, capacity.limits)) for b in shared if b.cuts)
