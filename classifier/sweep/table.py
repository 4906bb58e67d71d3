"""The table of a sweep: a row for each task, as CSV or parquet, from which a sweep goes on."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from classifier.config.reading import written
from classifier.errors import OutputError, UsageError
from classifier.replay.outputs import whole_file
from classifier.sweep.tasks import Outcome, Row, Task, Value

_PARQUET = ".parquet"
_RESULT = re.compile(
    r"seconds|packets|flows|malformed|untracked|without_ip|error|id|rules\..*"
    r"|method_failures|method_error"
    r"|uplinks\..*\.(flows|packets|bytes|share)|(direct|dropped|inbound)\.(flows|packets|bytes)"
)
"""Columns that are neither a task's place nor one of its values."""


def rows(outcomes: Mapping[str, Outcome], tasks: Iterable[Task]) -> list[Row]:
    """A row for each task that has an outcome, in the order of the tasks."""
    made = []
    for task in tasks:
        found = outcomes.get(task.id)
        if found is None:
            continue
        row: Row = {"policy": task.policy}
        row.update({key: _shown(value) for key, value in task.values.items()})
        row.update({"captures": task.captures, **found.row})
        row.update({"error": found.error or "", "id": task.id})
        made.append(row)
    return made


def columns(rows: Iterable[Row]) -> list[str]:
    """Of all rows, in the order in which they come; an error and the id of the task stand last."""
    found = dict.fromkeys(column for row in rows for column in row)
    for last in ("error", "id"):
        found.pop(last, None)
    return [*found, "error", "id"]


def csv_text(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(rows), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def check_name(path: Path) -> None:
    """UsageError: nothing can be written under that name."""
    if path.suffix not in (".csv", _PARQUET):
        raise UsageError(f"--out {path}: must end in .csv or {_PARQUET}")
    if path.suffix == _PARQUET:
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise UsageError(
                f"--out {path}: needs pyarrow: pip install 'nfq-classifier[parquet]'"
            ) from None


def write(path: Path, rows: Sequence[Row]) -> None:
    """Put the table where the one before was, whole or not at all."""
    try:
        with whole_file(path) as file:
            if path.suffix == _PARQUET:
                _write_parquet(file, rows)
            else:
                file.write(csv_text(rows).encode())
    except OutputError as error:
        raise OutputError(f"--out {error}") from None


def finished(path: Path, tasks: Sequence[Task]) -> dict[str, Outcome]:
    """What an earlier run of these tasks has left, by id; empty if there is no table yet.

    UsageError: the file is no table of a sweep, or of one with results that would be lost.
    """
    if not path.exists():
        return {}
    try:
        read = _read_parquet(path) if path.suffix == _PARQUET else _read_csv(path)
        by_id = {str(row["id"]): row for row in read}
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"--out {path}: is no table of a sweep: {error!r}") from None
    wanted = {task.id: task for task in tasks}
    if by_id and not by_id.keys() & wanted.keys():
        raise UsageError(
            f"--out {path}: is the table of another sweep, or of one before policies, captures or "
            "this program were changed; remove it or name another file"
        )
    done = {id: row for id, row in by_id.items() if not row.get("error")}
    # What has the place of a task, but another id, is done anew, as its policy or captures changed.
    places = {_place(row) for row in rows(dict.fromkeys(wanted, Outcome({})), tasks)}
    if lost := sum(_place(row) not in places for row in done.values()):
        raise UsageError(
            f"--out {path}: has {lost} finished rows that are no part of this sweep and would be "
            "lost; name another file"
        )
    # Where a method failed the numbers are not what it decides; it may have been mended.
    return {
        id: Outcome({**_numbers(row, wanted[id]), "method_error": ""})
        for id, row in done.items()
        if id in wanted and not int(row.get("method_failures") or 0)
    }


def _place(row: Mapping[str, Value | None]) -> frozenset[tuple[str, str]]:
    """What tells a row from the others of a table: policy, values and captures."""
    return frozenset(
        (column, str(value))
        for column, value in row.items()
        if value not in (None, "") and not _RESULT.fullmatch(column)
    )


def _numbers(row: Mapping[str, Value | None], task: Task) -> Row:
    names = {"policy", "captures", "method_error", "error", "id", *task.values}
    return {
        column: _number(value) if isinstance(value, str) else value
        for column, value in row.items()
        if column not in names and value is not None and value != ""
    }


def _number(text: str) -> Value:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _shown(value: object) -> Value:
    """A value of the configuration; what is no text or number as TOML has it."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    return written(value)


def _read_csv(path: Path) -> list[dict[str, Value | None]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _read_parquet(path: Path) -> list[dict[str, Value | None]]:
    from pyarrow import parquet

    read: list[dict[str, Value | None]] = parquet.read_table(path).to_pylist()
    return read


def _write_parquet(file: BinaryIO, rows: Sequence[Row]) -> None:
    import pyarrow
    from pyarrow import parquet

    values: dict[str, list[Value | None]] = {
        column: [row.get(column) for row in rows] for column in columns(rows)
    }
    for column, found in values.items():
        if len({type(value) for value in found} - {type(None)}) > 1:
            values[column] = [None if value is None else str(value) for value in found]
    parquet.write_table(pyarrow.table(values), file)
