"""What was asked of uplinks by hand, so that it outlives a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from classifier.state import files

Asked = Literal["auto", "up", "down", "drain"]
"""What was asked for by hand. `auto`: nothing. `up`: in use whatever the probes say."""

FILE_NAME = "asked.json"


def stored_asked(state_dir: Path) -> dict[str, Asked]:
    """Uplink name to what was asked; a damaged file is set aside. Raises HostError."""
    path = state_dir / FILE_NAME
    text = files.read(path)
    if text is None:
        return {}
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict) and all(value in get_args(Asked) for value in content.values()):
        return dict(content)
    files.set_aside(path, f"must be a JSON object of uplink names and {', '.join(get_args(Asked))}")
    return {}


def store_asked(state_dir: Path, asked: Mapping[str, Asked]) -> None:
    """Raises HostError."""
    kept = {name: what for name, what in asked.items() if what != "auto"}
    files.write(state_dir / FILE_NAME, json.dumps(kept, indent=2) + "\n", 0o644)
