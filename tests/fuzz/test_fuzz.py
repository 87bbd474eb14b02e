"""Files from strangers: whatever is in them, they are read or refused in one line, in little time and memory."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fuzz.campaign import Fault, shares, unguarded_faults
from tests.fuzz.kinds import KINDS
from tests.fuzz.seeds import write_seeds

FEW, MANY = 1_000, 100_000
"""Cases of `make test` and of `make test-all`."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited by Linux's numbers")


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    write_seeds(folder)
    return folder


def all_faults(seeds: Path, work: Path, cases: int) -> list[Fault]:
    share = shares(cases)
    assert sum(share.values()) >= cases
    workers = min(len(os.sched_getaffinity(0)), 8)
    groups = [{kind: share[kind] for kind in list(KINDS)[first::workers]} for first in range(workers)]
    with ThreadPoolExecutor(workers) as pool:  # each waits for processes
        found = pool.map(lambda group: unguarded_faults(seeds, work, group), groups)
        return [fault for faults in found for fault in faults]


def test_a_few_damaged_files_of_each_kind(seeds: Path, tmp_path: Path) -> None:
    assert all_faults(seeds, tmp_path, FEW) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_damaged_files(seeds: Path, tmp_path: Path) -> None:
    assert all_faults(seeds, tmp_path, MANY) == []
