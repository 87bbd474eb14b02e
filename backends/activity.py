"""What a backend returns: the activity of every node over a run of tokens, and the interface that produces it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from bispik.compiler.bounds import SPIKE_RANGES, OutputRange, output_ranges
from bispik.compiler.program import IntegerAttention, IntegerInjection, IntegerReadout, QuantizedProgram
from bispik.models.errors import BispikError

ScalarT = TypeVar("ScalarT", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Activity:
    """Everything that happened in consecutive tokens, the fabric's skew removed. n: tokens, T: steps per token."""

    first_position: int
    token_ids: npt.NDArray[np.int64]
    """(n,)"""
    outputs: Mapping[str, npt.NDArray[np.int16]]
    """By population, join and attention: its output, (n, T, size); spikes are 0 or 1, or -1, 0 or 1, the others their
    sums; see `require_recordable`."""
    score_spikes: Mapping[str, npt.NDArray[np.int8]]
    """By attention: a_j, (n, T, heads, stored tokens behind the last of these); 0 for tokens not yet stored."""
    accumulators: npt.NDArray[np.int64]
    """(n, vocabulary): the readout's, behind the token's last step."""
    membranes: Mapping[str, npt.NDArray[np.int32]]
    """By probed population: the stored membrane v behind each step, (n, T, size)."""
    saturations: Mapping[str, int]
    """By population and attention: how many membrane updates were clipped."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """What the host reads behind consecutive tokens: all that text and likelihoods need. n: tokens."""

    accumulators: npt.NDArray[np.int64]
    """(n, vocabulary): the readout's, behind the token's last step."""
    sums: npt.NDArray[np.int64]
    """(n, size of the readout's source): its outputs, summed over the token's steps."""


def reading_of(program: QuantizedProgram, activity: Activity) -> Reading:
    """Return the part of an activity that the host reads."""
    sums = activity.outputs[program.readout.source].sum(axis=1, dtype=np.int64)
    return Reading(accumulators=activity.accumulators, sums=sums)


def require_recordable(program: QuantizedProgram) -> None:
    """Check that no output can leave the 16 bits in which an `Activity` holds it; every session begins with this.

    Raises:
        BispikError: naming the node.
    """
    largest = int(np.iinfo(np.int16).max)
    for name, outputs in output_ranges(program.nodes, program.window).items():
        if outputs.magnitude > largest:
            raise BispikError(
                f"{name}: outputs could reach {outputs.magnitude:,}; runs are recorded with up to {largest:,}; "
                f"compile with a --window of at most {largest:,}"
            )


def joined(parts: Sequence[Activity]) -> Activity:
    """Return the activity of consecutive runs as one."""
    stored = parts[-1].first_position + len(parts[-1].token_ids)

    def padded(scores: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        return np.pad(scores, ((0, 0), (0, 0), (0, 0), (0, stored - scores.shape[3])))

    first = parts[0]
    return Activity(
        first_position=first.first_position,
        token_ids=np.concatenate([part.token_ids for part in parts]),
        outputs={name: np.concatenate([part.outputs[name] for part in parts]) for name in first.outputs},
        score_spikes={
            name: np.concatenate([padded(part.score_spikes[name]) for part in parts]) for name in first.score_spikes
        },
        accumulators=np.concatenate([part.accumulators for part in parts]),
        membranes={name: np.concatenate([part.membranes[name] for part in parts]) for name in first.membranes},
        saturations={name: sum(part.saturations[name] for part in parts) for name in first.saturations},
    )


def check_activity(program: QuantizedProgram, activity: Activity, where: str) -> None:
    """Check that an activity from a file has the shapes that the program gives, and outputs that it can have.

    Raises:
        BispikError: naming what does not fit.
    """
    ids, steps = activity.token_ids, program.steps_per_token
    stored = activity.first_position + len(ids)
    vocabulary = len(program.injection.token_table)
    plausible = ids.ndim == 1 and len(ids) > 0 <= activity.first_position and stored <= program.window
    if not plausible or ids.min() < 0 or ids.max() >= vocabulary:
        raise BispikError(f"{where}: its tokens do not fit the program")
    shapes: dict[str, tuple[int, ...]] = {"accumulators": (len(ids), vocabulary)}
    found: dict[str, tuple[int, ...] | None] = {"accumulators": activity.accumulators.shape}
    for node in program.nodes:
        if isinstance(node, (IntegerInjection, IntegerReadout)):
            continue
        shapes[node.name] = (len(ids), steps, node.size)
        found[node.name] = activity.outputs[node.name].shape if node.name in activity.outputs else None
        if isinstance(node, IntegerAttention):
            name = f"scores of {node.name}"
            shapes[name] = (len(ids), steps, node.heads, stored)
            found[name] = activity.score_spikes[node.name].shape if node.name in activity.score_spikes else None
    for name, shape in shapes.items():
        if found[name] != shape:
            raise BispikError(f"{where}: {name} has shape {found[name]}, expected {shape}")
    for name, possible in output_ranges(program.nodes, program.window).items():
        _check_range(activity.outputs[name], possible, f"{where}: {name}")
    for attention in program.of_kind(IntegerAttention):
        possible = SPIKE_RANGES[attention.neurons.spikes]
        _check_range(activity.score_spikes[attention.name], possible, f"{where}: scores of {attention.name}")


def _check_range(outputs: npt.NDArray[np.int16] | npt.NDArray[np.int8], possible: OutputRange, where: str) -> None:
    low, high = int(outputs.min(initial=0)), int(outputs.max(initial=0))
    if low < possible.low or high > possible.high:
        raise BispikError(f"{where}: outputs from {low} to {high}; they can be {possible.low} to {possible.high}")


class Session(Protocol):
    """One sequence being run: keys, values and position are kept from call to call."""

    execution_mode: str
    """What ran, in words: for traces and reports."""

    def feed(self, token_ids: Sequence[int] | npt.NDArray[np.int64]) -> Activity:
        """Run the next tokens of the sequence.

        Raises:
            BispikError: if the sequence would outgrow the program's window or an id is not in the vocabulary.
        """
        ...

    def read(self, token_ids: Sequence[int] | npt.NDArray[np.int64]) -> Reading:
        """Run the next tokens as ``feed`` does and return what the host reads, which may take much less time.

        Raises:
            BispikError: as ``feed``.
        """
        ...

    def close(self) -> None:
        """Release processes and memory; harmless if repeated."""
        ...


class Backend(Protocol):
    """Opens sessions."""

    def __call__(self, program: QuantizedProgram, probes: Sequence[str] = ()) -> Session:
        """Start a sequence; ``probes`` are the populations whose membranes are recorded.

        Raises:
            BispikError: if the backend is not available here or cannot run the program; no other stands in for it.
        """
        ...


def checked_tokens(
    program: QuantizedProgram, token_ids: Sequence[int] | npt.NDArray[np.int64], position: int
) -> npt.NDArray[np.int64]:
    """Return the ids as an array if they may follow at ``position``.

    Raises:
        BispikError: for no ids, an id outside the vocabulary, or more tokens than the window has room for.
    """
    ids = np.asarray(token_ids, dtype=np.int64)
    vocabulary = len(program.injection.token_table)
    if ids.ndim != 1 or len(ids) == 0:
        raise BispikError("no tokens to run: the prompt is empty; give at least one token")
    if ids.min() < 0 or ids.max() >= vocabulary:
        raise BispikError(
            f"token id {ids.min() if ids.min() < 0 else ids.max()} is outside the vocabulary of {vocabulary}"
        )
    if position + len(ids) > program.window:
        raise BispikError(
            f"{position + len(ids)} tokens do not fit the window of {program.window}; "
            "shorten the prompt or compile with a larger --window"
        )
    return ids


class ActivityRecorder:
    """Collects what happens token by token and step by step, in the order of the program's nodes."""

    def __init__(self, program: QuantizedProgram, probes: Sequence[str] = ()) -> None:
        require_recordable(program)
        self.program = program
        self.probes = frozenset(probes)

    def start(self, first_position: int, token_ids: npt.NDArray[np.int64]) -> None:
        """Begin a run of tokens."""
        self.first_position, self.token_ids = first_position, token_ids
        self._outputs: dict[str, list[npt.NDArray[np.int16]]] = {}
        self._scores: dict[str, list[npt.NDArray[np.int64]]] = {}
        self._membranes: dict[str, list[npt.NDArray[np.int32]]] = {}
        self._saturations: dict[str, int] = {}
        self._accumulators: list[npt.NDArray[np.int64]] = []

    def population(
        self, name: str, spikes: npt.NDArray[np.int64], membrane: npt.NDArray[np.int64], saturations: int
    ) -> None:
        """Record one step of a population."""
        self.graded(name, spikes)
        self._saturations[name] = self._saturations.get(name, 0) + saturations
        if name in self.probes:
            self._membranes.setdefault(name, []).append(membrane.astype(np.int32))

    def graded(self, name: str, output: npt.NDArray[np.int64]) -> None:
        """Record one step of a join or an attention's output."""
        self._outputs.setdefault(name, []).append(output.astype(np.int16))

    def scores(self, name: str, spikes: npt.NDArray[np.int64], saturations: int) -> None:
        """Record one step of an attention's score neurons, (heads, stored tokens)."""
        self._scores.setdefault(name, []).append(spikes)
        self._saturations[name] = self._saturations.get(name, 0) + saturations

    def token(self, accumulators: npt.NDArray[np.int64]) -> None:
        """Record the end of a token."""
        self._accumulators.append(accumulators)

    def finish(self) -> Activity:
        """Return the run since ``start``."""
        tokens, steps = len(self.token_ids), self.program.steps_per_token
        stored = self.first_position + tokens

        def by_token(rows: list[npt.NDArray[ScalarT]]) -> npt.NDArray[ScalarT]:
            return np.stack(rows).reshape(tokens, steps, -1)

        scores: dict[str, npt.NDArray[np.int8]] = {}
        for name, rows in self._scores.items():
            heads = rows[0].shape[0]
            padded = np.zeros((tokens * steps, heads, stored), np.int8)
            for index, row in enumerate(rows):
                padded[index, :, : row.shape[1]] = row
            scores[name] = padded.reshape(tokens, steps, heads, stored)
        return Activity(
            first_position=self.first_position,
            token_ids=self.token_ids,
            outputs={name: by_token(rows) for name, rows in self._outputs.items()},
            score_spikes=scores,
            accumulators=np.stack(self._accumulators),
            membranes={name: by_token(rows) for name, rows in self._membranes.items()},
            saturations=self._saturations,
        )
