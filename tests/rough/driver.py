"""``python -m tests.rough.driver``: commands in forked processes, ended at a chosen operation on the file system.

Reads one JSON object a line, ``{"arguments", "signal", "at", "folder", "file_size"}``, and answers with one: how the
command ended, what it said, how many operations on the folder it had begun. Python's audit events count them: opening a
file to write, renaming, linking, removing, making folders. With ``at`` 0 the command runs to its end; with a
``file_size`` no file becomes larger, as on a full disk.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import sys
from typing import Any

import torch

from bispik.cli.compile import main

CHANGES = ("os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "shutil.rmtree")


def ended(arguments: list[str], number: int, at: int, folder: str, file_size: int | None) -> dict[str, Any]:
    """Run a command in a process of its own and send it a signal as operation ``at`` begins; 0 sends none."""
    counted = mmap.mmap(-1, 8)  # shared, and no file whose size could be limited; as little is the pipe
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(tell, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.close(hear)
        os.close(tell)

        def see(event: str, values: tuple[Any, ...]) -> None:
            writes = event == "open" and isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR)
            if (event in CHANGES or writes) and any(folder in str(value) for value in values):
                seen = int.from_bytes(counted[:], "little") + 1
                counted[:] = seen.to_bytes(8, "little")
                if seen == at:
                    os.kill(os.getpid(), number)

        sys.addaudithook(see)
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, resource.RLIM_INFINITY))
        sys.exit(main(arguments))
    os.close(tell)
    with os.fdopen(hear, encoding="utf-8") as told:
        said = told.read()
    _, status = os.waitpid(child, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "said": said,
        "operations": int.from_bytes(counted[:], "little"),
    }


def serve() -> None:
    """Answer until the input ends."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for line in sys.stdin:
        asked = json.loads(line)
        number = signal.Signals[asked["signal"]] if asked["at"] else 0
        answer = ended(asked["arguments"], number, asked["at"], asked["folder"], asked["file_size"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
