"""What others published: ratios that our paper table tries to reproduce, and measurements that are quoted as such."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from bispik.energy.constants import Constant, parse_constant, parse_toml


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRatio:
    """Energy of a spiking network over that of the ANN of its shape, as published."""

    name: str
    shape: str
    """A packaged shape."""
    steps: int
    """Time steps per token, T."""
    low: float
    high: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSample:
    """Joules of one sample, whose length was not published."""

    shape: str
    steps: int
    ann_joules: float
    snn_joules: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A measurement on hardware, of another network: quoted beside an account, never mixed into it."""

    name: str
    low: float
    """Joules per token."""
    high: float
    tokens_per_second: float | None
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name,
            "j_per_token": {"low": self.low, "high": self.high},
            "tokens_per_second": self.tokens_per_second,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """All of them."""

    ratios: tuple[PublishedRatio, ...]
    sample: PublishedSample
    anchors: tuple[Anchor, ...]
    weight_fetched: Constant
    """Energy of reading an 8-bit weight, which the convention leaves out."""


@cache
def published() -> Published:
    """Return the figures of ``published.toml``."""
    where = "published.toml"
    sheet = parse_toml(files("bispik.energy").joinpath(where).read_text(encoding="utf-8"), where)
    return Published(
        ratios=tuple(PublishedRatio(**entry) for entry in sheet["ratios"]),
        sample=PublishedSample(**sheet["sample"]),
        anchors=tuple(
            Anchor(
                name=entry["name"],
                low=entry["joules_per_token"][0],
                high=entry["joules_per_token"][1],
                tokens_per_second=entry.get("tokens_per_second"),
                source=entry["source"],
            )
            for entry in sheet["anchors"]
        ),
        weight_fetched=parse_constant("weight_fetched", sheet["constants"]["weight_fetched"], "energy", where),
    )
