"""What all command lines share: errors, JSON on stdout, tables and progress on stderr."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from bispik.cli.logs import add_logging, told
from bispik.compiler.mapping import ResourceUse
from bispik.compiler.target import Target, load_target
from bispik.energy.board import Board, board_text
from bispik.models.errors import BispikError

USER_ERROR = 2
"""Exit code for wrong input; a bug ends with Python's own 1."""

ENDING = (signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else (signal.SIGTERM,)
"""Signals that ask a command to end: it cleans up first."""


REMINDER = (signal.SIGALRM,) if hasattr(signal, "setitimer") else ()
"""The signal that comes again where the first one was lost."""

RAISED_AGAIN = 1.0
"""Seconds behind it."""


class Ended(BaseException):
    """One of the signals in `ENDING` came; like KeyboardInterrupt, nobody catches it but to clean up."""

    def __init__(self, number: int) -> None:
        self.name = signal.Signals(number).name
        self.code = 128 + number
        super().__init__(self.name)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors look like all others: one line on stderr, exit code 2.

    It has the options of every command; see `bispik.cli.logs`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        add_logging(self)

    def error(self, message: str) -> None:  # type: ignore[override]
        """Print one line and leave."""
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(USER_ERROR)


def add_workers(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--jobs`` and ``--dask``; ``what`` names the sequences that are shared out."""
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help=f"processes that share the {what} (default: 1)"
    )
    parser.add_argument(
        "--dask", default="", metavar="ADDRESS", help=f"dask scheduler whose workers share the {what}: tcp://host:8786"
    )


def add_board(parser: argparse.ArgumentParser) -> None:
    """Add ``--board``."""
    parser.add_argument(
        "--board", action="store_true", help="draw the board too: memory, energy and messages by router of the mesh"
    )


def refuse_board_in_json(options: argparse.Namespace) -> None:
    """Refuse ``--board`` beside ``--json``, which prints one object and nothing else."""
    if options.board and options.json:
        raise BispikError("--board draws among the tables, and --json prints one object instead: leave out one of them")


def print_board(terminal: Console, board: Board) -> None:
    """Draw a board as text."""
    terminal.print(board_text(board), highlight=False, markup=False, soft_wrap=True)


def target_of(options: argparse.Namespace) -> Target:
    """Return the target of ``--target``, with ``--usable-neurocores``."""
    target = load_target(options.target)
    if options.usable_neurocores is None:
        return target
    return target.with_usable_neurocores(options.usable_neurocores)


def console() -> Console:
    """Return the console for tables and progress: stderr, plain where it is no terminal."""
    terminal = Console(stderr=True)
    return terminal if terminal.is_terminal else Console(stderr=True, width=110)


@contextmanager
def progress(terminal: Console) -> Generator[Callable[[str], None]]:
    """Show what is being done, on a terminal only."""
    if not terminal.is_terminal:
        yield lambda _title: None
        return
    with terminal.status("starting") as status:
        yield status.update


def print_json(value: Any) -> None:
    """Print one JSON object on stdout."""
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def limits(resources: Sequence[ResourceUse]) -> dict[str, dict[str, Any]]:
    """Return by resource what the busiest neurocore uses, and of how much."""
    return {
        use.resource: {
            "used": use.busiest,
            "limit": use.limit,
            "unit": use.unit,
            "total": use.total,
            "neurocores_at_least": use.neurocores_at_least,
        }
        for use in resources
    }


def run(program: str, options: argparse.Namespace, action: Callable[[], int]) -> int:
    """Run a command; a user's error becomes one line and exit code 2, Ctrl-C exit code 130, SIGTERM 143."""
    try:
        with ended_by_signals(), told(program, options):
            code = action()
            sys.stdout.flush()
        return code
    except BispikError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return USER_ERROR
    except BrokenPipeError:
        # Whoever read our output has had enough; nothing more can or need be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"{program}: interrupted; nothing half-written is left", file=sys.stderr)
        return 130
    except Ended as ended:
        print(f"{program}: ended by {ended.name}; nothing half-written is left", file=sys.stderr)
        return ended.code


@contextmanager
def ended_by_signals() -> Generator[None]:
    """Raise `Ended` where one of the signals in `ENDING` comes during the block.

    An exception out of a signal is lost where Python or a library runs a callback that may not fail, as it does around
    a fork: so it is raised again until somebody is cleaning up behind it. What cleans up is not ended in its turn.
    """
    came = 0

    def end(number: int, _frame: object) -> None:
        nonlocal came
        came = came or number
        for each in REMINDER:
            signal.signal(each, end)
            signal.setitimer(signal.ITIMER_REAL, RAISED_AGAIN)
        if not _is_cleaning_up():
            raise Ended(came)

    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return
    before = {number: signal.getsignal(number) for number in (*ENDING, *REMINDER)}
    ignored = {number for number in ENDING if before[number] is signal.SIG_IGN}  # as under nohup
    try:
        for number in before.keys() - ignored - {*REMINDER}:
            signal.signal(number, end)
        yield
    finally:
        if came and REMINDER:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _is_cleaning_up() -> bool:
    """Tell whether `Ended` was raised and is on its way."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, Ended):
        error = error.__context__
    return error is not None
