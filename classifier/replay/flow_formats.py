"""The flows of a replay as JSON lines, CSV or Parquet."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from classifier.errors import UsageError
from classifier.replay.against import pairs
from classifier.replay.outputs import whole_file
from classifier.replay.report import Report

Row = dict[str, Any]

COLUMNS = {
    "time": "float64", "protocol": "string", "src": "string", "sport": "uint16", "dst": "string",
    "dport": "uint16", "uplink": "string", "rule": "string", "reason": "string",
    "packets": "uint64", "bytes": "uint64",
}  # fmt: skip
"""Keys of a flow, with their Arrow types."""
AGAINST_COLUMNS = {
    "against_uplink": "string", "against_rule": "string", "against_reason": "string",
    "moved": "bool",
}  # fmt: skip
"""What tables have besides, where the report compares two policies."""
_ROWS_AT_ONCE = 65536


def json_lines(report: Report) -> Iterator[str]:
    """Each flow as a JSON object; with a comparison, `against` and `moved` stand beside it."""
    if report.against is None:
        for decision in report.decisions:
            yield json.dumps(asdict(decision))
        return
    for pair in pairs(report, report.against):
        other = {key: getattr(pair.other, key) for key in ("uplink", "rule", "reason")}
        yield json.dumps({**asdict(pair.flow), "against": other, "moved": pair.moved})


def writer(path: Path) -> Callable[[Report], None]:
    """What writes the flows of a report to a file, in the format that its name ends with.

    Raises UsageError where the name has another ending, or what writes the format is not installed.
    """
    formats = {".jsonl": _write_json_lines, ".csv": _write_csv, ".parquet": _write_parquet}
    write = formats.get(path.suffix.lower())
    if write is None:
        raise UsageError(f"{path}: must end with one of {', '.join(formats)}")
    if write is _write_parquet:
        _arrow("pyarrow")

    def written(report: Report) -> None:
        with whole_file(path) as file:
            write(report, file)

    return written


def _rows(report: Report) -> Iterator[Row]:
    """The flows as flat rows."""
    if report.against is None:
        yield from map(asdict, report.decisions)
        return
    for pair in pairs(report, report.against):
        other = pair.other
        yield asdict(pair.flow) | {
            "against_uplink": other.uplink,
            "against_rule": other.rule,
            "against_reason": other.reason,
            "moved": pair.moved,
        }


def _columns(report: Report) -> dict[str, str]:
    return COLUMNS if report.against is None else COLUMNS | AGAINST_COLUMNS


def _write_json_lines(report: Report, file: BinaryIO) -> None:
    for line in json_lines(report):
        file.write(line.encode() + b"\n")


def _write_csv(report: Report, file: BinaryIO) -> None:
    """As RFC 4180 has it, but with line feeds alone; what does not exist is empty."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    table = csv.DictWriter(text, _columns(report), lineterminator="\n")
    table.writeheader()
    for row in _rows(report):
        if "moved" in row:
            row["moved"] = "true" if row["moved"] else "false"
        table.writerow(row)
    text.detach()


def _write_parquet(report: Report, file: BinaryIO) -> None:
    arrow = _arrow("pyarrow")
    columns = _columns(report)
    schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in columns.items()])
    rows = _rows(report)
    with _arrow("pyarrow.parquet").ParquetWriter(file, schema) as table:
        for batch in _batches(rows):
            table.write_table(arrow.Table.from_pylist(batch, schema=schema))


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rows = iter(rows)
    while batch := list(islice(rows, _ROWS_AT_ONCE)):
        yield batch


def _arrow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        rule = "Parquet needs pyarrow (pip install 'nfq-classifier[parquet]')"
        raise UsageError(rule) from None
