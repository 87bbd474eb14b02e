"""Many sequences, on several processes or several machines: the same results as one behind the other.

The program travels by path: a worker opens ``program.bspk`` itself, once, and its weights are mapped, so that the
workers of one machine share them. Results come in the order of the sequences. Merging is `merged_counts`: sums over
slices, tokens one behind the other in the order of the sequences. All numbers are integers, so it is exact and the same
for any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from bispik.backends.counts import EventCounts
from bispik.compiler.artifact import file_digest, file_format, load_program
from bispik.compiler.mapping import Mapped
from bispik.compiler.stream.artifact import STREAM, load_stream
from bispik.models.errors import BispikError

Item = TypeVar("Item")
Result = TypeVar("Result")
MappedT = TypeVar("MappedT", bound=Mapped)

CONNECT_SECONDS = 10
"""Longest wait for a dask scheduler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Who runs sequences."""

    jobs: int = 1
    """Processes on this machine; 1 for this one."""
    dask: str = ""
    """Address of a dask scheduler; empty for none."""

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise BispikError(f"--jobs {self.jobs}: give at least 1")
        if self.dask and self.jobs > 1:
            raise BispikError(
                "--jobs and --dask: give one of them; a cluster has as many workers as it was started with"
            )

    @property
    def elsewhere(self) -> bool:
        """Whether other processes than this one run the sequences."""
        return self.jobs > 1 or bool(self.dask)


def map_sequences(
    function: Callable[[MappedT, Item], Result], program: Path, items: Sequence[Item], workers: Workers
) -> Iterator[Result]:
    """Yield ``function(program, item)`` of each item, in order.

    Args:
        function: pure, of a module or a `functools.partial` of one: it is sent to the workers.
        program: ``program.bspk``, of a language model or of a stream network; on a cluster every worker must find the
            same file under this path.
        items: what to run; sent to the workers, like the results back.
        workers: who runs them.

    Raises:
        BispikError: what ``function`` raised, or that no worker could be reached or has the program.
    """
    path = program.absolute()
    work = partial(_on_program, function, path, file_digest(path))
    if workers.dask:
        with _dask_client(workers.dask) as client:
            yield from _on_dask(client, workers.dask, work, items)
    elif workers.jobs > 1 and len(items) > 1:
        yield from _on_processes(min(workers.jobs, len(items)), work, items)
    else:
        yield from map(work, items)


def merged_counts(counts: Iterable[EventCounts]) -> EventCounts:
    """Return the events of several runs of one mapped program together, in their order; at least one.

    Sums over slices and host operations are added; what is kept by token follows in the order of the runs, and
    ``positions`` begins at 0 again with each.
    """
    parts = list(counts)
    while len(parts) > 1:  # neighbours in pairs: one behind the other would copy the first token once a run
        pairs = [one + other for one, other in zip(parts[::2], parts[1::2], strict=False)]
        parts = [*pairs, *parts[2 * len(pairs) :]]
    return parts[0]


def _on_program(function: Callable[[Any, Any], Result], path: Path, digest: str, item: Any) -> Result:
    """Run one item; this is what a worker does."""
    return function(_opened(path, digest), item)


@lru_cache(maxsize=1)
def _opened(path: Path, digest: str) -> Mapped:
    if file_digest(path) != digest:
        found = "is another program there" if path.is_file() else "is no file there"
        raise BispikError(f"{path}: {found}, on a worker; every worker must find the same program under this path")
    return load_stream(path) if file_format(path) == STREAM.name else load_program(path)


def _on_processes(jobs: int, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    pool: Any = Parallel(n_jobs=jobs, backend="loky", return_as="generator")
    results: Generator[Result] = pool(delayed(work)(item) for item in items)
    finished = False
    try:
        yield from results
        finished = True
    except TerminatedWorkerError as error:
        raise BispikError(
            f"--jobs {jobs}: a process ended before its time, perhaps for want of memory; use fewer"
        ) from error
    finally:
        results.close()
        # Joblib would keep the processes for later calls; a command has none.
        get_reusable_executor().shutdown(wait=True, kill_workers=not finished)


@contextmanager
def _dask_client(address: str) -> Generator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise BispikError(f"--dask needs dask.distributed: pip install 'bispik[cluster]' ({error})") from error
    try:
        client: Any = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise BispikError(f"--dask {address}: no scheduler answers there: {error}") from error
    with client:
        if not client.scheduler_info()["workers"]:
            raise BispikError(f"--dask {address}: the cluster has no workers; start some with `dask worker {address}`")
        yield client


def _on_dask(client: Any, address: str, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    futures = client.map(work, items, pure=False)
    try:
        yield from (future.result() for future in futures)
    except (KilledWorker, FutureCancelledError, ImportError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise BispikError(
            f"--dask {address}: a worker failed ({reason}); each needs this bispik, and memory for the program"
        ) from error
    finally:
        client.cancel(futures)
