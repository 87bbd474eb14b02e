"""Channels between Lava's models and its runtime service, without threads and without files.

Lava's own channel keeps a thread at each end, which wakes the model's thread for each message and each receipt: most of
the time of a step. Here the model waits on the semaphore itself. The memory is anonymous, and inherited by processes
when they are forked; Lava takes it from a server process, as named files that outlive whoever is killed.
"""

from __future__ import annotations

import mmap
from multiprocessing import get_context
from multiprocessing.synchronize import Semaphore
from typing import Any

import numpy as np
import numpy.typing as npt

from bispik.backends.lava.vendor import CspRecvPort, CspSendPort, Proto

COMMANDS = "service_to_process"
"""In Lava's names of the channels by which its runtime service commands the models."""

REPORTS = "process_to_service"
"""In its names of those by which they answer."""


class AnonymousMemory:
    """Memory of one channel, with the attribute that Lava reads of a ``SharedMemory``."""

    def __init__(self, size: int) -> None:
        self.buf = memoryview(mmap.mmap(-1, max(1, size)))


class _DirectPort:
    """What the two ends of a channel share: the channel's messages, as arrays in its memory."""

    _shape: tuple[int, ...]
    _dtype: type
    _nbytes: int
    _size: int
    _shm: AnonymousMemory

    def start(self) -> None:
        """Look at the memory."""
        count = int(np.prod(self._shape))
        self._array: list[npt.NDArray[Any]] = [
            np.frombuffer(self._shm.buf, self._dtype, count, index * self._nbytes).reshape(self._shape)
            for index in range(self._size)
        ]

    def join(self) -> None:
        """No thread to wait for."""


class DirectSendPort(_DirectPort, CspSendPort):
    """Sends from the thread that asks; waits while the channel is full."""

    def probe(self) -> bool:
        """Tell whether sending would not wait."""
        free = self._ack.acquire(block=False)
        if free:
            self._ack.release()
        return bool(free)

    def send(self, data: npt.NDArray[Any]) -> None:
        """Put a message into the channel."""
        if data.shape != self._shape:
            raise ValueError(f"{self._name}: message of shape {data.shape}, the channel's is {self._shape}")
        self._ack.acquire()
        self._array[self._idx][...] = data
        self._idx = (self._idx + 1) % self._size
        self._announce()

    def _announce(self) -> None:
        self._req.release()


class CommandPort(DirectSendPort):
    """Where the runtime service commands a model."""

    bell: Semaphore
    """Of the worker in which the model lives: rung behind each message."""

    def _announce(self) -> None:
        self._req.release()
        self.bell.release()


class ReportPort(DirectSendPort):
    """Where a model answers; its worker may hold that back until all its models have answered, to wake nobody early."""

    _held = 0
    holds = False

    def _announce(self) -> None:
        if self.holds:
            self._held += 1
        else:
            self._req.release()

    def let_go(self) -> None:
        """Announce what was held back."""
        self.holds = False
        for _ in range(self._held):
            self._req.release()
        self._held = 0


class DirectRecvPort(_DirectPort, CspRecvPort):
    """Receives in the thread that asks; waits while the channel is empty."""

    sender: DirectSendPort
    """The other end."""

    _waiting = False
    """A message was seen by ``probe`` or ``peek`` and not received yet."""

    def probe(self) -> bool:
        """Tell whether there is a message."""
        self._waiting = self._waiting or bool(self._req.acquire(block=False))
        return self._waiting

    def peek(self) -> npt.NDArray[Any]:
        """Return the next message and leave it there."""
        if not self._waiting:
            self._waiting = bool(self._req.acquire())
        return self._array[self._idx].copy()

    def recv(self) -> npt.NDArray[Any]:
        """Take the next message."""
        message = self.peek()
        self._waiting = False
        self._idx = (self._idx + 1) % self._size
        self._ack.release()
        return message


class DirectChannel:
    """The two ends of a channel, in the place of Lava's ``PyPyChannel``."""

    def __init__(
        self,
        infrastructure: Any,
        src_name: str,
        dst_name: str,
        shape: tuple[int, ...],
        dtype: type,
        size: int,
        *watchdogs: Any,
    ) -> None:
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = infrastructure.smm.create_shared_memory(nbytes * size)
        fork = get_context("fork")
        ends = (memory, Proto(shape, dtype, nbytes), size, fork.Semaphore(0), fork.Semaphore(size))
        sender = CommandPort if COMMANDS in src_name else ReportPort if REPORTS in src_name else DirectSendPort
        self.src_port = sender(src_name, *ends, *watchdogs[:2])
        self.dst_port = DirectRecvPort(dst_name, *ends, *watchdogs[2:])
        self.dst_port.sender = self.src_port
