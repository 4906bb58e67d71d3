"""What `gateway.on_change` was told last of each uplink, so that no change is lost by a restart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from classifier.state import records

FILE_NAME = "told.json"
_STATES = ("up", "draining", "down")


class States(NamedTuple):
    """Of one uplink; each is up, draining or down."""

    state: str
    ipv4: str
    ipv6: str
    """Empty where it takes no IPv6 flows."""
    finished: bool = True
    """False from before the program is started to tell what is next until it has ended."""


def stored_told(state_dir: Path) -> dict[str, States]:
    """A damaged file is set aside. Raises HostError."""
    return records.stored(
        state_dir / FILE_NAME, _parse, "lists of three states and whether that is finished"
    )


def store_told(state_dir: Path, told: Mapping[str, States]) -> None:
    """Raises HostError."""
    records.store(state_dir / FILE_NAME, told)


def _parse(value: object) -> States | None:
    if not isinstance(value, list) or len(value) not in (3, 4):
        return None
    state, ipv4, ipv6, finished = value if len(value) == 4 else (*value, True)
    states = state in _STATES and ipv4 in _STATES and ipv6 in (*_STATES, "")
    if states and isinstance(finished, bool):
        return States(state, ipv4, ipv6, finished)
    return None
