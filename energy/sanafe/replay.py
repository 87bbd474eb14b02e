"""What is exported: senders and receivers on neurocores, and what joins them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bispik.compiler.mapping import Mapped
from bispik.energy.sanafe.expected import Expected

BoolArray: TypeAlias = npt.NDArray[np.bool_]
IntArray: TypeAlias = npt.NDArray[np.int64]

PORT = "port"
"""Synapses without a price, into neurons without one: where messages arrive whose work SANA-FE does not know."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sender:
    """Neurons of one neurocore that spike as recorded."""

    name: str
    neurocore: int
    """Index in the mapping."""
    spikes: BoolArray
    """(S, n)"""
    priced: bool = True
    """Whether a spike costs anything: the host's does not."""

    @property
    def size(self) -> int:
        """Number of neurons."""
        size: int = self.spikes.shape[1]
        return size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Receiver:
    """Neurons of one neurocore that never spike and pay for what reaches them."""

    name: str
    neurocore: int
    size: int
    synapse: str
    """The constant that pays for their synapses, or PORT."""
    soma: bool
    """Whether the neurons cost anything."""
    always_active: bool = False
    """Whether a current of the host wakes them in every step."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """Synapses from a sender to a receiver, by their names."""

    sender: str
    receiver: str
    pairs: tuple[IntArray, IntArray] | None
    """(m,) neurons of the sender and (m,) of the receiver; None: all to all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replay:
    """A run of S logical steps on a mapping."""

    mapped: Mapped
    steps: int
    senders: tuple[Sender, ...]
    receivers: tuple[Receiver, ...]
    bundles: tuple[Bundle, ...]
    expected: Expected

    @property
    def groups(self) -> tuple[Sender | Receiver, ...]:
        """All neurons."""
        return (*self.senders, *self.receivers)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of neurons by name of sender or receiver."""
        return {group.name: group.size for group in self.groups}

    @property
    def connections(self) -> int:
        """Number of synapses."""
        size = self.sizes
        return sum(size[b.sender] * size[b.receiver] if b.pairs is None else len(b.pairs[0]) for b in self.bundles)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrival:
    """Synapses of one kind that lead to a part of a node."""

    synapse: str
    """The constant that pays for them, or PORT."""
    sender: str
    pairs: tuple[IntArray, IntArray] | None


class Builder:
    """Collects senders, receivers and bundles."""

    def __init__(self) -> None:
        self.senders: list[Sender] = []
        self.receivers: list[Receiver] = []
        self.bundles: list[Bundle] = []

    def receive(
        self, name: str, neurocore: int, size: int, arrivals: Sequence[Arrival], *, always_active: bool = False
    ) -> None:
        """Add a part of a node. SANA-FE gives a neuron synapses of one kind only.

        A part that has several becomes a receiver for each, whose neurons cost nothing, and one more whose synapses
        cost nothing and whose neurons do: everything reaches that one again.
        """
        kinds = list(dict.fromkeys(arrival.synapse for arrival in arrivals)) or ["synop_dense"]
        mixed = len(kinds) > 1
        for kind in kinds:
            own = f"{name}_{kind}" if mixed else name
            self._add(
                own,
                neurocore,
                size,
                kind,
                [arrival for arrival in arrivals if arrival.synapse == kind],
                soma=not mixed and kind != PORT,
                always_active=always_active and not mixed,
            )
        if mixed:
            self._add(name, neurocore, size, PORT, arrivals, soma=True, always_active=always_active)

    def _add(
        self,
        name: str,
        neurocore: int,
        size: int,
        synapse: str,
        arrivals: Sequence[Arrival],
        *,
        soma: bool,
        always_active: bool,
    ) -> None:
        self.receivers.append(
            Receiver(name=name, neurocore=neurocore, size=size, synapse=synapse, soma=soma, always_active=always_active)
        )
        self.bundles += [Bundle(sender=a.sender, receiver=name, pairs=a.pairs) for a in arrivals]

    def unpriced(self) -> tuple[int, int]:
        """Return arrivals at synapses and wakings of neurons that cost nothing: a replay has them beside our counts."""
        senders = {sender.name: sender.spikes for sender in self.senders}
        synops = updates = 0
        for receiver in self.receivers:
            bundles = [bundle for bundle in self.bundles if bundle.receiver == receiver.name]
            if receiver.synapse == PORT:
                synops += sum(_synops(senders[bundle.sender], receiver.size, bundle.pairs) for bundle in bundles)
            if not receiver.soma and bundles:
                woken = [_woken(senders[bundle.sender], receiver.size, bundle.pairs) for bundle in bundles]
                updates += int(np.logical_or.reduce(woken).sum())
        return synops, updates


def _synops(spikes: BoolArray, size: int, pairs: tuple[IntArray, IntArray] | None) -> int:
    return int(spikes.sum()) * size if pairs is None else int(spikes[:, pairs[0]].sum())


def _woken(spikes: BoolArray, size: int, pairs: tuple[IntArray, IntArray] | None) -> BoolArray:
    """Return which neurons something reaches, (S, size)."""
    if pairs is None:
        return np.repeat(spikes.any(axis=1, keepdims=True), size, axis=1)
    woken = np.zeros((len(spikes), size), np.bool_)
    for source, row in zip(pairs[0].tolist(), pairs[1].tolist(), strict=True):
        woken[:, row] |= spikes[:, source]
    return woken


def places(first: int, stop: int, part_start: int, part_stop: int) -> tuple[int, int] | None:
    """Return the range [first, stop) of a node within a part of it, None if they do not meet."""
    low, high = max(first, part_start), min(stop, part_stop)
    return (low - part_start, high - part_start) if low < high else None
