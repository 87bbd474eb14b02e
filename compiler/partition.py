"""Cut a network into slices and pack the slices into neurocores.

Three ideas, in this order:

1. Populations with dense synapses, and the readout, need nearly all the memory. They are laid along a tape in the order
   of the network, and the tape is cut where a neurocore is full: neurocores are full and neighbours stay neighbours.
   A cut is moved rather than leave a sliver.
2. Attention keeps whole heads together, a norm all of its channels. A head that does not fit beside a full load of
   synapses gets a neurocore of the tape before the synapses do; one that fits into no neurocore is cut by stored
   tokens, and its partial sums add up.
3. The rest (one-to-one populations, joins, norms, small heads) goes into the gaps nearest to its place on the tape.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil

from bispik.compiler.demand import Use, rows_per_word, slice_use
from bispik.compiler.mapping import Slice
from bispik.compiler.shapes import NetworkShape, NodeShape
from bispik.compiler.target import Target
from bispik.models.errors import BispikError

SLIVER = 1 / 16
"""No slice is a smaller share than this of what an empty neurocore would take, or of its node, if that is less."""

REACH = 32
"""Neurocores along the tape, each way, among which a gap is looked for: a quarter of a Loihi 2 chip."""


def partition(network: NetworkShape, target: Target) -> tuple[tuple[Slice, ...], ...]:
    """Return the slices of each neurocore; every row of every node is in one slice, every stored token of a head too.

    Neighbouring neurocores hold neighbouring parts of the network.

    Raises:
        BispikError: if one row of a node needs more than a neurocore has.
    """
    return _Packer(network, target).packed()


@dataclass(slots=True)
class _Bin:
    """A neurocore being filled."""

    position: float
    """Along the tape."""
    free: Use
    slices: list[Slice] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A node that goes into gaps, and the bin of the tape that was being filled when its turn came."""

    node: NodeShape
    anchor: int


