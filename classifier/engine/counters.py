"""What the engine has counted since it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineCounters:
    """Read while the engine runs, so the numbers of one reading may be a few packets apart."""

    packets: int
    """Packets that the engine was asked about."""
    malformed: int
    """Of these, packets that could not be parsed."""
    in_flight: int
    """Of these, packets of flows decided a moment before."""
    uplinks: Mapping[str, int]
    """Flows placed on each uplink."""
    rules: tuple[int, ...]
    """Flows that each rule took, in the policy's order."""
    direct: int
    """Flows left to the main routing table."""
    dropped: int
    """Flows dropped by a rule or a fallback."""
    sticky_entries: int
    """Sticky entries of all balancers, those that expired and were not swept yet included."""
    sticky_size: int
    """The most sticky entries there can be."""
