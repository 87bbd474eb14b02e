"""Every number of the JSON is in the CSV files."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bispik.energy.csv_report import csv_tables, write_csv
from bispik.energy.json_report import report_json
from tests.energy.runs import report_input


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for entry in value.values():
            yield from leaves(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from leaves(entry)
    else:
        yield value


def test_every_number_is_there_once() -> None:
    values = report_json(report_input())
    rows = [row for table in csv_tables(values).values() for row in table]
    names = [row["name"] for row in csv_tables(values)["summary"]]
    assert len(names) == len(set(names))
    found = Counter(repr(leaf) for leaf in leaves(rows))
    found -= Counter(map(repr, names))  # the only thing that is added
    assert found == Counter(repr(leaf) for leaf in leaves(values))


def test_files_read_back(tmp_path: Path) -> None:
    values = report_json(report_input())
    paths = {path.name: path for path in write_csv(values, tmp_path)}
    with paths["energy.lines.csv"].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = values["energy"]["lines"]
    assert [float(row["joules.high"]) for row in rows] == [line["joules"]["high"] for line in lines]
    assert [row["source"] for row in rows] == [line["source"] for line in lines]


def test_lists_of_one_length_are_columns_and_lists_in_records_are_numbered() -> None:
    tables = csv_tables({"a": {"x": [1, 2], "y": [3, 4]}, "b": [{"c": [5, 6]}, {"c": []}], "d": [7], "e": {"x": []}})
    assert tables == {
        "summary": [],
        "a": [{"x": 1, "y": 3}, {"x": 2, "y": 4}],
        "b": [{"c.0": 5, "c.1": 6}, {}],
        "d": [{"value": 7}],
        "e": [],
    }
