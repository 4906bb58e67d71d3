"""Where in a TOML text each key and value was written.

tomllib tells no lines, so this walks the text a second time, after tomllib has accepted it, and
notes for every key path, and every element of an array, its line and its source.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Keys from the root on; an integer is an index into an array, counted from 0."""

_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|""?(?!"))*"{3,5}'
    r"|'''(?:[^']|''?(?!'))*'{3,5}"
    r"""|"(?:[^"\\]|\\.)*"|'[^']*'""",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")
_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_INDENT = re.compile(r"[ \t]*")


@dataclass(frozen=True, slots=True)
class Place:
    line: int
    """Counted from 1; for a key with a value, the line of the key."""
    source: str
    """The value as it was written; empty for a table with a header of its own."""


def locate(text: str) -> dict[Path, Place]:
    """The place of every key, table and array element of `text`, which tomllib accepts."""
    return _Walk(text.replace("\r\n", "\n")).places()


class _Walk:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._newlines = [i for i, character in enumerate(text) if character == "\n"]
        self._places: dict[Path, Place] = {}
        self._lengths: dict[Path, int] = {}
        """How many elements each array of tables has so far."""

    def places(self) -> dict[Path, Place]:
        table: Path = ()
        while self._skip(_BLANK):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._places

    def _header(self) -> Path:
        line = self._line()
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        *parents, last = self._key()
        self._at += brackets
        path: Path = ()
        for part in parents:
            path = self._latest((*path, part))
            self._note(path, line, "")
        path = (*path, last)
        if brackets == 2:
            self._lengths[path] = self._lengths.get(path, 0) + 1
            self._note(path, line, "")
        path = self._latest(path)
        self._note(path, line, "")
        return path

    def _latest(self, path: Path) -> Path:
        """A header that names an array of tables means its last element."""
        return (*path, self._lengths[path] - 1) if path in self._lengths else path

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = table
        *parents, last = self._key()
        for part in parents:
            path = (*path, part)
            self._note(path, line, "")
        self._at += 1  # the equals sign
        self._skip(_INDENT)
        self._value((*path, last), line)

    def _value(self, path: Path, line: int) -> None:
        start = self._at
        opening = self._text[start]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        elif opening in "\"'":
            self._skip(_STRING)
        else:
            self._skip(_SCALAR)
        self._note(path, line, self._text[start : self._at].rstrip())

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while self._next() != "]":
            self._value((*path, index), self._line())
            index += 1
            if self._next() == ",":
                self._at += 1
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self._next() != "}":
            self._pair(path)
            if self._next() == ",":
                self._at += 1
        self._at += 1

    def _key(self) -> list[str]:
        """Read a dotted key, up to the character after it and its blanks."""
        parts = []
        while True:
            self._skip(_INDENT)
            match = _KEY_PART.match(self._text, self._at)
            if match is None:
                raise ValueError(f"no key at offset {self._at}")
            part = match.group()
            # Quoted keys may hold escapes; tomllib knows them all.
            parts.append(next(iter(tomllib.loads(f"{part} = 0"))) if part[0] in "\"'" else part)
            self._at = match.end()
            self._skip(_INDENT)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _note(self, path: Path, line: int, source: str) -> None:
        self._places.setdefault(path, Place(line, source))

    def _next(self) -> str:
        self._skip(_BLANK)
        return self._text[self._at]

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        return self._at < len(self._text)

    def _line(self) -> int:
        return bisect_right(self._newlines, self._at) + 1
