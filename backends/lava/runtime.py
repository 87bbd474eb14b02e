"""Lava's runtime, so that it cannot hang and leaves nothing behind.

Lava waits for its workers without end: an exception in one of them, or a killed one, stops the whole network silently.
Here whoever waits looks after the workers too, and stopping does not ask them. They keep no state that is worth saving:
what a run wrote down is on the tape.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.limits import FileLimit
from bispik.backends.lava.vendor import (
    AbstractProcess,
    ActorType,
    Executable,
    Loihi2SimCfg,
    ProcessServer,
    PyProcessBuilder,
    RunSteps,
    Runtime,
    Var,
    VarServer,
)
from bispik.backends.lava.workers import ModelFailed, Workers
from bispik.models.errors import BispikError

DONE = 0
"""Lava's ``MGMT_RESPONSE.DONE``."""

LOOK_SECONDS = 0.05
"""How long to wait for Lava before looking after the workers."""

CHANNEL_SIZE = 2
"""Messages that a channel holds: one a step passes. Lava's default of 64 costs 20 times the memory."""


class WorkerError(RuntimeError):
    """A model raised an exception, which is a bug; the message ends with the worker's own traceback."""


class Fabric:
    """A running network of Lava Processes."""

    def __init__(
        self,
        process: AbstractProcess,
        configuration: Loihi2SimCfg,
        progress: Callable[[], int],
        stall_seconds: float,
        workers: int,
    ) -> None:
        """Compile and start a network.

        Args:
            process: any Process of the network.
            configuration: how Lava chooses their models.
            progress: returns a number that changes as the network works.
            stall_seconds: for so long it may stay the same.
            workers: operating-system processes at most, besides that of Lava's runtime service.

        Raises:
            BispikError: if the machine has no room for the network.
            WorkerError: if a model cannot be made.
        """
        with nothing_registered():
            executable = process.compile(configuration, {"pypy_channel_size": CHANNEL_SIZE})
        self._runtime = _WatchedRuntime(executable, progress, stall_seconds, workers)
        # At the exit of Python, this must come before `multiprocessing` joins the workers, who wait for orders.
        self._finalizer = Finalize(self, self._runtime.stop, exitpriority=100)
        try:
            self._runtime.initialize()
        except OSError as error:
            self.stop()
            raise BispikError(f"Lava cannot start {self._runtime.size} processes: {error}") from error
        except BaseException:
            self.stop()
            raise

    @property
    def processes(self) -> int:
        """Number of operating-system processes."""
        return self._runtime.size

    def run(self, steps: int) -> None:
        """Let the network make so many time steps; on any error or interruption, stop it.

        Raises:
            BispikError: if a worker was killed or the network stands still.
            WorkerError: if a model failed.
        """
        if not self._finalizer.still_active():
            raise RuntimeError("the network is closed, or was stopped after an error")
        try:
            self._runtime.run_steps(steps)
        except BaseException:
            self.stop()
            raise

    def set(self, variable: Var, values: npt.NDArray[np.int32]) -> None:
        """Write a `Var` of a model between two runs, element by element.

        Raises:
            BispikError: if a worker was killed.
            WorkerError: if a model failed.
        """
        try:
            self._runtime.watch(lambda: variable.set(values))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all workers; harmless if repeated."""
        self._finalizer()


class _WatchedRuntime(Runtime):
    """Lava's runtime with waiting and stopping of our own."""

    def __init__(self, executable: Executable, progress: Callable[[], int], stall_seconds: float, workers: int) -> None:
        super().__init__(executable, ActorType.MultiProcessing)
        self._progress, self._stall_seconds = progress, stall_seconds
        self._owner, self._file_limit = os.getpid(), FileLimit()
        self._workers = Workers(_grouped(executable, workers))
        self._models = len(executable.proc_builders)
        self._stopped = False
        executable.assign_runtime_to_all_processes(self)

    @property
    def size(self) -> int:
        """Number of operating-system processes."""
        return len(self._workers.names)

    def initialize(self, node_cfg_idx: int = 0) -> None:
        """Fork the workers and wait until each has built its model."""
        self._file_limit.make_room(self._models, self.size)
        with warnings.catch_warnings():
            # Python 3.12 warns of forking where there are threads (BLAS has some): workers use none but their own.
            warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
            super().initialize(node_cfg_idx)

    def run_steps(self, steps: int) -> None:
        """Make so many time steps."""
        self.start(RunSteps(steps, blocking=False))
        self._wait_for(lambda: all(port.probe() for port in self.service_to_runtime))
        answers = [int(port.recv()[0]) for port in self.service_to_runtime]
        if any(answer != DONE for answer in answers):
            raise WorkerError(f"Lava's runtime service answered {answers} instead of {DONE}")
        self._is_running = False

    def watch(self, action: Callable[[], None]) -> None:
        """Do something of Lava's that waits for the workers; look after them meanwhile."""
        thread = threading.Thread(target=action, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(LOOK_SECONDS)
            self._check_workers()

    def stop(self) -> None:
        """End the workers; harmless if repeated. A fork of ours that drops its copy of this must not."""
        if self._stopped or os.getpid() != self._owner:
            return
        self._stopped = True
        self._workers.kill()
        self.join()  # closes our own ports, and ends their threads
        self._is_started = self._is_running = False
        self._file_limit.restore()

    def _build_message_infrastructure(self) -> None:
        self._messaging_infrastructure = self._workers
        self._workers.start()

    def _start_ports(self) -> None:
        """Start our own ports; then wait until all models are built."""
        super()._start_ports()
        for _ in self._workers.names[:-1]:
            self._wait_for(functools.partial(self._workers.ready.acquire, block=False))
        self.exception_q = []  # by which Lava's processes would tell

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds or something has gone wrong."""
        stirred = threading.Event()
        for port in self.service_to_runtime:
            port.observer = stirred.set
        seen, since = self._progress(), time.monotonic()
        try:
            while not condition():
                stirred.wait(LOOK_SECONDS)
                stirred.clear()
                self._check_workers()
                if self._progress() != seen:
                    seen, since = self._progress(), time.monotonic()
                elif time.monotonic() - since > self._stall_seconds:
                    raise BispikError(
                        f"Lava has made no step for {self._stall_seconds:.0f} s, after {seen} steps; stopped"
                    )
        finally:
            for port in self.service_to_runtime:
                port.observer = None

    def _check_workers(self) -> None:
        """Raise if a worker failed or was killed."""
        workers = self._workers.actors
        # Asked for their end first, because they may tell of their error and end in between.
        codes = [None if worker.is_alive() else worker.exitcode for worker in workers]
        for worker in workers:
            if worker.exception:
                raise _worker_error(*worker.exception)
        for name, code in zip(self._workers.names, codes, strict=False):
            if code is not None:
                raise BispikError(
                    f"the Lava process of {name} was killed (exit code {code}); is the machine short of memory?"
                )


def _grouped(executable: Executable, count: int) -> list[list[PyProcessBuilder]]:
    """Divide the models' builders among workers, sources before destinations.

    Of models on a loop, or between loops, each may wait for any other within a step: they get a worker each. Models of
    a Process that ``receives_later`` wait for none.
    """
    sources: dict[AbstractProcess, set[AbstractProcess]] = {process: set() for process in executable.proc_builders}
    targets: dict[AbstractProcess, set[AbstractProcess]] = {process: set() for process in executable.proc_builders}
    for channel in executable.channel_builders:
        if not getattr(channel.dst_process, "receives_later", False):
            sources[channel.dst_process].add(channel.src_process)
            targets[channel.src_process].add(channel.dst_process)
    front = _peeled(sources)
    left = [process for process in sources if process not in set(front)]
    back = _peeled({process: targets[process] for process in left})[::-1]
    loops = [process for process in left if process not in set(back)]
    share = -(-len(sources) // count)
    groups = [part[start : start + share] for part in (front, back) for start in range(0, len(part), share)]
    groups[-(-len(front) // share) : 0] = [[process] for process in loops]
    return [[executable.proc_builders[process] for process in group] for group in groups]


def _peeled(before: Mapping[AbstractProcess, set[AbstractProcess]]) -> list[AbstractProcess]:
    """Return, in order, those that can stand behind all that must stand before them."""
    order: list[AbstractProcess] = []
    placed: set[AbstractProcess] = set()
    ready = [process for process, others in before.items() if not others]
    while ready:
        order += ready
        placed |= set(ready)
        ready = [process for process, others in before.items() if process not in placed and others <= placed]
    return order


def _worker_error(error: Exception, trace: str) -> WorkerError:
    """Return the exception to raise for one that a worker raised."""
    if isinstance(error, ModelFailed):
        return WorkerError(f"{error.name}: {error.error}\n{error.trace}")
    return WorkerError(f"{type(error).__name__}: {error}\n{trace}")


@contextlib.contextmanager
def nothing_registered() -> Generator[None]:
    """Keep new Processes out of Lava's registers, which never let go, and their handlers out of the root logger."""
    loggers = [logging.getLogger(), logging.getLogger("lava.magma.compiler.compiler")]
    handlers = [logger.handlers[:] for logger in loggers]
    registers: list[list[Any]] = [ProcessServer().processes, VarServer().vars]
    lengths = [len(register) for register in registers]
    try:
        yield
    finally:
        for logger, before in zip(loggers, handlers, strict=True):
            logger.handlers[:] = before
        for register, length in zip(registers, lengths, strict=True):
            del register[length:]
