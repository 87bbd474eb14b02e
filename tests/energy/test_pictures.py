"""Spike raster, distribution of rates, scatter, and tokens beside their text."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from bispik.backends import observe as observing
from bispik.backends.observe import observe
from bispik.backends.reference import ReferenceSession
from bispik.compiler.program import IntegerPopulation, PopulationReport
from bispik.energy.axes import MOST_TICKS, Axis
from bispik.energy.json_report import report_json
from bispik.energy.labels import population_label
from bispik.energy.plots import distribution_plot, rate_distribution, scatter_plot
from bispik.energy.raster import LABELS, TOKEN, raster, raster_json, short_word
from bispik.energy.report import render_html
from bispik.energy.token_views import token_plot, token_rows
from tests.energy.runs import report_input
from tests.networks import random_program, random_tokens


@pytest.mark.parametrize("spikes", ["binary", "ternary"])
def test_observed_neurons_do_what_the_reference_does(spikes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "AT_ONCE", 3)
    monkeypatch.setattr(observing, "RASTER_TOKENS", 4)
    program = random_program(5, window=8, spikes="ternary" if spikes == "ternary" else "binary")
    tokens = random_tokens(program, 5)
    found, sent = observe(program, tokens), ReferenceSession(program).feed(tokens).outputs
    assert (found.tokens, found.raster_tokens) == (8, 4)
    assert [row.population for row in found.rows] == [p.name for p in program.of_kind(IntegerPopulation)]
    for row in found.rows:
        outputs = sent[row.population]
        assert np.array_equal(found.rates[row.population], (outputs != 0).mean(axis=(0, 1)))
        kept = np.sign(outputs[:4]).reshape(-1, outputs.shape[-1])[:, row.neurons]
        assert np.array_equal(row.spikes, kept.T)
    if spikes == "ternary":
        assert min(row.spikes.min() for row in found.rows) == -1


def test_long_runs_are_observed_at_their_beginning() -> None:
    program = random_program(6, window=observing.TOKENS + 5)
    tokens = random_tokens(program, 6)
    found = observe(program, tokens)
    assert (found.tokens, found.raster_tokens) == (observing.TOKENS, observing.RASTER_TOKENS)
    again = observe(program, tokens[: found.tokens]).rates
    assert all(np.array_equal(rate, again[name]) for name, rate in found.rates.items())


def test_every_neuron_is_in_the_distribution() -> None:
    report = report_input()
    assert report.observed is not None
    rates = np.concatenate(list(report.observed.rates.values()))
    found = rate_distribution(report.observed)
    assert sum(number for _, _, number in found.bins) == found.neurons == len(rates)
    assert found.silent == np.count_nonzero(rates == 0)
    assert dict(found.quantiles)[1.0] == rates.max() <= found.bins[-1][1] + 1e-12
    tallest = max(distribution_plot(found).marks, key=lambda mark: mark.height)
    assert f"{max(number for _, _, number in found.bins):,} neurons" in tallest.title


def test_silent_networks_have_a_distribution_too() -> None:
    observed = observe(random_program(3), np.array([1]))
    silent = replace(observed, rates={name: np.zeros_like(rate) for name, rate in observed.rates.items()})
    found = rate_distribution(silent)
    assert found.silent == found.neurons == found.bins[0][2]
    assert "100% never spiked" in distribution_plot(found).description


def test_dots_on_the_line_have_the_same_rates() -> None:
    populations = [
        PopulationReport(
            name=name, spike_agreement=1.0, membrane_error=0.0, firing_rate_float=floats, firing_rate_integer=integers
        )
        for name, floats, integers in (("embed", 0.25, 0.25), ("block_01/attn/query", 0.1, 0.3))
    ]
    plot = scatter_plot(populations)
    rates = [
        ((mark.x - plot.left) / (plot.right - plot.left), (plot.bottom - mark.y) / (plot.bottom - plot.top))
        for mark in plot.marks
    ]
    assert rates[0][0] == pytest.approx(rates[0][1])
    assert 3 * rates[1][0] == pytest.approx(rates[1][1])
    assert "The farthest from it is Block 1, query: 10.0% in floating point, 30.0% in integers" in plot.description


def test_the_raster_draws_each_spike_once() -> None:
    report = report_input()
    assert report.observed is not None
    picture = raster(report.observed, report.words)
    spikes = sum(int(np.count_nonzero(row.spikes)) for row in report.observed.rows)
    dashes = [dash for row in picture.rows for dash in re.findall(r"M([\d.]+) ([\d.]+)h", row.spikes + row.negative)]
    assert len(dashes) == len(set(dashes)) == spikes > 0
    assert all(LABELS <= float(x) < LABELS + TOKEN * report.observed.raster_tokens for x, _ in dashes)
    assert all(float(y) < picture.height for _, y in dashes)
    assert sum(line["spikes"].count("x") for line in raster_json(report.observed)) == spikes
    assert [whole for _, _, whole in picture.words] == report.words


@pytest.mark.parametrize(
    ("word", "short"),
    [(" Moses", "Moses"), ("\n", "↵"), (" ", "␣"), ("", "…"), ("inhabitants", "inha…"), ("a\tb", "a⇥b")],
)
def test_words_over_the_raster(word: str, short: str) -> None:
    assert short_word(word) == short


@pytest.mark.parametrize("largest", [0.0, 3e-9, 0.0999, 0.2, 1.0, 7.0, 1234.5, 99999.0])
def test_axes_end_at_round_numbers(largest: float) -> None:
    axis = Axis.to(largest, 10, 110)
    ticks = axis.ticks(lambda value: f"{value:g}")
    assert 2 <= len(ticks) <= MOST_TICKS + 1
    assert ticks[0].at == 10
    assert ticks[-1].at == pytest.approx(110)
    assert all(len(tick.label.replace(".", "").strip("0").partition("e")[0]) <= 3 for tick in ticks)
    assert 10 <= axis.at(largest) <= 110


def test_tokens_stand_beside_their_energy() -> None:
    report = report_input()
    rows = token_rows(report.counts, report.energy, report.words, report.prompt_tokens)
    assert [row.text for row in rows] == report.words
    assert [row.generated for row in rows] == [False] + [True] * (len(rows) - 1)
    assert [row.joules for row in rows] == report.energy.token_joules.tolist()
    assert {min(row.level for row in rows), max(row.level for row in rows)} == {0.0, 1.0}
    assert sum(row.synops for row in rows) == report.counts.synops
    heights = [mark.height for mark in token_plot(rows).marks]
    assert [h / heights[0] for h in heights] == pytest.approx([row.joules / rows[0].joules for row in rows])
    tokens = report_json(report)["energy"]["tokens"]
    assert [(t["id"], t["text"]) for t in tokens] == list(zip(report.token_ids.tolist(), report.words, strict=True))


def test_without_a_tokeniser_tokens_are_numbers() -> None:
    report = replace(report_input(), text=None, observed=None)
    assert report.words == [str(token) for token in report.token_ids.tolist()]
    values = report_json(report)
    assert values["energy"]["tokens"][0]["text"] is None
    assert (values["rate_distribution"], values["raster"]) == (None, [])
    page = render_html(report)
    assert "Token by token" in page
    assert "Spikes over the text" not in page


def test_names_of_populations() -> None:
    assert population_label("block_03/attn/query") == "Block 3, query"
    assert population_label("block_00/ffn/fc1") == "Block 0, FFN 1"
    assert population_label("embed") == "Embedding neurons"
