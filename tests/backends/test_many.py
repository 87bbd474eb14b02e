"""Sequences on several processes and on a cluster: the results, order and counts of one behind the other."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bispik.backends.counts import EVENTS, EventCounts, count_events
from bispik.backends.many import Workers, map_sequences, merged_counts
from bispik.backends.registry import DEFAULTS, RunOptions, open_session
from bispik.backends.run import Request, Sampling, SequenceRun, run_sequence
from bispik.backends.stream.run import counted_stream
from bispik.backends.together import run_together
from bispik.compiler.artifact import save_program
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.stream.artifact import save_stream
from bispik.compiler.stream.mapping import map_stream
from bispik.compiler.stream.wiring import Dense
from bispik.compiler.target import load_target
from bispik.models.errors import BispikError
from tests.mappings import scattered, small_target
from tests.networks import random_program, random_tokens
from tests.stream.layers import one_layer

SAMPLED = Sampling(temperature=2.0, top_k=7, seed=5)
ON_SIM = partial(run_sequence, backend="sim", options=DEFAULTS)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "program.bspk"
    save_program(scattered(random_program(4), 1), path)
    return path


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    network = random_program(4)
    return [
        Request(
            prompt=tuple(random_tokens(network, n, 1 + n % 3).tolist()), max_new_tokens=3, sampling=SAMPLED, stream=n
        )
        for n in range(5)
    ]


@pytest.fixture(scope="module")
def alone(program: Path, requests: list[Request]) -> list[SequenceRun]:
    return list(map_sequences(ON_SIM, program, requests, Workers()))


@pytest.fixture
def cluster() -> Generator[str]:
    """Two worker processes on this machine."""
    import distributed

    local_cluster: Any = distributed.LocalCluster  # distributed's own signature has no types
    with local_cluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as local:
        yield local.scheduler_address


def assert_same(ours: list[SequenceRun], theirs: list[SequenceRun]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.token_ids, other.token_ids)
    assert_same_counts(merged_counts(run.counts for run in ours), merged_counts(run.counts for run in theirs))


def assert_same_counts(ours: EventCounts, theirs: EventCounts) -> None:
    assert ours.to_dict() == theirs.to_dict()
    for event in EVENTS:
        np.testing.assert_array_equal(ours.events[event], theirs.events[event])
        np.testing.assert_array_equal(ours.per_token[event], theirs.per_token[event])
    np.testing.assert_array_equal(ours.positions, theirs.positions)
    np.testing.assert_array_equal(ours.load.sequential, theirs.load.sequential)


def test_merged_counts_are_sums_over_slices_and_tokens_in_order(requests: list[Request]) -> None:
    network = random_program(4)
    mapped = scattered(network, 1)
    runs = [open_session("reference", network).feed(request.prompt) for request in requests]
    parts = [count_events(mapped, run) for run in runs]
    merged = merged_counts(parts)
    assert merged.positions.tolist() == [n for request in requests for n in range(len(request.prompt))]
    for event in EVENTS:
        np.testing.assert_array_equal(merged.events[event], np.sum([part.events[event] for part in parts], axis=0))
        assert merged.per_token[event].tolist() == [n for part in parts for n in part.per_token[event].tolist()]
        assert merged.total(event) == merged.per_token[event].sum()


@pytest.mark.timeout(120)
def test_two_processes_give_the_results_of_one_and_end(
    program: Path, requests: list[Request], alone: list[SequenceRun]
) -> None:
    assert_same(list(map_sequences(ON_SIM, program, requests, Workers(jobs=2))), alone)
    processes = set(map_sequences(process_of, program, range(4), Workers(jobs=2)))
    assert os.getpid() not in processes
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def process_of(_mapped: MappedProgram, _item: int) -> int:
    return os.getpid()


@pytest.mark.timeout(120)
def test_a_cluster_gives_the_results_of_one_process(
    cluster: str, program: Path, requests: list[Request], alone: list[SequenceRun]
) -> None:
    assert_same(list(map_sequences(ON_SIM, program, requests, Workers(dask=cluster))), alone)
    with pytest.raises(BispikError, match="token id 99 is outside the vocabulary"):
        list(map_sequences(ON_SIM, program, [*requests, Request(prompt=(99,))], Workers(dask=cluster)))


@pytest.mark.timeout(120)
def test_a_worker_that_finds_another_program_says_so(
    program: Path, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bispik.backends.many.file_digest", lambda _path: "0" * 64)  # here, not on the workers
    with pytest.raises(BispikError, match=r"program\.bspk: is another program there, on a worker"):
        list(map_sequences(ON_SIM, program, requests, Workers(jobs=2)))


@pytest.mark.timeout(120)
def test_a_process_that_dies_is_reported(program: Path) -> None:
    with pytest.raises(BispikError, match="--jobs 2: a process ended"):
        list(map_sequences(killed, program, [9, 9], Workers(jobs=2)))


def killed(_mapped: MappedProgram, signal: int) -> None:
    os.kill(os.getpid(), signal)


def test_sequences_do_not_depend_on_each_other_or_on_order(
    program: Path, requests: list[Request], alone: list[SequenceRun]
) -> None:
    assert_same(list(map_sequences(ON_SIM, program, requests[::-1], Workers()))[::-1], alone)
    same = [Request(prompt=(1,), max_new_tokens=6, sampling=SAMPLED, stream=stream) for stream in range(4)]
    found = {tuple(run.token_ids.tolist()) for run in map_sequences(ON_SIM, program, same, Workers())}
    assert len(found) > 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", [Workers(), Workers(jobs=2)])
def test_what_a_sequence_is_refused_for_is_said(program: Path, requests: list[Request], workers: Workers) -> None:
    with pytest.raises(BispikError, match="token id 99 is outside the vocabulary"):
        list(map_sequences(ON_SIM, program, [*requests, Request(prompt=(99,))], workers))


def test_a_cluster_runs_stream_programs_too(cluster: str, tmp_path: Path) -> None:
    program = tmp_path / "stream.bspk"
    save_stream(map_stream(one_layer(Dense(inputs=12, outputs=5)), load_target("loihi2")), program)
    rng = np.random.default_rng(0)
    samples = [(rng.random((9, 12)) < 0.3).astype(np.int32) for _ in range(4)]
    work = partial(counted_stream, backend="sim")
    alone, shared = (list(map_sequences(work, program, samples, w)) for w in (Workers(), Workers(dask=cluster)))
    for one, other in zip(alone, shared, strict=True):
        assert (one.run.output == other.run.output).all()
        assert one.counts.to_dict() == other.counts.to_dict()


def test_no_cluster_is_said_to_be_none(program: Path, requests: list[Request], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bispik.backends.many.CONNECT_SECONDS", 0.2)
    with pytest.raises(BispikError, match=r"--dask tcp://127\.0\.0\.1:9: no scheduler answers there"):
        list(map_sequences(ON_SIM, program, requests, Workers(dask="tcp://127.0.0.1:9")))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BispikError, match=r"pip install 'bispik\[cluster\]'"):
        list(map_sequences(ON_SIM, program, requests, Workers(dask="tcp://127.0.0.1:9")))


@pytest.mark.parametrize(("values", "message"), [({"jobs": 0}, "--jobs 0"), ({"jobs": 2, "dask": "x"}, "one of them")])
def test_impossible_workers_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BispikError, match=message):
        Workers(**values)


def test_options_and_probes_that_a_backend_does_not_have_are_refused() -> None:
    network = random_program(4)
    with pytest.raises(BispikError, match="--threads 2: backend reference has no threads"):
        open_session("reference", network, options=RunOptions(threads=2))
    with pytest.raises(BispikError, match="--threads 0: give at least 1"):
        open_session("sim", network, options=RunOptions(threads=0))
    with pytest.raises(BispikError, match="no population to probe is called nobody"):
        open_session("sim", network, ["nobody"])


@pytest.mark.parametrize("form", [{}, {"spikes": "ternary"}, {"norm": True, "stream": True, "pre_spike": False}])
@pytest.mark.parametrize("threads", [1, 2])
def test_sequences_side_by_side_are_those_that_each_would_be_alone(form: dict[str, Any], threads: int) -> None:
    program = random_program(2, window=12, heads=2, head_dim=4, **form)
    mapped = scattered(program, 2, small_target(500))
    requests = [
        Request(
            prompt=tuple(random_tokens(program, number, length).tolist()),
            max_new_tokens=new,
            sampling=Sampling(temperature=0.8, top_k=5, seed=3),
            stream=number,
        )
        for number, (length, new) in enumerate([(3, 5), (12, 4), (1, 0), (2, 20)])
    ]
    options = RunOptions(threads=threads)
    together = run_together(mapped, requests, options)
    for request, run in zip(requests, together, strict=True):
        alone = run_sequence(mapped, request, "reference", RunOptions())
        assert run.token_ids.tolist() == alone.token_ids.tolist()
        for event in EVENTS:
            np.testing.assert_array_equal(run.counts.events[event], alone.counts.events[event])
            np.testing.assert_array_equal(run.counts.per_token[event], alone.counts.per_token[event])
    assert merged_counts(run.counts for run in together).tokens == sum(len(run.token_ids) for run in together)
