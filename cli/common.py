"""What all command lines share: errors, JSON on stdout, tables and progress on stderr."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from bispik.compiler.mapping import ResourceUse
from bispik.compiler.target import Target, load_target
from bispik.energy.board import Board, board_text
from bispik.models.errors import BispikError

USER_ERROR = 2
"""Exit code for wrong input; a bug ends with Python's own 1."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors look like all others: one line on stderr, exit code 2."""

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


def run(program: str, action: Callable[[], int]) -> int:
    """Run a command; a user's error becomes one line and exit code 2, Ctrl-C exit code 130."""
    try:
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
