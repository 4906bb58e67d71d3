"""Which uplinks were bad by their probes, so that a restart does not take them for good."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from classifier.policy import Family
from classifier.state import records

Bad = Mapping[str, frozenset[Family]]
"""Uplink to the families whose probes failed; an uplink that is good is not in it."""

FILE_NAME = "health.json"


def stored_bad(state_dir: Path, *, repair: bool = True) -> Bad:
    """As the service last knew it; `repair` as in `records.stored`. Raises HostError."""
    return records.stored(state_dir / FILE_NAME, _parse, "lists of the families 4 and 6", repair)


def store_bad(state_dir: Path, bad: Bad) -> None:
    """Raises HostError."""
    records.store(state_dir / FILE_NAME, {name: sorted(found) for name, found in bad.items()})


def _parse(value: object) -> frozenset[Family] | None:
    if not isinstance(value, list) or not all(type(f) is int and f in (4, 6) for f in value):
        return None
    return frozenset(value)
