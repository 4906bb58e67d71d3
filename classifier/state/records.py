"""State kept as one JSON object by the names of uplinks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from classifier.state import files

T = TypeVar("T")


def stored(
    path: Path, parse: Callable[[object], T | None], rule: str, repair: bool = True
) -> dict[str, T]:
    """Name to what was stored; empty without a file. Raises HostError when it cannot be read.

    `parse` returns None for a value that cannot be; then the file is damaged, and set aside; or,
    without `repair`, HostError is raised. `rule` is what it should have been.
    """
    text = files.read(path)
    if text is None:
        return {}
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        found = {name: parsed for name in content if (parsed := parse(content[name])) is not None}
        if len(found) == len(content):
            return found
    files.set_aside(path, f"must be a JSON object of uplink names and {rule}", repair)
    return {}


def store(path: Path, values: Mapping[str, object]) -> None:
    """In one step. Raises HostError."""
    files.write(path, json.dumps(values, indent=2) + "\n", 0o644)
