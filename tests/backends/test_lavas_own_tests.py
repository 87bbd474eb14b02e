"""Lava's own unit tests pass under our shim, and docs/lava.md has the counts."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.lavas_own_tests import FILES, ROOT, run_lavas_own_tests


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_they_pass_and_are_as_many_as_the_page_says(tmp_path: Path) -> None:
    outcome = run_lavas_own_tests(Path(sys.executable), tmp_path)
    assert not outcome.failed, outcome.output
    page = (ROOT / "docs" / "lava.md").read_text()
    said = dict(re.findall(r"^\| `([\w/]+\.py)` \| (\d+) \|", page, re.MULTILINE))
    assert {name: int(count) for name, count in said.items()} == outcome.passed
    assert list(said) == list(FILES)
