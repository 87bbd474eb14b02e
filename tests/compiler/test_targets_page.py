"""docs/targets.md names what a sheet has to say."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from bispik.compiler.target import Mesh, Resources, State, Storage, System, list_targets, load_target

PAGE = (Path(__file__).parents[2] / "docs" / "targets.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", [Resources, Storage, State, Mesh, System])
def test_the_page_names_every_entry(table: type) -> None:
    assert [field.name for field in fields(table) if f"`{field.name}`" not in PAGE and field.name != "name"] == []


def test_the_page_names_every_target_and_loihi1s_boards() -> None:
    assert all(f"`{name}`" in PAGE for name in (*list_targets(), *load_target("loihi1").systems))
