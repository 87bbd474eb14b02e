"""The papers' 45 nm convention on shapes alone: which firing rates and assumptions give the ratios that were published.

Per token, with W weights in the blocks' projections, W_o = d^2 of them a block behind attention, H = vocabulary * d in
the head, and A = 2 d * (context / 2) products a block of attention:

    ANN = e_mac * M                                         M: those of W, A and H that are counted
    SNN = e_add * rate * T * S + e_mac * (M - S)            S: those of M whose inputs are spikes
    SNN / ANN = (1 - S / M) + e_add / e_mac * T * rate * S / M

``rate`` is spikes per neuron and time step, one for all neurons. 1 - S / M is a floor that no rate goes below: what
stays a multiplication. All constants are those of the profile ``paper-45nm`` and of ``baselines.toml``.
"""

from __future__ import annotations

from dataclasses import dataclass

from bispik.energy.baselines import PRECISIONS, baseline_constants
from bispik.energy.profiles import load_profile
from bispik.energy.published import PublishedRatio, published
from bispik.models.bispikclm.named_shapes import load_shape

SHAPES = ("opt-125m", "opt-350m", "opt-1.3b")

STEPS = (2, 4)

RATES = (0.02, 0.05, 0.10, 0.15, 0.20, 0.30)

CONTEXT = 2048
"""Tokens of the published training sequences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Multiply-accumulates per token of the ANN of a shape, by part."""

    name: str
    projections: int
    """Of the blocks, W_o included."""
    mixed: int
    """W_o: behind attention, whose sums are no spikes."""
    head: int
    attention: int
    """Scores and sums of values, mean over a context of `CONTEXT` tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """What is counted, and what of it is taken to be driven by spikes."""

    name: str
    attention: bool
    """Whether Q K^T and A V are counted, as driven by spikes."""
    head: bool
    """Whether the LM head is counted."""
    spiking_head: bool = True
    """Whether its inputs are spikes; else its multiplications are left."""
    spiking_mix: bool = True
    """Whether W_o's inputs are; in the paper's network they are sums of value spikes."""

    def counted(self, work: Work) -> int:
        """Return M."""
        return work.projections + self.attention * work.attention + self.head * work.head

    def multiplied(self, work: Work) -> int:
        """Return M - S."""
        return (not self.spiking_mix) * work.mixed + (self.head and not self.spiking_head) * work.head


ASSUMPTIONS = (
    Assumption(name="blocks", attention=False, head=False),
    Assumption(name="blocks, attention", attention=True, head=False),
    Assumption(name="blocks, attention, spiking head", attention=True, head=True),
    Assumption(name="blocks, MAC head", attention=False, head=True, spiking_head=False),
    Assumption(name="blocks, attention, MAC head", attention=True, head=True, spiking_head=False),
    Assumption(name="blocks, MAC W_o", attention=False, head=False, spiking_mix=False),
    Assumption(
        name="blocks, attention, MAC head and W_o", attention=True, head=True, spiking_head=False, spiking_mix=False
    ),
)
"""``MAC``: those multiplications are left, because what they take is no spike. The last is what our audit finds in the
paper's network, the others leave something out or take for spikes what are sums of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioRow:
    """Ratios of one shape, number of steps and assumption over `RATES`."""

    shape: str
    steps: int
    assumption: str
    floor: float
    ratios: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """Whether an assumption can give a published ratio, and at which firing rates."""

    published: PublishedRatio
    assumption: str
    floor: float
    rates: tuple[float, float] | None
    """At the published low and high; None if no rate from 0 to 1 gives the high one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleLength:
    """How many tokens the published joules of a sample are, if so much is counted."""

    assumption: str
    tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRow:
    """A published ratio at the rate that it implies, had the convention counted weights from memory."""

    published: PublishedRatio
    ratios: tuple[tuple[str, float], ...]
    """By precision of the ANN, at the published high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperTable:
    """Everything that ``--paper`` says without a program."""

    rows: tuple[RatioRow, ...]
    reproductions: tuple[Reproduction, ...]
    samples: tuple[SampleLength, ...]
    memory: tuple[MemoryRow, ...]


