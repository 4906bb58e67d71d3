"""What was asked of uplinks by hand, so that it outlives a restart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from classifier.state import records

Asked = Literal["auto", "up", "down", "drain"]
"""What was asked for by hand. `auto`: nothing. `up`: in use whatever the probes say."""

FILE_NAME = "asked.json"


def stored_asked(state_dir: Path, *, repair: bool = True) -> dict[str, Asked]:
    """Uplink name to what was asked; `repair` as in `records.stored`. Raises HostError."""
    return records.stored(state_dir / FILE_NAME, _parse, ", ".join(get_args(Asked)), repair)


def store_asked(state_dir: Path, asked: Mapping[str, Asked]) -> None:
    """Raises HostError."""
    kept = {name: what for name, what in asked.items() if what != "auto"}
    records.store(state_dir / FILE_NAME, kept)


def _parse(value: object) -> Asked | None:
    return next((word for word in get_args(Asked) if word == value), None)
