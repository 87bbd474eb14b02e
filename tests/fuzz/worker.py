"""``python -m tests.fuzz.worker SEEDS WORK KIND:FIRST:STOP ...``: read damaged files; every case must end well.

Each case says on stdout that it begins, so that whoever started this process knows which one ended it. A case ends well
if the file is read, or refused with a `BispikError` of one line; within `SECONDS`; within `Kind.bound` and `PER_BYTE`
bytes of memory; and without a file written outside of its folder, a process started, or code run that came from it.
"""

from __future__ import annotations

import inspect
import random
import resource
import shutil
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from bispik.models.errors import BispikError
from tests.fuzz.kinds import KINDS, Kind

SECONDS, SECONDS_OF_HDF5 = 10.0, 2.0
"""Of the processor, for one case, and for one that a guard stands before; a valid seed takes a fiftieth of that."""

WAITING = 30
"""Times that, by the clock: what waits takes no processor, and a busy machine is no fault of a file."""

PER_BYTE = 64
"""Address space that reading a file may take for each of its bytes, beside `Kind.bound`."""

GENERATORS = ("typing", "dataclasses", "collections")
"""Modules of Python's own that compile code, from annotations and names of fields; no file's content reaches them."""

FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "ctypes.dlopen")


class Watch:
    """Python's audit events while a case runs."""

    def __init__(self) -> None:
        self.folder = Path()
        self.seen = ""
        self.armed = False
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event in FORBIDDEN:
            self.seen = f"{event}{arguments!r:.200}"
        elif event == "exec" and not Path(arguments[0].co_filename).is_file():
            frame = inspect.currentframe()
            asking = frame.f_back.f_globals.get("__name__") if frame and frame.f_back else None
            if asking not in GENERATORS:
                self.seen = f"{asking} ran code from {arguments[0].co_filename}"
        elif event == "open" and isinstance(arguments[0], str) and isinstance(arguments[1], str):
            outside = not arguments[0].startswith(str(self.folder))
            if outside and set(arguments[1]) & set("wax+"):
                self.seen = f"opened {arguments[0]} for writing"


def main(arguments: list[str]) -> None:
    """Run the cases of some kinds, from FIRST to STOP; print what did not end well."""
    seeds, work = Path(arguments[0]), Path(arguments[1])
    warnings.simplefilter("ignore")
    watch = Watch()
    for job in arguments[2:]:
        name, first, stop = job.split(":")
        kind = KINDS[name]
        watch.folder = work / name
        shutil.rmtree(watch.folder, ignore_errors=True)
        shutil.copytree(seeds / name, watch.folder)
        kind.read(watch.folder / kind.opened)  # what is imported once, and the proof that the seed is a valid one
        for number in range(int(first), int(stop)):
            told(f"{name}:{number}")
            if fault := case(kind, name, number, watch):
                told(f"fault {fault}")
    told("end")


def told(line: str) -> None:
    """Say a line at once: the next moment may be this process's last."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def case(kind: Kind, name: str, number: int, watch: Watch) -> str:
    """Damage one file, read it, put the file back; return what was wrong with that, if anything."""
    path, damaged = damaged_copy(kind, name, number, watch.folder)
    whole = path.read_bytes()
    path.write_bytes(damaged)
    limit_memory(kind.bound + PER_BYTE * len(damaged))
    seconds = SECONDS_OF_HDF5 if kind.is_hdf5 else SECONDS
    # Signals that end the process: libraries do not look at flags.
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WAITING * seconds)
    watch.seen, watch.armed = "", True
    try:
        kind.read(watch.folder / kind.opened)
        fault = ""
    except BispikError as error:
        fault = "" if str(error) and "\n" not in str(error).strip() else f"message of several lines: {error!r}"
    except BaseException:  # noqa: BLE001 - a panic of Rust is one too, and whatever it is, it is what we look for
        fault = traceback.format_exc().replace("\n", "\\n")
    finally:
        watch.armed = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        path.unlink(missing_ok=True)  # it may still be mapped: a new file, not the old one rewritten
        path.write_bytes(whole)
    return fault or watch.seen


def damaged_copy(kind: Kind, name: str, number: int, folder: Path) -> tuple[Path, bytes]:
    """Return which of a folder's files a case damages, and what it makes of it."""
    draw = random.Random(f"{name} {number}")
    file = draw.choice(sorted(kind.damage))
    return folder / file, kind.damage[file]((folder / file).read_bytes(), draw)


def limit_memory(size: int) -> None:
    """Let the process take ``size`` bytes beyond what it has, and no more."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(sys.argv[1:])
