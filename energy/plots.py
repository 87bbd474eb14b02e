"""Pictures with two axes: the distribution of firing rates, and floats against integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bispik.backends.observe import Observed
from bispik.compiler.program import PopulationReport
from bispik.energy import formats
from bispik.energy.axes import Axis
from bispik.energy.labels import population_label
from bispik.energy.views import Tick

BIN_WIDTHS = (0.0025, 0.005, 0.01, 0.02, 0.025, 0.05)
"""Of the distribution: the narrowest that gives no more than MOST_BINS."""

MOST_BINS = 24

BOX = (400, 300, 58, 380, 12, 254)
"""Of both pictures: width, height, and where the axes are: left, right, top, bottom."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A rectangle, or a circle's centre, and what it says."""

    x: float
    y: float
    width: float
    height: float
    title: str
    other: bool = False
    """Of the second kind, in another colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A picture with two axes, in a box of ``width`` by ``height``."""

    key: str
    """Unique on the page."""
    title: str
    description: str
    across: str
    """What the axis from left to right is."""
    up: str
    """What the axis from bottom to top is."""
    width: int
    height: int
    left: float
    bottom: float
    right: float
    top: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateDistribution:
    """How many neurons spike how often; rates are spikes per neuron and time step over ``tokens``."""

    tokens: int
    neurons: int
    silent: int
    """That never spiked."""
    quantiles: tuple[tuple[float, float], ...]
    """Share of the neurons, and the rate that these do not exceed."""
    bins: tuple[tuple[float, float, int], ...]
    """From, to, neurons; the upper end belongs to the next one, but of the last."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "tokens": self.tokens,
            "neurons": self.neurons,
            "silent": self.silent,
            "quantiles": [{"share": share, "rate": rate} for share, rate in self.quantiles],
            "bins": [{"from": low, "to": high, "neurons": number} for low, high, number in self.bins],
        }


def rate_distribution(observed: Observed) -> RateDistribution:
    """Return the distribution of all neurons' rates."""
    rates = np.concatenate(list(observed.rates.values()))
    largest = float(rates.max())
    width = next((w for w in BIN_WIDTHS if largest <= w * MOST_BINS), BIN_WIDTHS[-1])
    number = max(1, int(np.ceil(round(largest / width, 9))))
    found, edges = np.histogram(rates, bins=number, range=(0.0, number * width))
    shares = (0.1, 0.5, 0.9, 1.0)
    return RateDistribution(
        tokens=observed.tokens,
        neurons=len(rates),
        silent=int(np.count_nonzero(rates == 0)),
        quantiles=tuple(zip(shares, np.quantile(rates, shares).tolist(), strict=True)),
        bins=tuple(zip(edges[:-1].tolist(), edges[1:].tolist(), found.tolist(), strict=True)),
    )


def distribution_plot(found: RateDistribution) -> Plot:
    """Return the distribution as bars."""
    width, height, left, right, top, bottom = BOX
    x = Axis.to(found.bins[-1][1], left, right)
    y = Axis.to(max(number for _, _, number in found.bins), bottom, top)
    rates = dict(found.quantiles)
    marks = tuple(
        Mark(
            x.at(low) + 0.5,
            y.at(number),
            x.at(high) - x.at(low) - 1,
            bottom - y.at(number),
            f"{formats.percent(low)} to {formats.percent(high)}: {formats.number_of(number, 'neuron')}",
        )
        for low, high, number in found.bins
        if number
    )
    return Plot(
        key="distribution",
        title="How many neurons spike how often",
        description=(
            f"{formats.number_of(found.neurons, 'neuron')} over {formats.number_of(found.tokens, 'token')}: "
            f"{formats.percent(found.silent / found.neurons)} never spiked, half of them spike in at most "
            f"{formats.percent(rates[0.5])} of the time steps, nine of ten in at most {formats.percent(rates[0.9])}, "
            f"the busiest in {formats.percent(rates[1.0])}."
        ),
        across="Spikes per neuron and time step",
        up="Neurons",
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        x_ticks=x.ticks(_percent),
        y_ticks=y.ticks(formats.count),
        marks=marks,
    )


def scatter_plot(populations: Sequence[PopulationReport]) -> Plot:
    """Return each population's firing rate in integers against that in floating point."""
    width, height, left, right, top, bottom = BOX
    largest = max(max(p.firing_rate_float, p.firing_rate_integer) for p in populations)
    x, y = Axis.to(largest, left, right), Axis.to(largest, bottom, top)
    farthest = max(populations, key=lambda p: abs(p.firing_rate_integer - p.firing_rate_float))
    between = abs(farthest.firing_rate_integer - farthest.firing_rate_float)
    return Plot(
        key="scatter",
        title="Firing rates, floats against integers",
        description=(
            f"{formats.number_of(len(populations), 'population')} on held-out text; on the line both rates are the "
            f"same. The farthest from it is {population_label(farthest.name)}: "
            f"{formats.percent(farthest.firing_rate_float)} in floating point, "
            f"{formats.percent(farthest.firing_rate_integer)} in integers, {formats.plain(100 * between)} points apart."
        ),
        across="Floating point",
        up="Integers",
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        x_ticks=x.ticks(_percent),
        y_ticks=y.ticks(_percent),
        marks=tuple(
            Mark(
                x.at(p.firing_rate_float),
                y.at(p.firing_rate_integer),
                0,
                0,
                f"{population_label(p.name)}: {formats.percent(p.firing_rate_float)} in floating point, "
                f"{formats.percent(p.firing_rate_integer)} in integers",
            )
            for p in populations
        ),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"
