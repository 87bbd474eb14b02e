"""The operating-system processes that Lava's models live in: the workers.

Lava gives each model a process of its own. A time step then costs two context switches a model, on caches that another
model has just filled. Here a worker serves several models, one after the other in the direction in which messages flow,
so that no model waits for one that comes after it.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Semaphore
from typing import Any

from bispik.backends.lava.channels import AnonymousMemory, CommandPort, DirectChannel
from bispik.backends.lava.vendor import (
    MGMT_COMMAND,
    MultiProcessing,
    PyLoihiProcessModel,
    PyProcessBuilder,
    PyPyChannel,
)

RUNTIME = re.compile("runtime_to_service|service_to_runtime")
"""In Lava's names of the channels between its runtime, which is the parent, and its runtime service."""

PARENT_SECONDS = 1.0
"""How often a worker looks whether its parent still lives."""

TO_ONE_MODEL = {float(command[0]) for command in (MGMT_COMMAND.GET_DATA, MGMT_COMMAND.SET_DATA)}
"""Commands that the runtime service gives to a single model; all others go to all of them."""


MOST_WORKERS = 4
"""More gain nothing: by then the time of a step is that of Lava's runtime service, which talks to each model."""


def default_count() -> int:
    """Return how many workers to use: one for each core that this process may use, within reason."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


class ModelFailed(Exception):  # noqa: N818 - it tells the parent, where it becomes an error
    """What a model's exception becomes on its way to the parent: name, exception, traceback, as text."""

    def __init__(self, name: str, error: str, trace: str) -> None:
        super().__init__(name, error, trace)
        self.name, self.error, self.trace = name, error, trace


class Workers(MultiProcessing):
    """Lava's message passing by forked processes: our channels, several models to a worker, no orphans."""

    def __init__(self, groups: Sequence[Sequence[PyProcessBuilder]]) -> None:
        """Prepare for models.

        Args:
            groups: the models' builders, worker by worker; each runs its models in their order.
        """
        super().__init__()
        self.ready = get_context("fork").Semaphore(0)
        """Released once by each worker, when its models are built."""
        self._groups = groups
        self.names = [_group_name(group) for group in self._groups] + ["Lava's runtime service"]
        """Of the actors, for messages."""

    def start(self) -> None:
        """Prepare for channels, whose memory Lava would take from a server process."""
        self._smm = self

    def create_shared_memory(self, size: int) -> AnonymousMemory:
        """Return memory that processes forked from now on share."""
        return AnonymousMemory(size)

    def channel_class(self, channel_type: Any) -> Callable[..., DirectChannel | PyPyChannel]:
        """Return what makes channels between Python models."""
        del channel_type
        return _channel

    def build_actor(self, target_fn: Callable[..., None], builder: Any, exception_q: Any = None) -> Any:
        """Fork the runtime service, which Lava asks for last, and before it the workers with their models."""
        if isinstance(builder, PyProcessBuilder):
            return None
        for group in self._groups:
            bell = get_context("fork").Semaphore(0)
            for member in group:
                _command_port(member).bell = bell
            super().build_actor(_settled(_serve), (group, bell, self.ready), None)
        return super().build_actor(_settled(target_fn), builder, exception_q)

    def kill(self) -> None:
        """End all workers, whatever they do; harmless if repeated."""
        for worker in self._actors:
            worker.kill()
        for worker in self._actors:
            # Lava's own join would read the dead worker's pipe, which may hold half a message.
            BaseProcess.join(worker)
            BaseProcess.close(worker)
            worker._cconn.close()
            worker._pconn.close()
        self._actors.clear()


def _channel(infrastructure: Workers, src_name: str, *parameters: Any) -> DirectChannel | PyPyChannel:
    """Make a channel; the parent must not block when it looks whether there is a message, and keeps Lava's own."""
    kind = PyPyChannel if RUNTIME.search(src_name) else DirectChannel
    return kind(infrastructure, src_name, *parameters)


def _command_port(builder: PyProcessBuilder) -> CommandPort:
    """Return where the runtime service commands a model."""
    (port,) = builder.csp_rs_recv_port.values()
    sender: CommandPort = port.sender
    return sender


def _name(builder: PyProcessBuilder) -> str:
    return str(builder.proc_params["name"])


def _group_name(group: Sequence[PyProcessBuilder]) -> str:
    return _name(group[0]) if len(group) == 1 else f"{_name(group[0])} to {_name(group[-1])}"


# --- in a worker ------------------------------------------------------------------------------------------------------


def _serve(builder: tuple[Sequence[PyProcessBuilder], Semaphore, Semaphore], exception_q: None) -> None:
    """Build models and do as the runtime service says, for ever. Lava has named the parameters."""
    del exception_q
    group, bell, ready = builder
    models = [(_name(member), _told_by(_name(member), member.build)) for member in group]
    for _, model in models:
        for port in (model.service_to_process, model.process_to_service, *model.py_ports):
            port.start()
    ready.release()
    while True:
        while bell.acquire(block=False):  # it may have rung for what is done already
            pass
        called = next((entry for entry in models if entry[1].service_to_process.probe()), None)
        if called is None:
            bell.acquire()
        elif float(called[1].service_to_process.peek()[0]) in TO_ONE_MODEL:
            _obey(*called)
        else:
            _obey_all(models)


def _obey_all(models: Sequence[tuple[str, PyLoihiProcessModel]]) -> None:
    """Let each model execute the command that all of them get."""
    for name, model in models:
        model.process_to_service.holds = True
        _obey(name, model)
    for _, model in models:
        model.process_to_service.let_go()


def _obey(name: str, model: PyLoihiProcessModel) -> None:
    """Let a model execute its next command."""
    command = model.service_to_process.recv()[0]
    _told_by(name, model._cmd_handlers[command])


def _told_by(name: str, action: Callable[[], Any]) -> Any:
    """Do something for a model; if it fails, say which."""
    try:
        return action()
    except Exception as error:
        raise ModelFailed(name, f"{type(error).__name__}: {error}", traceback.format_exc()) from error


def _settled(target: Callable[..., None]) -> Callable[..., None]:
    """Make a forked process a worker: it does as its parent says, and goes when the parent does."""
    parent = os.getpid()

    def work(**parameters: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent will stop us
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        gc.freeze()  # what the parent has is not ours to collect, nor to copy page by page
        threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
        target(**parameters)

    return work


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)