class _Packer:
    def __init__(self, network: NetworkShape, target: Target) -> None:
        self.network, self.target = network, target
        self.limits: Use = {name: limit.value for name, limit in target.resources.items()}
        self.tape: list[_Bin] = []
        self.beside: list[_Bin] = []
        self.current = 0
        self.uses: dict[tuple[str, int, int, int], Use] = {}

    def packed(self) -> tuple[tuple[Slice, ...], ...]:
        waiting: list[_Waiting] = []
        for index, node in enumerate(self.network.nodes):
            self._require_row_fits(node)
            if any(not entry.one_to_one for entry in node.inputs):
                self._lay(node)
            elif node.kind == "attention" and self._crowds_out_synapses(node):
                self._seed(node, self._tape_ahead(index))
            else:
                waiting.append(_Waiting(node, self.current))
        for item in waiting:
            self._settle(item.node, item.anchor)
        order = {node.name: place for place, node in enumerate(self.network.nodes)}
        used = sorted((b for b in self.tape + self.beside if b.slices), key=lambda b: b.position)
        return tuple(tuple(sorted(b.slices, key=lambda part: order[part.node])) for b in used)

    # --- 1. the tape ---

    def _lay(self, node: NodeShape) -> None:
        whole = self._room(node, self.limits, node.size)
        smallest = min(node.size, ceil(whole * SLIVER))
        start = 0
        while start < node.size:
            left = node.size - start
            into = self._bin(self.current)
            rows = self._room(node, into.free, min(whole, left) if node.uniform else left, start)
            if node.uniform and 0 < left - rows < smallest:
                rows = self._whole_words(node, left - smallest)
            if rows < min(smallest, left) and into.slices:
                self.current += 1
                continue
            if rows == 0:
                self._require_row_fits(node, start)
            self._put(node, self._bin(self.current), start, start + rows)
            start += rows

    def _bin(self, index: int) -> _Bin:
        while index >= len(self.tape):
            self.tape.append(_Bin(position=len(self.tape), free=dict(self.limits)))
        return self.tape[index]

    # --- 2. heads that need a neurocore of the tape ---

    def _crowds_out_synapses(self, node: NodeShape) -> bool:
        """Say whether one head is too large for what a neurocore full of synapses has left."""
        full = self.limits["synapse_memory"]
        left = {**self.limits, "synapse_memory": 0, "memory": self.limits["memory"] - full}
        return not _fits(self._use(node, node.head_dim), left)

    def _tape_ahead(self, index: int) -> int:
        """Return how many neurocores the synapses between this attention and the next one fill."""
        bytes_ahead = 0
        for node in self.network.nodes[index + 1 :]:
            if node.kind == "attention":
                break
            bytes_ahead += self._use(node, node.size)["synapse_memory"]
        return ceil(bytes_ahead / self.limits["synapse_memory"])

    def _seed(self, node: NodeShape, tape_ahead: int) -> None:
        """Spread heads evenly over the neurocores that the tape comes to next; it fills up what they leave."""
        window = self.network.window
        parts = self._parts_of_a_head(node)
        bounds = [round(window * part / parts) for part in range(parts + 1)]
        pieces = [
            (start, first, last) for start in range(0, node.size, node.head_dim) for first, last in pairwise(bounds)
        ]
        each = max(1, ceil(len(pieces) / max(1, tape_ahead)))
        seeded: _Bin | None = None
        for start, first, last in pieces:
            use = self._use(node, node.head_dim, last - first)
            if seeded is None or len(seeded.slices) == each or not _fits(use, seeded.free):
                seeded = self._bin(len(self.tape))
            self._put(node, seeded, start, start + node.head_dim, (first, last))

    def _parts_of_a_head(self, node: NodeShape) -> int:
        """Return into how many ranges of stored tokens a head must be cut to fit into an empty neurocore."""
        parts = 1
        while not _fits(self._use(node, node.head_dim, ceil(self.network.window / parts)), self.limits):
            parts += 1
        return parts

    # --- 3. the gaps ---

    def _settle(self, node: NodeShape, anchor: int) -> None:
        """Fill the nearest gap that takes all; else the largest gaps in reach; else a neurocore of its own."""
        smallest = node.together if node.together > 1 else ceil(node.size * SLIVER)
        start = 0
        while start < node.size:
            left = node.size - start
            gap = self._gap(node, left, anchor)
            if gap is None or self._room(node, gap.free, left) < min(smallest, left):
                gap = _Bin(position=anchor + 0.5, free=dict(self.limits))
                self.beside.append(gap)
            rows = self._room(node, gap.free, left)
            self._put(node, gap, start, start + rows)
            start += rows

    def _gap(self, node: NodeShape, rows: int, anchor: int) -> _Bin | None:
        near = self.tape[max(0, anchor - REACH) : anchor + REACH + 1]
        near += [b for b in self.beside if abs(b.position - anchor) <= REACH]
        near.sort(key=lambda b: abs(b.position - anchor))
        use = self._use(node, rows)
        takes_all = next((b for b in near if _fits(use, b.free)), None)
        return takes_all or max(near, key=lambda b: self._room(node, b.free, rows), default=None)

    # --- what all three need ---

    def _use(self, node: NodeShape, rows: int, tokens: int | None = None, start: int = 0) -> Use:
        """Return the use of so many rows from ``start`` on, by default with all stored tokens."""
        tokens = self.network.window if tokens is None else tokens
        key = (node.name, 0 if node.uniform else start, rows, tokens)
        if key not in self.uses:
            self.uses[key] = slice_use(node, rows, tokens, self.network, self.target, key[1])
        return self.uses[key]

    def _room(self, node: NodeShape, free: Use, at_most: int, start: int = 0) -> int:
        """Return how many rows fit: all of ``at_most``, or the largest smaller number of whole heads or words."""
        neurons = max(0, free["neurons"])  # a row has at least one
        if at_most <= neurons and _fits(self._use(node, at_most, start=start), free):
            return at_most
        fits, too_many = 0, min(at_most, neurons + 1)
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            if _fits(self._use(node, middle, start=start), free):
                fits = middle
            else:
                too_many = middle
        return self._whole_words(node, fits)

    def _whole_words(self, node: NodeShape, rows: int) -> int:
        """Round down to whole heads or norms, or to rows that fill words of synapse memory, if at least one."""
        if node.together > 1:
            return rows - rows % node.together
        word = rows_per_word(node, self.target)
        return rows if rows < word else rows - rows % word

    def _put(self, node: NodeShape, into: _Bin, start: int, stop: int, tokens: tuple[int, int] | None = None) -> None:
        """Put rows [start, stop) into a neurocore; of attention only some stored tokens, if they are given."""
        first, last = tokens or (0, self.network.window if node.kind == "attention" else 0)
        use = self._use(node, stop - start, last - first, start)
        into.free = {name: amount - use[name] for name, amount in into.free.items()}
        into.slices.append(
            Slice(
                node=node.name,
                kind=node.kind,
                start=start,
                stop=stop,
                inputs=node.input_ranges(start, stop),
                use=use,
                first_token=first,
                last_token=last,
            )
        )

    def _require_row_fits(self, node: NodeShape, start: int = 0) -> None:
        use = self._use(node, node.together, 1, start)
        for name, limit in self.target.resources.items():
            if use[name] > limit.value:
                needed = f"needs {name.replace('_', ' ')} {use[name]:,} of {limit.value:,} {limit.unit} of a neurocore"
                if node.kind == "norm":
                    raise BispikError(
                        f"{node.name}: a norm of {node.size:,} channels {needed}, and it is not cut, for it takes the "
                        "sum over all channels; use a narrower network"
                    )
                what = "one head with one stored token" if node.kind == "attention" else "one row"
                raise BispikError(
                    f"{node.name}: {what} {needed}, and rows are not cut by fan-in; "
                    "use fewer --bits or a narrower layer"
                )


def _fits(use: Use, free: Use) -> bool:
    return all(use[name] <= amount for name, amount in free.items())
