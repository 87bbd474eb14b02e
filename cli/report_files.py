"""Files that ``bispik-report`` writes beside its page."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from bispik.cli.common import console
from bispik.energy.csv_report import write_csv
from bispik.models.files import folder_written_whole


def write_values(options: argparse.Namespace, values: Mapping[str, Any]) -> None:
    """Write what ``--json`` prints as CSV files, if the user asks for them."""
    if options.csv:
        with folder_written_whole(options.csv) as folder:
            write_csv(values, folder)


def say_written(options: argparse.Namespace) -> None:
    """Say which files there are now."""
    for path in (options.out, options.csv):
        if path:
            console().print(f"wrote {path}")