def work_of(shape: str) -> Work:
    """Return the products of a packaged shape; causal attention sees half of its context on average."""
    config = load_shape(shape)
    size, layers = config.hidden_size, config.num_layers
    return Work(
        name=shape,
        projections=layers * (4 * size * size + 2 * size * config.intermediate_size),
        mixed=layers * size * size,
        head=config.vocab_size * size,
        attention=layers * size * (CONTEXT + 1),
    )


def add_over_mac() -> float:
    """Return e_add / e_mac, 0.9 / 4.6."""
    return load_profile("paper-45nm")["synop_dense"].default / baseline_constants()["mac_fp32"].value.default


def floor(work: Work, assumption: Assumption) -> float:
    """Return 1 - S / M."""
    return assumption.multiplied(work) / assumption.counted(work)


def ratio(work: Work, assumption: Assumption, rate: float, steps: int) -> float:
    """Return SNN / ANN."""
    least = floor(work, assumption)
    return least + (1 - least) * add_over_mac() * rate * steps


def rate_for(work: Work, assumption: Assumption, wanted: float, steps: int) -> float:
    """Return the firing rate that gives a ratio; below 0 or above 1 where none does."""
    least = floor(work, assumption)
    return (wanted - least) / ((1 - least) * add_over_mac() * steps)


def with_memory(rate: float, steps: int, precision: str) -> float:
    """Return SNN / ANN if everything spikes and both fetch a weight for every operation, from the same memory.

    Args:
        rate: spikes per neuron and step.
        steps: per token.
        precision: of the ANN, a name in `baselines.PRECISIONS`.
    """
    name = next(constant for known, constant, _ in PRECISIONS if known == precision)
    mac = baseline_constants()[name].value.default
    add, fetched = load_profile("paper-45nm")["synop_dense"].default, published().weight_fetched.value.default
    return rate * steps * (add + fetched) / (mac + fetched)


def paper_table() -> PaperTable:
    """Return ratios over shapes, steps, assumptions and rates, and what reproduces the published ones."""
    works = {shape: work_of(shape) for shape in SHAPES}
    return PaperTable(
        rows=tuple(
            RatioRow(
                shape=shape,
                steps=steps,
                assumption=assumption.name,
                floor=floor(work, assumption),
                ratios=tuple(ratio(work, assumption, rate, steps) for rate in RATES),
            )
            for shape, work in works.items()
            for steps in STEPS
            for assumption in ASSUMPTIONS
        ),
        reproductions=tuple(
            _reproduction(works[entry.shape], assumption, entry)
            for entry in published().ratios
            for assumption in ASSUMPTIONS
        ),
        samples=tuple(_sample(works[published().sample.shape], assumption) for assumption in ASSUMPTIONS[:4]),
        memory=tuple(_memory(entry) for entry in published().ratios),
    )


def _reproduction(work: Work, assumption: Assumption, entry: PublishedRatio) -> Reproduction:
    low, high = (rate_for(work, assumption, wanted, entry.steps) for wanted in (entry.low, entry.high))
    return Reproduction(
        published=entry,
        assumption=assumption.name,
        floor=floor(work, assumption),
        rates=(max(0.0, low), high) if 0 <= high <= 1 else None,
    )


def _memory(entry: PublishedRatio) -> MemoryRow:
    rate = rate_for(work_of(entry.shape), ASSUMPTIONS[0], entry.high, entry.steps)
    ratios = tuple((precision, with_memory(rate, entry.steps, precision)) for precision, _, _ in PRECISIONS)
    return MemoryRow(published=entry, ratios=ratios)


def _sample(work: Work, assumption: Assumption) -> SampleLength:
    """Solve e_mac * n * (W + H + A per token of context * (n + 1)) = joules for the number of tokens n."""
    macs = published().sample.ann_joules / baseline_constants()["mac_fp32"].value.default
    by_token = work.projections + assumption.head * work.head
    if not assumption.attention:
        return SampleLength(assumption=assumption.name, tokens=macs / by_token)
    square = work.attention / (CONTEXT + 1)
    linear = by_token + square
    return SampleLength(
        assumption=assumption.name, tokens=((linear**2 + 4 * square * macs) ** 0.5 - linear) / (2 * square)
    )
