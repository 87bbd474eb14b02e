"""A run of a language model as a replay."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bispik.backends.activity import Activity
from bispik.backends.counts import count_events
from bispik.compiler.mapping import InputRange, MappedProgram, Slice
from bispik.compiler.program import IntegerAttention, IntegerNode, IntegerPopulation, IntegerReadout
from bispik.energy.account import account
from bispik.energy.profiles import Profile
from bispik.energy.sanafe.expected import Extra, expected
from bispik.energy.sanafe.replay import PORT, Arrival, Builder, Replay, Sender, places
from bispik.models.errors import BispikError

OUTSIDE = ("graded_output", "message", "hop_x", "hop_y")
"""Events of an attention that are exported: what it sends to others."""


def language_replay(mapped: MappedProgram, activity: Activity, profile: Profile) -> Replay:
    """Return the replay of consecutive tokens: S is tokens times steps per token.

    Args:
        mapped: what ran where.
        activity: what happened.
        profile: whose constants SANA-FE is to use.

    Raises:
        BispikError: if the stored tokens of an attention are spread over neurocores.
    """
    made = _Replayed(mapped, activity)
    counts, (port_synops, port_updates) = count_events(mapped, activity), made.unpriced()
    attentions = {attention.name for attention in mapped.program.of_kind(IntegerAttention)}
    inside = np.array([node in attentions for node in counts.node])
    lines = [
        line
        for line in account(mapped, counts, profile, "pipelined").lines
        if line.node not in attentions or line.event in OUTSIDE
    ]
    return Replay(
        mapped=mapped,
        steps=made.steps,
        senders=tuple(made.senders),
        receivers=tuple(made.receivers),
        bundles=tuple(made.bundles),
        expected=expected(
            lines,
            profile,
            crossings=counts.total("chip_crossing"),
            not_messages=int(counts.events["spike"][inside].sum()),
            extra=Extra(
                port_synops=port_synops,
                port_updates=port_updates,
                neurons=int(counts.neurons[~inside].sum()),
                always_active=sum(receiver.size for receiver in made.receivers if receiver.always_active),
            ),
        ),
    )


class _Replayed(Builder):
    def __init__(self, mapped: MappedProgram, activity: Activity) -> None:
        super().__init__()
        self.program = mapped.program
        self.nodes = {node.name: node for node in self.program.nodes}
        self.steps = len(activity.token_ids) * self.program.steps_per_token
        self.sent = {
            name: (outputs != 0).reshape(self.steps, outputs.shape[2]) for name, outputs in activity.outputs.items()
        }
        self.parts: dict[str, list[tuple[str, Slice]]] = {}
        """By node: its senders and the slice of each."""
        placed = [(core, part) for core, neurocore in enumerate(mapped.neurocores) for part in neurocore.slices]
        for index, (core, part) in enumerate(placed):
            self._sender(index, core, part)
        for index, (core, part) in enumerate(placed):
            self._receiver(index, core, part)

    def _sender(self, index: int, core: int, part: Slice) -> None:
        node = self.nodes[part.node]
        if isinstance(node, IntegerReadout):
            return
        if isinstance(node, IntegerAttention) and (part.first_token, part.last_token) != (0, self.program.window):
            raise BispikError(
                f"{part.node}: its stored tokens are spread over neurocores, each of which sends sums of its own, and "
                "a replay has no room for that; compile with a smaller --window"
            )
        name = f"sender_{index}"
        spikes = self.sent[part.node][:, part.start : part.stop]
        self.senders.append(Sender(name=name, neurocore=core, spikes=spikes))
        self.parts.setdefault(part.node, []).append((name, part))

    def _receiver(self, index: int, core: int, part: Slice) -> None:
        node = self.nodes[part.node]
        read = [entry for entry in part.inputs if entry.source != self.program.injection.name]
        arrivals = [arrival for entry in read for arrival in self._arrivals(node, part, entry)]
        self.receive(
            f"receiver_{index}", core, part.stop - part.start, arrivals, always_active=len(read) < len(part.inputs)
        )

    def _arrivals(self, node: IntegerNode, part: Slice, entry: InputRange) -> Iterator[Arrival]:
        """One-to-one inputs reach the row of their own number, counted from the start of both ranges."""
        kind, dense = self._kind(node, entry), self._is_dense(node, entry)
        for sender, source in self.parts[entry.source]:
            met = places(entry.start, entry.stop, source.start, source.stop)
            if met is None:
                continue
            rows, sources = np.arange(part.stop - part.start), np.arange(*met)
            pairs = None
            if not dense:
                pairs = (sources, sources + source.start - entry.start)
            elif len(sources) < source.stop - source.start:
                pairs = (np.repeat(sources, len(rows)), np.tile(rows, len(sources)))
            yield Arrival(synapse=kind, sender=sender, pairs=pairs)

    def _is_dense(self, node: IntegerNode, entry: InputRange) -> bool:
        if isinstance(node, IntegerPopulation):
            weight = node.inputs[entry.index].weight
            return weight is not None and weight.ndim == 2
        return isinstance(node, IntegerReadout)

    def _kind(self, node: IntegerNode, entry: InputRange) -> str:
        if isinstance(node, IntegerAttention):
            return PORT
        if not isinstance(self.nodes[entry.source], IntegerPopulation):
            return "synop_graded"
        if isinstance(node, IntegerReadout):
            return "synop_readout"
        return "synop_dense" if self._is_dense(node, entry) else "synop_one_to_one"
