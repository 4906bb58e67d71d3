"""What a TOML text may not exceed, checked before it is parsed.

tomllib takes quadratic time for a key of many parts (20 s for 20,000 of them) and recurses into
nested arrays and tables. No configuration comes near these limits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from classifier.errors import Mistake

LARGEST_FILE = 4 * 1024 * 1024
"""Bytes; a list of 260,000 networks. Reading that takes 8 s, and the worst text 30 s."""
MOST_KEY_PARTS = 16
DEEPEST = 16
"""Nested arrays and tables."""

_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|""?(?!"))*"{3,5}'
    r"|'''(?:[^']|''?(?!'))*'{3,5}"
    r'|"(?!"")(?:[^"\\\n]|\\[^\n])*"'
    r"|'(?!'')[^'\n]*'"
    r"|(?P<unclosed>[\"'])"
    r"|#[^\n]*"
    r"|(?P<mark>[.\[\]{}=,\n])",
    re.DOTALL,
)


def beyond_limits(text: str) -> Mistake | None:
    """The first place where keys or nesting exceed the limits; None for text without one.

    Strings and comments are skipped. The check ends at a string that is not closed.
    """
    parts, depth = 1, 0
    for at, mark in _marks(text):
        parts = parts + 1 if mark == "." else 1
        if mark in "[{":
            depth += 1
        elif mark in "]}":
            depth = max(depth - 1, 0)
        if parts > MOST_KEY_PARTS:
            return _mistake(text, at, f"a key must not have more than {MOST_KEY_PARTS} parts")
        if depth > DEEPEST:
            rule = f"is nested too deeply: at most {DEEPEST} levels of arrays and tables"
            return _mistake(text, at, rule)
    return None


def _marks(text: str) -> Iterator[tuple[int, str]]:
    for token in _TOKEN.finditer(text):
        if token["mark"]:
            yield token.start(), token["mark"]
        elif token["unclosed"]:
            return  # tomllib gets no further either


def _mistake(text: str, at: int, rule: str) -> Mistake:
    return Mistake(text.count("\n", 0, at) + 1, "", "", rule)
