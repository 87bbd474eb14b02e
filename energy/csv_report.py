"""Every number of a report's JSON as CSV files: one for each list of records, one for all that stands alone.

The name of a file or column is the way to it in the JSON, joined by full stops: ``energy.lines.csv`` has a column
``joules.default``. What stands alone is in ``summary.csv``, name and value.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]

SUMMARY = "summary"


def csv_tables(values: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Return the rows of each table by its name; every leaf of the JSON is in one."""
    tables: dict[str, list[Row]] = {SUMMARY: []}
    _split(values, "", tables)
    return tables


def write_csv(values: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write each table as ``NAME.csv`` into a folder, which exists."""
    paths: list[Path] = []
    for name, rows in csv_tables(values).items():
        path = folder / f"{name.replace('/', '_')}.csv"
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        paths.append(path)
    return paths


def _split(value: Any, name: str, tables: dict[str, list[Row]]) -> None:
    if isinstance(value, Mapping):
        if value and all(_is_series(entry) for entry in value.values()):
            longest = max(len(entry) for entry in value.values())
            if all(len(entry) == longest for entry in value.values()):
                tables[name] = [{key: entry[row] for key, entry in value.items()} for row in range(longest)]
                return
        for key, entry in value.items():
            _split(entry, f"{name}.{key}" if name else str(key), tables)
    elif isinstance(value, list):
        tables[name] = [dict(_flat(entry, "")) for entry in value]
    else:
        tables[SUMMARY].append({"name": name, "value": value})


def _is_series(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(entry, (Mapping, list)) for entry in value)


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a record; those of a list in it by their places."""
    entries: Sequence[tuple[str, Any]]
    if isinstance(value, Mapping):
        entries = [(str(key), entry) for key, entry in value.items()]
    elif isinstance(value, list):
        entries = [(str(place), entry) for place, entry in enumerate(value)]
    else:
        yield name or "value", value
        return
    for key, entry in entries:
        yield from _flat(entry, f"{name}.{key}" if name else key)
