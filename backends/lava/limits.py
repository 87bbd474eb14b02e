"""Open files: each of Lava's models and processes costs some, and without them a network hangs."""

from __future__ import annotations

import resource
from pathlib import Path

from bispik.models.errors import BispikError

FILES_PER_MODEL = 2
"""Ends of the pipe that Lava opens for a model while the network starts."""

FILES_PER_WORKER = 4
"""Ends of pipes that a worker's parent holds: two for its exceptions, two for its life and death."""

SPARE_FILES = 64
"""For whatever the parent and a worker open besides."""


class FileLimit:
    """This process's limit on open files, raised while a network lives."""

    def __init__(self) -> None:
        self._before, self._hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def make_room(self, models: int, workers: int) -> None:
        """Raise the soft limit as far as so many models in so many workers need.

        Raises:
            BispikError: if the hard limit is below that.
        """
        needed = _open_files() + models * FILES_PER_MODEL + workers * FILES_PER_WORKER + SPARE_FILES
        if self._hard != resource.RLIM_INFINITY and needed > self._hard:
            raise BispikError(
                f"Lava needs {needed} open files for {models} models in {workers} processes, "
                f"the limit is {self._hard} (ulimit -Hn): raise it, or use --backend sim"
            )
        if self._before != resource.RLIM_INFINITY and needed > self._before:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, self._hard))

    def restore(self) -> None:
        """Put the soft limit back."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._before, self._hard))


def _open_files() -> int:
    try:
        return len(list(Path("/proc/self/fd").iterdir()))
    except OSError:  # not Linux
        return SPARE_FILES
