"""Reading TOML tables key by key, noting every mistake instead of stopping at the first.

A reader that meets a mistake notes it and goes on with the default, so that one run finds them
all; the values read are only used when nothing was noted.
"""

from __future__ import annotations

import datetime
import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from classifier.config.lines import Path, Place
from classifier.errors import Mistake

T = TypeVar("T")
D = TypeVar("D")
Parse = Callable[[object], T]
"""Turns a TOML value into what it means, or raises `WrongValueError`."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_VALUE = 60


class WrongValueError(Exception):
    """Says the rule that a value broke; the caller knows key and line."""


class Report:
    """The mistakes found so far in one text."""

    def __init__(self, places: Mapping[Path, Place]) -> None:
        self._places = places
        self._mistakes: list[Mistake] = []

    def note(self, path: Path, value: object, rule: str) -> None:
        """Note a mistake at `path`; `value` None where no value is there to be shown."""
        place = self._place(path)
        source = self._places[path].source if path in self._places else ""
        if value is None or (isinstance(value, Mapping) and not source):
            shown = ""  # absent, or a table with a header of its own
        else:
            shown = source if source and "\n" not in source else written(value)
        if len(shown) > _LONGEST_VALUE:
            shown = shown[: _LONGEST_VALUE - 3] + "..."
        self._mistakes.append(
            Mistake(place.line if place else None, dotted(path), printable(shown), printable(rule))
        )

    def mistakes(self) -> tuple[Mistake, ...]:
        """Everything noted, in the order of the lines."""
        return tuple(sorted(self._mistakes, key=lambda mistake: mistake.line or 0))

    def _place(self, path: Path) -> Place | None:
        while path:
            if path in self._places:
                return self._places[path]
            path = path[:-1]
        return None


class Table:
    """One TOML table whose keys are taken one after the other; keys that are left are unknown."""

    def __init__(self, values: Mapping[str, object], path: Path, report: Report) -> None:
        self.path = path
        self.report = report
        self._values = values
        self._taken: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def wrong(self, key: str, rule: str, index: int | None = None) -> None:
        """Note a mistake in the value of `key`, or in element `index` of it."""
        value = self._values.get(key)
        path: Path = (*self.path, key)
        if index is not None and isinstance(value, list):
            value, path = value[index], (*path, index)
        self.report.note(path, value, rule)

    def raw(self, key: str) -> object:
        """The value of `key` as tomllib gave it, None if it is absent."""
        self._taken.append(key)
        return self._values.get(key)

    def one(self, key: str, parse: Parse[T], default: D) -> T | D:
        """One value, or `default` if it is absent or wrong."""
        value = self.raw(key)
        if value is None:
            return default
        try:
            return parse(value)
        except WrongValueError as error:
            self.wrong(key, str(error))
            return default

    def required(self, key: str, parse: Parse[T], default: D) -> T | D:
        """One value that has to be there; `default` only stands in for a missing or wrong one."""
        if key not in self._values:
            self.report.note((*self.path, key), None, "is required")
        return self.one(key, parse, default)

    def many(
        self, key: str, parse: Parse[T], *, may_be_empty: bool = False, distinct: bool = False
    ) -> tuple[T, ...]:
        """One value or a list of them, without what was wrong; empty if the key is absent.

        A repeated element counts once; with `distinct` it is a mistake.
        """
        value = self.raw(key)
        if value is None:
            return ()
        if value == [] and not may_be_empty:
            self.wrong(key, "must not be empty; leave the key out instead")
        parsed: dict[T, None] = {}
        for index, element in enumerate(value) if isinstance(value, list) else [(None, value)]:
            try:
                item = parse(element)
            except WrongValueError as error:
                self.wrong(key, str(error), index)
                continue
            if distinct and item in parsed:
                self.wrong(key, "must not be listed twice", index)
            parsed[item] = None
        return tuple(parsed)

    def table(self, key: str) -> Table:
        """The table under `key`; an empty one if it is absent or no table."""
        value = self.raw(key)
        path = (*self.path, key)
        if value is not None and not isinstance(value, Mapping):
            self.wrong(key, f"must be a table: [{dotted(path)}]")
        return Table(value if isinstance(value, Mapping) else {}, path, self.report)

    def named_tables(self, key: str) -> Iterator[tuple[str, Table]]:
        """The tables [key.NAME], in the order of the file."""
        value = self.raw(key)
        path = (*self.path, key)
        if value is None:
            return
        if not isinstance(value, Mapping):
            self.report.note(path, value, f"must be tables with names: [{dotted(path)}.NAME]")
            return
        for name, table in value.items():
            if isinstance(table, Mapping):
                yield name, Table(table, (*path, name), self.report)
            else:
                self.report.note((*path, name), table, f"must be a table: [{dotted(path)}.NAME]")

    def array_of_tables(self, key: str) -> Iterator[Table]:
        """The tables [[key]], in the order of the file."""
        value = self.raw(key)
        path = (*self.path, key)
        if value is None:
            return
        if not isinstance(value, list):
            self.report.note(path, value, f"must be an array of tables: [[{dotted(path)}]]")
            return
        for index, table in enumerate(value):
            if isinstance(table, Mapping):
                yield Table(table, (*path, index), self.report)
            else:
                self.report.note((*path, index), table, f"must be a table: [[{dotted(path)}]]")

    def finish(self, also_called: Mapping[str, str] | None = None) -> None:
        """Note every key that was not taken; `also_called`: our keys by their names elsewhere."""
        for key, value in self._values.items():
            if key not in self._taken:
                ours = (also_called or {}).get(key.lower())
                hint = f"; did you mean {ours}?" if ours else did_you_mean(key, self._taken)
                self.report.note((*self.path, key), value, f"unknown key{hint}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def dotted(path: Path) -> str:
    """`path` for people: rules[2].to_ports. Indexes count from 1 there, as rules do."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
            continue
        bare = part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
        text += f".{bare}" if text else bare
    return printable(text)


def written(value: object) -> str:
    """`value` as TOML, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(written(element) for element in value)}]"
    if isinstance(value, Mapping):
        pairs = (f"{dotted((key,))} = {written(element)}" for key, element in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, int) and abs(value) >= 2**64:
        return hex(value)  # Python refuses to write thousands of decimal digits
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def printable(text: str) -> str:
    """`text` with unprintable characters escaped, so that it stays on one line of a terminal."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
