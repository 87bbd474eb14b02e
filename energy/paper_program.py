"""Where a program of the user's lies in the papers' table: the same assumptions, with events that were counted."""

from __future__ import annotations

from dataclasses import dataclass

from bispik.backends.counts import EventCounts
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.program import IntegerAttention
from bispik.energy.account import account
from bispik.energy.baselines import ann_work, baseline_constants, dense_weights
from bispik.energy.paper import ASSUMPTIONS, Assumption
from bispik.energy.profiles import load_profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A counted run by one assumption."""

    assumption: str
    rate: float
    """Spikes, or numbers other than 0, per input of a synapse and time step: synops / (T * MACs)."""
    ratio: float
    """Energy over that of the ANN of the same shape, FP32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramPoints:
    """A program in the table."""

    steps: int
    """Per token."""
    tokens: int
    points: tuple[Point, ...]
    audited: float
    """The account itself, with profile ``paper-45nm``: every synop of a spike an addition, every other one a
    multiplication, over all MACs of the ANN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One kind of work over the whole run."""

    macs: int
    """Of the ANN."""
    synops: int
    graded: int
    """Of the synops, those of numbers."""


def program_points(mapped: MappedProgram, counts: EventCounts) -> ProgramPoints:
    """Return a counted run by every assumption of the papers' table, and by our own audit."""
    program, tokens = mapped.program, counts.tokens
    head, every = program.readout.weight.size, dense_weights(program)
    attended = 2 * sum(a.size for a in program.of_kind(IntegerAttention)) * int((counts.positions + 1).sum())
    parts = {
        "projections": _Part(
            macs=(every - head) * tokens,
            synops=counts.total("synop_dense"),
            graded=counts.total("graded_dense"),
        ),
        "attention": _Part(macs=attended, synops=counts.total("synop_score", "synop_value"), graded=0),
        "head": _Part(macs=head * tokens, synops=counts.total("synop_readout"), graded=counts.total("graded_readout")),
    }
    steps = program.steps_per_token
    return ProgramPoints(
        steps=steps,
        tokens=tokens,
        points=tuple(_point(assumption, parts, steps) for assumption in ASSUMPTIONS),
        audited=account(mapped, counts, load_profile("paper-45nm")).total.default
        / (baseline_constants()["mac_fp32"].value.default * ann_work(program, counts.positions)[0]),
    )


def _point(assumption: Assumption, parts: dict[str, _Part], steps: int) -> Point:
    add = load_profile("paper-45nm")["synop_dense"].default
    mac = baseline_constants()["mac_fp32"].value.default
    counted = [parts["projections"]]
    counted += [parts["attention"]] if assumption.attention else []
    counted += [parts["head"]] if assumption.head and assumption.spiking_head else []
    multiplied = parts["head"].macs if assumption.head and not assumption.spiking_head else 0
    synops = sum(part.synops for part in counted)
    if not assumption.spiking_mix:
        graded = parts["projections"].graded
        synops, multiplied = synops - graded, multiplied + graded
    macs = sum(part.macs for part in counted)
    whole = macs + (parts["head"].macs if assumption.head and not assumption.spiking_head else 0)
    return Point(
        assumption=assumption.name,
        rate=sum(part.synops for part in counted) / (steps * macs) if macs else 0.0,
        ratio=(add * synops + mac * multiplied) / (mac * whole) if whole else 0.0,
    )
